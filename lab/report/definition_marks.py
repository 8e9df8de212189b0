"""Marks of values that are by an older definition than others beside them (`lab.store.definitions`)."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from lab.store.definitions import LOSS, logged

MARK = "*"

Marked = Mapping[str, Mapping[int, int]]
"""metric -> `id` of a row whose value is by an older definition than others -> that definition."""


class Row(Protocol):
    """A row of a table; `value` stands for the monitored metric."""

    def metric(self, name: str) -> str: ...

    def definition(self, name: str) -> int: ...

    @property
    def config(self) -> Mapping[str, object]: ...

    def number(self, name: str) -> float: ...

    def shown(self, name: str) -> str: ...


def older(rows: Iterable[Row], names: Iterable[str]) -> Marked:
    """The rows with older definitions, of the metrics that rows of the same config have by several.

    A definition belongs to the metric and the classes that it is given: with others an older one can be the
    latest that there is.

    Args:
        names: columns of the table.
    """
    found: dict[tuple[str, str], dict[int, int]] = {}
    listed = list(rows)
    for name in names:
        for row in listed:
            if math.isfinite(row.number(name)):
                metric = row.metric(name)
                key = metric, _metric_config(row.config, metric)
                found.setdefault(key, {})[id(row)] = row.definition(name)
    marked: dict[str, dict[int, int]] = {}
    for (metric, _), by_row in found.items():
        newest = max(by_row.values())
        if below := {row: number for row, number in by_row.items() if number < newest}:
            marked.setdefault(metric, {}).update(below)
    return marked


def _metric_config(config: Mapping[str, object], metric: str) -> str:
    """All of a run that the definition of a metric can depend on."""
    name, metrics = logged(metric), config.get("metrics")
    own = metrics.get(name) if isinstance(metrics, Mapping) else None
    spec = config.get("criterion") if name == LOSS or name.startswith(f"{LOSS}_") else own
    data = config.get("data")
    source = data if isinstance(data, Mapping) else {"target": data}
    parts = [spec, *(source.get(key) for key in ("target", "classes", "background"))]
    return json.dumps(parts, sort_keys=True, default=str)


def marked_number(row: Row, name: str, marked: Marked) -> str:
    """Format the number, with a mark where it is by an older definition."""
    return row.shown(name) + (MARK if id(row) in marked.get(row.metric(name), {}) else "")


def footnotes(marked: Mapping[str, Mapping[int, int]]) -> list[str]:
    """A line for each metric that has marked values, by their definitions."""
    return [footnote(metric, below.values()) for metric, below in marked.items()]


def footnote(metric: str, definitions: Iterable[int]) -> str:
    """The line below a table that explains the marks of a metric."""
    which = " or ".join(map(str, sorted(set(definitions))))
    return (
        f"{MARK} {metric} by definition {which}, the others here by a newer one: not comparable "
        "(docs/definitions.md)"
    )
