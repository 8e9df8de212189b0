"""Names for the choices of a parameter: one that Optuna stores for each, and one that people are shown."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.config_diff import flatten, is_component, same
from lab.store.redact import HIDDEN, redact

Label = str | int | float | bool | None
SCALARS = (str, int, float, bool, type(None))


def labels_of(choices: Sequence[object]) -> tuple[Label, ...]:
    """The stored form of each choice: a plain value as it is, a component by its short name.

    Where two would be equal, and for lists and mappings, it is the whole as JSON.
    """
    ladders = [_labels(choice, index) for index, choice in enumerate(choices)]
    # Of equal labels, those with the most names left are made longer, until all differ.
    while True:
        labels = [ladder[0] for ladder in ladders]
        twins = [i for i, label in enumerate(labels) if labels.count(label) > 1]  # to Optuna, 1 is true
        if not twins:
            return tuple(labels)
        vaguest = max(len(ladders[index]) for index in twins)
        for index in twins:
            if len(ladders[index]) == vaguest:
                del ladders[index][0]


def names_of(choices: Sequence[object], labels: Sequence[Label]) -> tuple[Label, ...]:
    """The label of each choice, as reports show it.

    Where several choices are the same component with other arguments, it is `HuberLoss(delta=2.0)`.
    """
    groups: dict[str, list[Mapping[str, object]]] = {}
    parts = [_component(choice) for choice in choices]
    for target, arguments in filter(None, parts):
        groups.setdefault(target, []).append(arguments)
    short = [target.rpartition(".")[2] for target in groups]
    found: list[Label] = []
    for label, part in zip(labels, parts, strict=True):
        if part is None or len(groups[part[0]]) == 1:
            found.append(label)
            continue
        target, arguments = part
        name = target.rpartition(".")[2]
        name = target if short.count(name) > 1 else name
        found.append(f"{name}({_differing(arguments, groups[target])})")
    return tuple(
        name if sum(same(name, other) for other in found) == 1 else f"{name} #{index}"
        for index, name in enumerate(found)
    )


def _component(choice: Any) -> tuple[str, dict[str, Any]] | None:
    """The target and the arguments of a choice that is a component, without secrets."""
    if not is_component(choice):
        return None
    arguments = flatten(redact({key: value for key, value in choice.items() if key != "target"}))
    return choice["target"], arguments


def _differing(arguments: Mapping[str, object], group: Sequence[Mapping[str, object]]) -> str:
    """The arguments that not all components of a group have alike."""
    return ", ".join(
        f"{name}={value}"
        for name, value in arguments.items()
        if not all(name in other and same(other[name], value) for other in group)
    )


def _labels(choice: Any, index: int) -> list[Label]:
    """Names for a choice, the best first; the last is like no other's."""
    choice = redact({"choice": choice})["choice"]  # the database shows it to everybody
    text = json.dumps(choice, ensure_ascii=False, separators=(",", ":"), sort_keys=False, default=str)
    last: list[Label] = [text, f"{text} #{index}"]
    if is_component(choice):
        target = choice["target"]
        return [target.rpartition(".")[2], target, *last]
    plain = isinstance(choice, SCALARS) and not (isinstance(choice, float) and not math.isfinite(choice))
    return [choice, *last] if plain and choice != HIDDEN else last
