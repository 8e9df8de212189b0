"""Where a run's numbers are mirrored. The local record (metrics.csv, events.jsonl) is always written."""

from typing import Literal

from pydantic import Field

from lab.config.base import Flag, Frozen, Number


class WandbConfig(Frozen):
    """Weights & Biases. `auto` is online where a key is configured and offline elsewhere."""

    type: Literal["wandb"]
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: online where a key is configured, else offline"
    )
    entity: str | None = Field(None, description="user or team; default: W&B's own setting")
    group: str | None = Field(None, description="runs that belong together; default: the seeds of one run")
    tags: tuple[str, ...] = Field((), description="words to find the run by")
    images: Flag = Field(True, description="log panels of predictions, too")
    timeout: Number = Field(5.0, gt=0, description="seconds that W&B may hold up the end of a run, in all")


class TensorBoardConfig(Frozen):
    """Event files in the run's own folder: `tensorboard --logdir runs`."""

    type: Literal["tensorboard"]
    images: Flag = Field(True, description="log panels of predictions, too")


TrackerConfig = WandbConfig | TensorBoardConfig
