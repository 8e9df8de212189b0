"""The trackers that a run logs to. The local record (metrics.csv, events.jsonl) is always written."""

from typing import Literal

from pydantic import Field

from lab.config.base import Flag, Frozen, Number


class WandbConfig(Frozen):
    """Weights & Biases. What is left out is taken from W&B's environment variables (docs/trackers.md)."""

    type: Literal["wandb"]
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: as WANDB_MODE sets it, else online where a key is configured, else offline"
    )
    entity: str | None = Field(
        None, description="user or team; default: WANDB_ENTITY, else W&B's own setting"
    )
    name: str | None = Field(None, description="of the W&B run; default: the run's name, else WANDB_NAME")
    group: str | None = Field(
        None, description="runs that belong together; default: WANDB_RUN_GROUP, else the seeds of one run"
    )
    job_type: str | None = Field(None, description="kind of run; default: WANDB_JOB_TYPE; not of a study")
    tags: tuple[str, ...] = Field((), description="words to find the run by; default: WANDB_TAGS")
    notes: str | None = Field(None, description="a text about the run; default: WANDB_NOTES")
    images: Flag = Field(True, description="log panels of predictions, too")
    timeout: Number = Field(5.0, gt=0, description="seconds that W&B may delay the end of a run, in total")


class TensorBoardConfig(Frozen):
    """Event files in the run's own folder: `tensorboard --logdir runs`."""

    type: Literal["tensorboard"]
    images: Flag = Field(True, description="log panels of predictions, too")


TrackerConfig = WandbConfig | TensorBoardConfig
