"""Where a run's numbers are mirrored. The local record (metrics.csv, events.jsonl) is always written."""

from typing import Literal

from pydantic import Field

from lab.config.base import Frozen


class WandbConfig(Frozen):
    """Weights & Biases. `auto` is online where a key is configured and offline elsewhere."""

    type: Literal["wandb"]
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    images: bool = True
    timeout: float = Field(5.0, gt=0, description="seconds that W&B may hold up the end of a run, in all")


class TensorBoardConfig(Frozen):
    """Event files in the run's own folder: `tensorboard --logdir runs`."""

    type: Literal["tensorboard"]
    images: bool = True


TrackerConfig = WandbConfig | TensorBoardConfig
