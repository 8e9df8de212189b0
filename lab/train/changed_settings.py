"""The effect that a setting changed before a resume has on the state in the checkpoint.

Every field of a run's config is decided here: state that belongs to another setting is never carried over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

ConfigData: TypeAlias = Mapping[str, Any]
"""A run's config as plain data."""

Change: TypeAlias = tuple[str, object, object]
"""Dotted path, value in the checkpoint, value now."""


class Effect(Enum):
    """The effect on the state."""

    REFUSED = "refused"
    RESET = "is reset, with a message"
    FROM_HERE = "stays; the new value counts from here on, with a message"
    NO_STATE = "nothing; the change is noted"


@dataclass(frozen=True)
class Setting:
    """A field of the config, with the effect of a change.

    Args:
        what: the state that belongs to it.
        by_steps: refused where the scheduler moves by steps: its position in the run would be lost.
        refused: paths below it that are refused, where others aren't.
    """

    effect: Effect
    what: str
    by_steps: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def besides(self) -> str:
        """The values that are refused where the field as a whole isn't, for the documentation."""
        below = [f"`{name}` is refused" for name in self.refused]
        below += [f"`{name}` is refused where the scheduler moves by steps" for name in self.by_steps]
        return "".join(f"; {each}" for each in below)


# The documentation prints this table (docs/record.md); a test compares the two.
_FROM, _NONE, _RESET, _REFUSED = Effect.FROM_HERE, Effect.NO_STATE, Effect.RESET, Effect.REFUSED

SETTINGS: Mapping[str, Setting] = {
    "project": Setting(_NONE, "a label"),
    "name": Setting(_NONE, "a label"),
    "seeds": Setting(_REFUSED, "all randomness"),
    "folds": Setting(_REFUSED, "which samples evaluate the network"),
    "device": Setting(_FROM, "tensors are loaded onto the new device; bit-equal on one kind of device only"),
    "precision": Setting(_RESET, "the gradient scaler of fp16"),
    "epochs": Setting(_FROM, "a schedule with `auto` is stretched from the present epoch on"),
    "batch_size": Setting(_FROM, "the place within an epoch, in proportion", by_steps=("batch_size",)),
    "task": Setting(_REFUSED, "the meaning of outputs and values, and the task's own state"),
    "data": Setting(
        _RESET, "the state of datasets, samplers and streams; a fold, other classes, and validation or test "
        "samples that were trained on before, are refused", refused=("data.folds", "data.fold"),
    ),
    "val": Setting(_RESET, "the best epoch and early stopping, where they watched another value"),
    "net": Setting(_REFUSED, "weights"),
    "criterion": Setting(_RESET, "the loss's own state; the best epoch, early stopping and a plateau "
                         "scheduler, where they watch a loss"),
    "metrics": Setting(_RESET, "the metric's state; the best epoch and early stopping, where they watch it"),
    "optimizer": Setting(_REFUSED, "averages of gradients, parameter groups"),
    "criterion_optimizer": Setting(_REFUSED, "averages of gradients and learning rate of the loss"),
    "scheduler": Setting(_REFUSED, "the place in the schedule, and what a plateau scheduler has watched"),
    "early_stopping_config": Setting(
        _RESET, "the best value and how long it has stood: with another metric, mode or min_delta; another "
        "patience counts from here on",
    ),
    "monitor": Setting(_RESET, "the best epoch, and early stopping where it watches the monitor"),
    "checkpoint": Setting(_FROM, "what is written from here on"),
    "trackers": Setting(_FROM, "one that is new has the epochs from here on"),
    "loader": Setting(_FROM, "the order and the samples' randomness don't depend on workers",
                      by_steps=("loader.drop_last",)),
    "gradient_clip_norm": Setting(_FROM, "none"),
    "steps_per_epoch": Setting(
        _FROM, "the place within an epoch, in proportion", by_steps=("steps_per_epoch",)
    ),
    "accumulate_grad_batches": Setting(
        _FROM, "the place within an epoch, to a whole step", by_steps=("accumulate_grad_batches",)
    ),
    "check_gradients": Setting(_FROM, "none"),
    "ema": Setting(_REFUSED, "averaged weights"),
    "compile": Setting(_FROM, "none"),
    "channels_last": Setting(_FROM, "none"),
    "deterministic": Setting(_FROM, "none"),
    "threads": Setting(_FROM, "none; bit-equal with one number of threads only"),
    "log_every_steps": Setting(_NONE, "none"),
    "diagnostics": Setting(_FROM, "which warnings have been made"),
    "pictures": Setting(_NONE, "none"),
}  # fmt: skip


def refused(changed: Sequence[Change], config: ConfigData) -> Iterator[Change]:
    """Yield the changes with which the checkpoint's state would be loaded into something it doesn't fit."""
    by_steps = (config.get("scheduler") or {}).get("interval") == "step"
    for change in changed:
        name = change[0]
        setting = SETTINGS.get(name.partition(".")[0])
        if setting is None:  # a field of a later version of this program
            continue
        paths = (*setting.refused, *(setting.by_steps if by_steps else ()))
        if setting.effect is Effect.REFUSED or name in paths:
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
