"""The effect that a setting changed before a resume has on the state in the checkpoint.

State that belongs to another setting is never carried over; docs/record.md has the effect of every field.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

ConfigData: TypeAlias = Mapping[str, Any]
"""A run's config as plain data."""

Change: TypeAlias = tuple[str, object, object]
"""Dotted path, value in the checkpoint, value now."""


# docs/record.md has a row for every field of a config; tests compare it with these names.
REFUSED = frozenset(["seeds", "folds", "task", "net", "optimizer", "criterion_optimizer", "scheduler", "ema"])
REFUSED_BELOW = ("data.folds", "data.fold")  # of a field that as a whole is not
# Where the scheduler moves by steps: its position in the run would be lost.
REFUSED_BY_STEPS = ("batch_size", "loader.drop_last", "steps_per_epoch", "accumulate_grad_batches")


def refused(changed: Sequence[Change], config: ConfigData) -> Iterator[Change]:
    """Yield the changes with which the checkpoint's state would be loaded into something it doesn't fit."""
    by_steps = (config.get("scheduler") or {}).get("interval") == "step"
    paths = (*REFUSED_BELOW, *(REFUSED_BY_STEPS if by_steps else ()))
    for change in changed:
        if change[0].partition(".")[0] in REFUSED or change[0] in paths:
            yield change


@dataclass(frozen=True)
class Watching:
    """A watched value, and the direction that counts as better."""

    metric: str
    mode: str
    min_delta: float = 0.0


@dataclass(frozen=True)
class Resets:
    """The state that is reset, each with the reason.

    Args:
        components: by name, see `lab.state.components`.
    """

    best: str = ""
    early_stopping: str = ""
    plateau: str = ""
    scaler: str = ""
    criterion: str = ""
    metrics: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)


def resets(changed: Sequence[Change], was: ConfigData, now: ConfigData) -> Resets:
    """Return what is reset after these changes of a config."""
    names = [name for name, _, _ in changed]
    fields = {name.partition(".")[0] for name in names}
    metrics = tuple(dict.fromkeys(name.split(".")[1] for name in names if name.startswith("metrics.")))
    loss = "criterion has changed" if "criterion" in fields else ""
    components = {"criterion": loss} if loss else {}
    for phase in ("train", "val"):
        components |= {f"metrics.{phase}.{name}": f"metrics.{name} has changed" for name in metrics}
        components |= {f"data.{phase}": "data has changed"} if "data" in fields else {}
    stopping = _stopping(was), _stopping(now)
    scaled = [config.get("precision") == "fp16" for config in (was, now)]
    return Resets(
        best=_other(_monitor(was), _monitor(now), "monitor") or _redefined(_monitor(now), loss, metrics),
        early_stopping=_other(*stopping, "what early stopping watches")
        or _redefined(stopping[1], loss, metrics),
        plateau=loss if _plateau(now) and "loss" in str((now.get("scheduler") or {}).get("monitor")) else "",
        scaler="precision has changed" if scaled[0] != scaled[1] else "",
        criterion=loss,
        metrics=metrics,
        components=components,
    )


def _monitor(config: ConfigData) -> Watching:
    monitor = config.get("monitor") or {}
    return Watching(str(monitor.get("metric")), str(monitor.get("mode")))


def _stopping(config: ConfigData) -> Watching | None:
    """Return what early stopping watches; None where it is off."""
    stopping = config.get("early_stopping_config")
    if not stopping or not stopping.get("enabled", True):
        return None
    monitor = _monitor(config)
    own = stopping.get("metric")
    mode = stopping.get("mode") or ("min" if own else monitor.mode)
    return Watching(own or monitor.metric, mode, float(stopping.get("min_delta", 0.0)))


def _plateau(config: ConfigData) -> bool:
    return str((config.get("scheduler") or {}).get("target", "")).endswith("ReduceLROnPlateau")


def _other(was: Watching | None, now: Watching | None, what: str) -> str:
    """Return the reason for a reset; empty where both are the same, or where there is none now."""
    if now is None or was == now:
        return ""
    if was is None:
        return "it was off until the checkpoint"
    return f"{what} was {_shown(was)} and is {_shown(now)}"


def _shown(watching: Watching) -> str:
    """Format a watched value, such as `val_loss (min)`."""
    delta = f", min_delta {watching.min_delta:g}" if watching.min_delta else ""
    return f"{watching.metric} ({watching.mode}{delta})"


def _redefined(watching: Watching | None, loss: str, metrics: Sequence[str]) -> str:
    """Return the reason why earlier values of what is watched can't be compared with later ones."""
    if watching is None:
        return ""
    name = watching.metric.removeprefix("train_").removeprefix("val_")
    if loss and (name == "loss" or name.startswith("loss_")):
        return f"{loss}, and {watching.metric} with it"
    return f"metrics.{name} has changed" if name in metrics else ""
