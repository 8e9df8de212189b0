"""The sections of a run's config."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from lab.config.base import Frozen
from lab.config.problems import ConfigError, Problem
from lab.config.spec import Spec
from lab.config.trackers import TensorBoardConfig, WandbConfig

AUTO = "auto"
Count = Annotated[int, Field(strict=True, ge=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Mode = Literal["min", "max"]


class Monitor(Frozen):
    """The one figure that best checkpoint, early stopping, pruner and objective share."""

    metric: str = "val_loss"
    mode: Mode = Field("min", description="min: smaller is better; must be given unless the metric is a loss")
    returns: Literal["best", "last"] = Field(
        "best", description="what a run is worth: its best or its last value"
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_is_said(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"metric": value}
        if (
            isinstance(value, Mapping)
            and "loss" not in str(value.get("metric", "loss"))
            and "mode" not in value
        ):
            message = f"say mode: max or mode: min for '{value['metric']}'; only for a loss is it plain"
            raise ConfigError([Problem(("metric",), message)])
        return value


class EarlyStoppingConfig(Frozen):
    """Stop when nothing improves; metric and mode are the monitor's unless given."""

    enabled: Flag = True
    patience: Count = 10
    min_delta: Number = Field(0.0, ge=0, description="absolute change that counts as an improvement")
    metric: str | None = None
    mode: Mode | None = None

    @model_validator(mode="after")
    def _mode_goes_with_metric(self) -> "EarlyStoppingConfig":
        if self.metric is not None and self.mode is None and "loss" not in self.metric:
            message = f"say mode: max or mode: min for '{self.metric}'; only for a loss is it plain"
            raise ConfigError([Problem(("metric",), message)])
        return self


class SchedulerSpec(Spec):
    """A learning-rate scheduler. The text `auto` as an argument's value is the run's length in intervals."""

    interval: Literal["epoch", "step"] = "epoch"
    monitor: str = Field("val_loss", description="what a plateau scheduler watches")


class EMAConfig(Frozen):
    """Exponential moving average of the weights, used for validation and kept in the checkpoints."""

    decay: Number = Field(0.999, gt=0, lt=1)


class CheckpointConfig(Frozen):
    """`last` and `best` are kept always; these add to them."""

    every_epochs: Count | None = Field(None, description="also keep epoch_N.pt every N epochs")
    every_seconds: Number = Field(
        0.0, ge=0, description="write last.pt at most this often; 0: after each epoch"
    )


class LoaderConfig(Frozen):
    """How batches are read. Data that is already in memory needs no workers."""

    workers: Whole = 0
    prefetch: Count = Field(2, description="batches that each worker prepares ahead")
    pin_memory: Flag | None = Field(None, description="default: where the device is a GPU")
    drop_last: Flag = Field(False, description="leave out a last training batch that is not full")


class PicturesConfig(Frozen):
    """Pictures of predictions on fixed validation samples."""

    enabled: Flag = True
    every_epochs: Count = 10
    count: Count = 4


def _tracker_kind(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return "target" if "target" in value else value.get("type")
    return getattr(value, "type", "target")


def _tracker_short_form(value: Any) -> Any:
    if isinstance(value, str):
        return {"target": value} if "." in value else {"type": value}
    return value


Tracker = Annotated[
    Annotated[WandbConfig, Tag("wandb")]
    | Annotated[TensorBoardConfig, Tag("tensorboard")]
    | Annotated[Spec, Tag("target")],
    Discriminator(
        _tracker_kind,
        custom_error_type="tracker",
        custom_error_message="{type: wandb}, {type: tensorboard} or {target: import.path}",
    ),
    BeforeValidator(_tracker_short_form, json_schema_input_type=Any),
]
