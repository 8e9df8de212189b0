"""The consequences of `val: null` for a run's config: training values take the place of validation values."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from pydantic import BaseModel

from lab.config.problems import Path, Problem
from lab.config.sections import EarlyStoppingConfig, Monitor, SchedulerSpec

M = TypeVar("M", bound=BaseModel)
TRAIN_LOSS, VAL_LOSS = "train_loss", "val_loss"


class Watching(Protocol):
    """The settings of a run that name values to watch."""

    @property
    def folds(self) -> int | None: ...

    @property
    def monitor(self) -> Monitor: ...

    @property
    def scheduler(self) -> SchedulerSpec | None: ...

    @property
    def early_stopping_config(self) -> EarlyStoppingConfig | None: ...


def with_training_defaults(config: Watching) -> None:
    """Let the monitor, and the metric of a plateau scheduler, be `train_loss` where they are not given."""
    if "metric" not in config.monitor.model_fields_set:
        config.__dict__["monitor"] = _with_defaults(config.monitor, metric=TRAIN_LOSS)
    scheduler = config.scheduler
    if scheduler is not None and scheduler.watches and "monitor" not in scheduler.model_fields_set:
        config.__dict__["scheduler"] = _with_defaults(scheduler, monitor=TRAIN_LOSS)


def problems_without_validation(config: Watching) -> Iterator[Problem]:
    """Settings that need validation values, by name."""
    if config.folds is not None:
        yield Problem(("folds",), "validates on each fold in turn, and val is null; remove one of them")
    stopping = config.early_stopping_config
    for path, name in watched(config):
        if stopping is not None and not stopping.enabled and path[0] == "early_stopping_config":
            continue
        if name.startswith("val_"):
            message = f"val is null, so no '{name}' is logged; name a training value such as {TRAIN_LOSS}, or"
            yield Problem(path, f"{message} remove val: null")
    if any(other.metric == config.monitor.metric for other in config.monitor.also):
        message = f"'{config.monitor.metric}' is monitored already: val is null; keep one"
        yield Problem(("monitor", "also"), message)


def watched(config: Watching) -> Iterator[tuple[Path, str]]:
    """Names of values that decide something in the run, with their places."""
    yield ("monitor", "metric"), config.monitor.metric
    for index, objective in enumerate(config.monitor.also):
        yield ("monitor", "also", index, "metric"), objective.metric
    stopping, scheduler = config.early_stopping_config, config.scheduler
    if stopping is not None and stopping.metric is not None:
        yield ("early_stopping_config", "metric"), stopping.metric
    if scheduler is not None and scheduler.watches:
        yield ("scheduler", "monitor"), scheduler.monitor


def _with_defaults(model: M, **values: str) -> M:
    """Copy a section with values that do not count as set, so that a later `val: auto` changes them again."""
    copy = model.model_copy()
    copy.__dict__.update(values)
    return copy
