"""Report of a study's preflight, for people and as JSON."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.config.config_diff import same
from lab.config.optimize_config import OptimizeConfig
from lab.config.search_space import Corner, Space
from lab.console.formatting import format_duration, format_number
from lab.hpo.cost_estimate import Estimate, Room, estimate, size, warnings
from lab.store import file_io
from lab.train.preflight_report import Report

_WIDTH = 110
_LABEL = 44  # columns of a corner's name
_VALUE = 36  # columns of a parameter's value, at most


@dataclass(frozen=True)
class TriedCorner:
    """A point of the space, and the result of one batch. `values` are as they are stored, by path."""

    label: str
    values: Mapping[str, Any]
    shown: Mapping[str, Any]  # those of them that the label doesn't imply
    report: Report


@dataclass(frozen=True)
class StudyReport:
    """All of it. A fault at any corner makes it fail; warnings don't.

    Args:
        estimate: None where no corner passed.
        budget: the study's time_budget in seconds.
        warnings: of the study as a whole.
        seconds: that the check took.
        left_out: corners that were not tried, and the constraint that each violates.
    """

    corners: Sequence[TriedCorner]
    estimate: Estimate | None
    room: Room
    budget: float | None
    prunes: bool
    warnings: Sequence[str]
    seconds: float
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        config: OptimizeConfig,
        tried: Sequence[tuple[Corner, Report]],
        room: Room,
        seconds: float,
        left_out: Mapping[str, str] = {},
    ) -> "StudyReport":
        """Put together from the base, which comes first, and the corners."""
        space = config.space
        numbers = [corner for corner, _ in tried if not corner.at][-1]
        corners = [
            TriedCorner(corner.label, space.to_params(corner.values), _shown(space, corner, numbers), report)
            if corner.values
            else TriedCorner(corner.label, {}, {}, report)
            for corner, report in tried
        ]
        costs = {one.label: one.report.costs for one in corners[1:] if one.report.costs is not None}
        found = estimate(config, costs) if costs else None
        found_warnings = warnings(config, costs, found, room) if found is not None else []
        prunes = config.pruner is not None
        return cls(corners, found, room, config.time_budget, prunes, found_warnings, seconds, left_out)

    @property
    def passed(self) -> bool:
        """Return whether every corner that the study may reach can be trained."""
        return all(corner.report.passed for corner in self.corners)

    def as_json(self) -> str:
        """One JSON object; bytes and seconds are plain numbers."""
        corners = [
            {
                "corner": one.label, "values": one.values, "passed": one.report.passed,
                "loss": one.report.loss, "costs": one.report.costs and asdict(one.report.costs),
                "figures": one.report.figures, "warnings": one.report.warnings, "faults": one.report.faults,
            }
            for one in self.corners
        ]  # fmt: skip
        study = None if self.estimate is None else {**asdict(self.estimate), "disk": self.estimate.disk}
        data = {"passed": self.passed, "corners": corners, "study": study, "room": asdict(self.room),
                "warnings": self.warnings, "seconds": self.seconds,
                "infeasible": dict(self.left_out)}  # fmt: skip
        return file_io.printed_json(data, indent=2)

    def as_text(self) -> str:
        """For a person, at most 110 columns wide."""
        lines = [*self._table(), ""]
        if self.estimate is not None:
            lines += [*self._study(self.estimate), ""]
        messages = [*self._messages()]
        lines += [*messages, ""] if messages else []
        end = "Ready to search." if self.passed else "Not ready: fix the faults above."
        return "\n".join([*lines, f"{end} This check took {format_duration(self.seconds)}."])

    def _table(self) -> Iterator[str]:
        heads = ("Corner", "Loss", "Peak memory", "A trial", "Checkpoint")
        yield _row(*heads)
        for one in self.corners:
            costs = one.report.costs
            cells = (
                ("–", "–", "–", "–")
                if costs is None
                else (
                    format_number(one.report.loss), size(costs.peak_bytes), format_duration(costs.seconds),
                    size(costs.checkpoint_bytes),
                )
            )  # fmt: skip
            mark = "fault" if one.report.faults else "warning" if one.report.warnings else ""
            yield f"{_row(_cut(one.label, _LABEL - 1), *cells)}  {mark}".rstrip()
            values = [f"{name} {_short(value)}" for name, value in one.shown.items()]
            yield from _filled(values)
        for label, constraint in self.left_out.items():
            yield from textwrap.wrap(
                f"Not tried: {label}: it violates {constraint}", _WIDTH, subsequent_indent="  "
            )

    def _study(self, found: Estimate) -> Iterator[str]:
        at_a_time = f", {found.workers} at a time" if found.workers > 1 else ""
        span = ""
        if found.least < found.most:
            least, most = format_duration(found.least), format_duration(found.most)
            span = f"; {least} if all were the shortest, {most} the longest"
        time = f"about {format_duration(found.seconds)} of training{span}"
        time += "; pruning makes it less" if self.prunes else ""
        time += f"; then {format_duration(found.confirming)} to confirm the best" if found.confirming else ""
        if self.budget is not None and found.seconds <= self.budget:
            time += f"; it fits into the time_budget of {format_duration(self.budget)}"
        share = f" for {found.sharing} trials" if found.sharing > 1 else ""
        memory = f"at most {size(found.memory)}{share}"
        if self.room.memory is not None:
            memory += f"; {self.room.name} has {size(self.room.memory)}"
        parts = f"{size(found.weights)} of weights and {size(found.records)} of records"
        disk = f"up to {size(found.disk)}: {parts}"
        disk += f"; {size(self.room.disk)} are free" if self.room.disk is not None else ""
        yield f"The whole study: {found.trials} trials{at_a_time}"
        for name, text in (("Time", time), ("Memory", memory), ("Disk", disk)):
            yield from textwrap.wrap(f"  {name:<8}{text}", _WIDTH, subsequent_indent=" " * 10)

    def _messages(self) -> Iterator[str]:
        """Each once, with the corners that it was found at."""
        for kind, of in (("Warning", "warnings"), ("Fault", "faults")):
            found: dict[str, list[str]] = {text: [] for text in self.warnings} if of == "warnings" else {}
            for one in self.corners:
                for text in getattr(one.report, of):
                    found.setdefault(text, []).append(one.label)
            for text, labels in found.items():
                where = "every corner" if len(labels) == len(self.corners) else "; ".join(labels)
                yield from textwrap.wrap(
                    f"{kind}: {text}{f' (at {where})' if labels else ''}", _WIDTH, subsequent_indent="  ",
                    break_on_hyphens=False,
                )  # fmt: skip


def _row(label: str, *cells: str) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>13}" for cell in cells)


def _filled(items: Sequence[str]) -> Iterator[str]:
    """Lines of items, none of which is broken."""
    line = ""
    for item in items:
        if line and len(line) + 2 + len(item) > _WIDTH:
            yield line
            line = ""
        line += f"  {item}"
    if line:
        yield line


def _shown(space: Space, corner: Corner, numbers: Corner) -> dict[str, Any]:
    """A choice's corner is as the one with the numbers high, but for the choice and what comes with it."""
    params = space.to_params(corner.values)
    if not corner.at:
        return dict(space.shown(params))
    usual = space.to_params(numbers.values) if numbers.values else {}
    rest = {name: value for name, value in params.items() if name != corner.at[0]}
    other = {name: v for name, v in rest.items() if name not in usual or not same(usual[name], v)}
    return dict(space.shown(other))


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)
    return _cut(text, _VALUE)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
