"""The sections of a run's config."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lab.config.base import Count, Flag, Frozen, Number, Whole
from lab.config.component_spec import Spec
from lab.config.problems import ConfigError, Problem, shown
from lab.config.tracker_config import TensorBoardConfig, WandbConfig
from lab.config.validation import validate

AUTO = "auto"
OF_A_WHOLE_RUN = ("parameters", "seconds")  # what a study may optimize, too, though no epoch logs it
Mode = Literal["min", "max"]


class Objective(Frozen):
    """One more metric that a study of several objectives optimizes."""

    metric: str = Field(
        description="name in metrics.csv; also parameters (the network's size) and seconds (of training)"
    )
    mode: Mode = Field("min", description="min: smaller is better; must be given unless the metric is a loss")

    @model_validator(mode="after")
    def _mode_is_given(self) -> "Objective":
        if "loss" not in self.metric and "mode" not in self.model_fields_set:
            raise _no_mode(self.metric)
        return self


def _metric_alone(value: object) -> Any:
    return {"metric": value} if isinstance(value, str) else value


ObjectiveOrName = Annotated[Objective, BeforeValidator(_metric_alone, json_schema_input_type=str | Objective)]


class Monitor(Objective):
    """The one metric that best checkpoint, early stopping, pruner and objective use."""

    metric: str = Field("val_loss", description="name in metrics.csv, such as val_loss or val_dice")
    returns: Literal["best", "last"] = Field("best", description="the value of a run: its best or its last")
    also: tuple[ObjectiveOrName, ...] = Field(
        (), description="further objectives of a study; a run itself uses the first"
    )

    @field_validator("also")
    @classmethod
    def _distinct(cls, value: tuple[Objective, ...], info: ValidationInfo) -> tuple[Objective, ...]:
        names = [info.data.get("metric"), *(objective.metric for objective in value)]
        for index, name in enumerate(names[1:]):
            if name in names[: index + 1]:
                raise ConfigError([Problem((index, "metric"), f"'{name}' is monitored already; keep one")])
        return value


def _no_mode(metric: str) -> ConfigError:
    message = f"set mode: max or mode: min for '{metric}'; only a loss has a default"
    return ConfigError([Problem(("metric",), message)])


def _monitor_short_form(value: object) -> Any:
    """A name stands for its metric, a list for the first and `also`; errors name the item."""
    if isinstance(value, str):
        return {"metric": value}
    if not isinstance(value, (list, tuple)):
        return value
    if not value:
        raise ConfigError([Problem((), "found [] (list), expected a list of at least 1")])
    problems: list[Problem] = []
    items = [_metric_alone(item) for item in value]
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            problems.append(Problem((index,), f"found {shown(item)}, expected a metric's name, or a mapping"))
        elif index == 0 and "also" in item:
            problems.append(Problem((0, "also"), "is what the list itself states; remove it"))
        elif any(item.get("metric", "val_loss") == other.get("metric", "val_loss")
                 for other in items[:index] if isinstance(other, Mapping)):  # fmt: skip
            problems.append(Problem((index, "metric"), "is monitored already; keep one"))
        else:
            with ConfigError.collected(problems, (index,)):
                validate(Objective if index else Monitor, item)
    ConfigError.raise_if(problems)
    return {**items[0], "also": items[1:]}


MonitorOrName = Annotated[
    Monitor,
    BeforeValidator(
        _monitor_short_form, json_schema_input_type=str | Monitor | tuple[str | Monitor | Objective, ...]
    ),
]


class EarlyStoppingConfig(Frozen):
    """Stop when nothing improves; metric and mode are the monitor's unless given."""

    enabled: Flag = Field(True, description="false: all epochs are run")
    patience: Count = Field(10, description="stop after this many epochs without improvement")
    min_delta: Number = Field(0.0, ge=0, description="absolute change that counts as an improvement")
    metric: str | None = Field(None, description="default: the monitor's")
    mode: Mode | None = Field(None, description="default: the monitor's")

    @model_validator(mode="after")
    def _mode_goes_with_metric(self) -> "EarlyStoppingConfig":
        if self.metric is not None and self.mode is None and "loss" not in self.metric:
            raise _no_mode(self.metric)
        return self


class SchedulerSpec(Spec):
    """A learning-rate scheduler. The text `auto` as an argument's value is the run's length in intervals."""

    interval: Literal["epoch", "step"] = Field("epoch", description="when it moves the learning rate")
    monitor: str = Field("val_loss", description="the metric that a plateau scheduler watches")

    @model_validator(mode="after")
    def _plateau(self) -> "SchedulerSpec":
        plateau = self.watches
        if plateau and self.interval == "step":
            raise ValueError("a plateau is looked for once an epoch; remove interval: step")
        if plateau and "loss" not in self.monitor and "mode" not in self.arguments:
            raise ValueError(f"set mode: max or mode: min for '{self.monitor}'; only a loss has a default")
        if not plateau and self.monitor != "val_loss":
            raise ValueError("only ReduceLROnPlateau watches a metric; remove monitor")
        return self

    @property
    def watches(self) -> bool:
        """True if it steps by the value of `monitor`."""
        return self.target.endswith("ReduceLROnPlateau")


class EMAConfig(Frozen):
    """Exponential moving average of the weights, used for validation and kept in the checkpoints."""

    decay: Number = Field(0.999, gt=0, lt=1, description="fraction of the average that each step keeps")


class CheckpointConfig(Frozen):
    """`last` and `best` are kept always; these add to them."""

    every_epochs: Count | None = Field(None, description="also keep epoch_N.pt every N epochs")
    every_seconds: Number = Field(
        0.0, ge=0, description="write last.pt at most this often; 0: after each epoch"
    )
    every_n_steps: Count | None = Field(
        None, description="also write last.pt within an epoch, every N batches; a resumed run continues there"
    )


class LoaderConfig(Frozen):
    """Settings of the data loader. Data that is already in memory needs no workers."""

    workers: Whole = Field(0, description="processes that read data; 0: the run's own")
    prefetch: Count = Field(2, description="batches that each worker prepares ahead")
    pin_memory: Flag | None = Field(None, description="default: where the device is a GPU")
    drop_last: Flag = Field(False, description="leave out a last training batch that is not full")
    shard: Literal[True, "dataset"] | None = Field(
        None,
        description="of a stream with several workers: true gives each a part; dataset: it divides itself",
    )


class DiagnosticsConfig(Frozen):
    """Warnings about a training that seems to go wrong; none of them stops it."""

    metric: str = Field("dice", description="watched as val_<metric> and train_<metric>; larger is better")
    least: Number = Field(0.6, description="warn of less than this at epoch `after_epochs` and later")
    after_epochs: Count = Field(20, description="the epoch by which a network should have reached it")
    gap: Number = Field(0.2, gt=0, description="warn of a larger gap between training and validation")


class PicturesConfig(Frozen):
    """Plots of predictions on fixed validation samples."""

    enabled: Flag = Field(True, description="false: no plots are drawn")
    every_epochs: Count = Field(10, description="how often plots are drawn; always at the end")
    count: Count = Field(4, description="samples in a plot")


def _one_seed(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


Seeds = Annotated[
    tuple[Whole, ...], BeforeValidator(_one_seed, json_schema_input_type=Whole | tuple[Whole, ...])
]


def _tracker_kind(value: object) -> str | None:
    if isinstance(value, Mapping):
        return "target" if "target" in value else value.get("type")
    return getattr(value, "type", "target")


def _tracker_short_form(value: object) -> object:
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
    BeforeValidator(
        _tracker_short_form,
        json_schema_input_type=Literal["wandb", "tensorboard"] | WandbConfig | TensorBoardConfig | Spec,
    ),
]
