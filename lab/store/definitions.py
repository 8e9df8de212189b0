"""Versions of what metrics and losses mean, so that values of two definitions are not compared.

A definition is a number. It belongs to an instance and not to its class: arguments and data for which
nothing has changed keep their definition. All of them count together: what changes its meaning gets a
definition one above `CURRENT`, and `CURRENT` becomes that. So one number per record shows whether anything
has changed since.
`docs/definitions.md` lists them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

FIRST = 1
"""The definition of everything that declares none, and of all values in records without definitions."""

CURRENT = 2
"""The newest definition of anything here."""

LOSS = "loss"
_PHASES = ("train_", "val_")
_BY_WEIGHT = ("CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss")  # torch's means over a weight
_OF_THE_SET = (
    "weights and ignored targets are summed over the whole set, and were before averaged over batches"
)

Numbers = Mapping[str, int]
"""Definition by the name that is logged, without its phase: `loss`, `loss_dice`, `dice`."""


@dataclass(frozen=True)
class Definition:
    """One definition.

    Args:
        reason: the difference to the definition before.
    """

    number: int = FIRST
    reason: str = ""


def definition_of(component: object) -> Definition | None:
    """The definition that a metric or a loss declares; None: it depends on data that it has not seen yet.

    A metric or loss declares an int `definition`, and as text `definition_reason`.
    """
    if _by_weight(component):
        return Definition(2, _OF_THE_SET)
    number = getattr(component, "definition", FIRST)
    if number is None:
        return None
    known = isinstance(number, int) and number > FIRST
    return Definition(number, str(getattr(component, "definition_reason", ""))) if known else Definition()


def describe(
    criterion: object,
    *metrics: Mapping[str, object],
    settled: Callable[[object], object] = lambda component: component,
) -> dict[str, Definition]:
    """The definitions of everything that a training logs.

    Args:
        criterion: its `part_definitions` are those of its named parts.
        metrics: those of each phase, the same names with metrics of the same kind.
        settled: returns a component that has seen data, for one whose definition depends on it.
    """

    def known(*components: Any) -> Definition:
        # Metrics of the other phase may have seen data already.
        found = (definition_of(component) for component in components)
        first = next((each for each in found if each is not None), None)
        return first or definition_of(settled(components[0])) or Definition()

    found = {LOSS: known(criterion)}
    parts = getattr(criterion, "part_definitions", None)
    if parts is None and definition_of(criterion) is None:
        parts = getattr(settled(criterion), "part_definitions", None)
    if isinstance(parts, Mapping):
        reason = found[LOSS].reason
        found |= {
            f"{LOSS}_{name}": Definition(number, reason if number > FIRST else "")
            for name, number in parts.items()
        }
    names = dict.fromkeys(name for phase in metrics for name in phase)
    return found | {name: known(*(phase[name] for phase in metrics if name in phase)) for name in names}


def numbers(described: Mapping[str, Definition]) -> dict[str, int]:
    """The numbers alone, as records keep them."""
    return {name: each.number for name, each in described.items()}


def of_value(name: str, known: Numbers) -> int:
    """The definition of a logged value such as `val_dice`; a named part of the loss has its by default."""
    name = logged(name)
    if name.startswith(f"{LOSS}_"):
        return known.get(name, known.get(LOSS, FIRST))
    return known.get(name, FIRST)


def logged(name: str) -> str:
    """`dice` for `val_dice`."""
    for phase in _PHASES:
        name = name.removeprefix(phase)
    return name


def recorded(data: Any) -> dict[str, int]:
    """The definitions in a record; empty, so that all are the first, where it has none."""
    if not isinstance(data, Mapping):
        return {}
    return {str(name): number for name, number in data.items() if isinstance(number, int)}


def newest(records: Iterable[object]) -> dict[str, int]:
    """The definitions of a mean over several records: of each name the newest."""
    found: dict[str, int] = {}
    for record in records:
        for name, number in recorded(record).items():
            found[name] = max(number, found.get(name, FIRST))
    return found


def watched(config: Mapping[str, object]) -> Iterator[str]:
    """The values that decide something in a run: its monitor's, and those of early stopping and a plateau."""

    def part(name: str) -> Mapping[str, Any]:
        found = config.get(name)
        return found if isinstance(found, Mapping) else {}

    monitor, stopping, scheduler = part("monitor"), part("early_stopping_config"), part("scheduler")
    names = [monitor.get("metric") or "val_loss"]
    names += [each.get("metric") for each in monitor.get("also") or () if isinstance(each, Mapping)]
    names += [stopping.get("metric")] if stopping.get("enabled", True) else []
    names += [scheduler.get("monitor")] if "Plateau" in str(scheduler.get("target")) else []
    yield from dict.fromkeys(str(name) for name in names if name)


def has_versions(kind: object) -> bool:
    """Return whether what a class or function computes may have another definition than the first."""
    return hasattr(kind, "definition") or getattr(kind, "__name__", "") in _BY_WEIGHT


def _by_weight(component: object) -> bool:
    """Return whether a loss is torch's and its mean divides by weights or leaves out a named value."""
    kind = component.func if isinstance(component, partial) else component
    name = getattr(kind, "__name__", type(kind).__name__)
    module = getattr(kind, "__module__", None) or ""
    if name not in _BY_WEIGHT or not str(module).startswith("torch.nn"):
        return False
    given: Mapping[str, object] = getattr(component, "__dict__", {})
    given = component.keywords if isinstance(component, partial) else given
    buffers = getattr(component, "_buffers", None) or {}
    weighted = given.get("weight") is not None or buffers.get("weight") is not None
    return weighted or given.get("ignore_index", -100) != -100
