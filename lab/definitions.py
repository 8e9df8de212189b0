"""Which definition of a metric or a loss a value was computed by, so that values of two are not compared.

A definition is a number. It belongs to an instance and not to its class, as what an argument or the data
leaves as it was has kept its meaning. All of them count together: when the meaning of something changes, its
new definition is one more than the `CURRENT` before, and `CURRENT` becomes that. So a record needs only one
number to tell whether something has changed since it was made.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

FIRST = 1
"""The definition of whatever declares none, and of all values in records from before there were versions."""

CURRENT = 2
"""The newest definition of anything here."""

LOSS = "loss"
_PHASES = ("train_", "val_")
Definitions = Mapping[str, int]
"""Definition by the name that is logged, without its phase: `loss`, `loss_dice`, `dice`."""


def definition_of(component: Any) -> int | None:
    """What a metric or a loss declares as `definition`; None: it depends on data that it has not seen yet."""
    found = getattr(component, "definition", FIRST)
    return found if found is None or (isinstance(found, int) and found >= FIRST) else FIRST


def definitions(
    metrics: Mapping[str, Any], criterion: Any, settled: Callable[[Any], Any] = lambda metric: metric
) -> dict[str, int]:
    """The definitions of everything that a training logs.

    Args:
        criterion: its `definition` is that of the loss, and `part_definitions` those of its named parts that
            have another.
        settled: shows data to a metric whose definition depends on it, and returns a metric that knows.
    """
    found = {LOSS: definition_of(criterion) or FIRST}
    parts = getattr(criterion, "part_definitions", None)
    if isinstance(parts, Mapping):
        found |= {f"{LOSS}_{name}": int(number) for name, number in parts.items()}
    for name, metric in metrics.items():
        own = definition_of(metric)
        found[name] = own or definition_of(settled(metric)) or FIRST
    return found


def of_value(name: str, known: Definitions) -> int:
    """The definition of a logged value such as `val_dice`; a named loss has that of the whole by default."""
    for phase in _PHASES:
        name = name.removeprefix(phase)
    if name.startswith(f"{LOSS}_"):
        return known.get(name, known.get(LOSS, FIRST))
    return known.get(name, FIRST)


def recorded(data: Any) -> Definitions:
    """The definitions in a record; empty, which stands for the first ones, where it has none."""
    if not isinstance(data, Mapping):
        return {}
    return {str(name): number for name, number in data.items() if isinstance(number, int)}


def changed(old: Definitions, new: Definitions) -> Iterator[str]:
    """The names that have another definition than they had; of those that are in `new`."""
    return (name for name in new if of_value(name, new) != of_value(name, old))
