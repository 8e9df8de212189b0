"""The list of runs, read from their summaries.

Ten thousand runs are listed in under two seconds: one small file is read per run, nothing slow is imported,
and modules that only a filter needs are imported by the filter.
"""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from lab.console import shell_commands, table
from lab.console.formatting import format_duration, format_number
from lab.events import RUNNING, Outcome
from lab.report.definition_marks import footnotes, marked_number, older
from lab.store import file_io, run_folder
from lab.store.definitions import of_value, recorded

KILLED, UNREADABLE, NO_SUMMARY = "killed", "unreadable", "no summary"
OUTCOMES = (*Outcome, RUNNING, KILLED, UNREADABLE, NO_SUMMARY)
_FIELDS = ("value", "epochs", "seconds", "samples_per_second", "parameters", "best_epoch", "seed")
_COUNTS = ("epochs", "parameters", "best_epoch", "seed")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # NaN, as others may write it
_LEAST_ROOM = 32  # columns of the run's name, before other columns give way


@dataclass(frozen=True)
class RunRow:
    """One run folder. `outcome` is the summary's, or `killed`, `unreadable`, `no summary`."""

    folder: Path
    outcome: str
    summary: Mapping[str, object]

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def config(self) -> Mapping[str, object]:
        return _mapping(self.summary.get("config"))

    @property
    def monitor(self) -> str:
        """The metric that the run optimizes."""
        return str(_mapping(self.summary.get("monitor")).get("metric") or "val_loss")

    @property
    def value_name(self) -> str:
        """The name of `value`: the monitor's best, or its last if the config sets `returns: last`."""
        last = _mapping(self.summary.get("monitor")).get("returns") == "last"
        return f"last.{self.monitor}" if last else self.monitor

    @property
    def maximizes(self) -> bool:
        return _mapping(self.summary.get("monitor")).get("mode") == "max"

    @cached_property
    def started(self) -> float:
        """Seconds since 1970; from the folder if the summary has no start."""
        try:
            return datetime.fromisoformat(str(self.summary.get("started"))).timestamp()
        except (ValueError, OverflowError, OSError):
            with suppress(OSError):
                return self.folder.stat().st_mtime
            return 0.0

    def metric(self, name: str) -> str:
        """`val_dice` for `best.val_dice`, and of `value` the monitored one."""
        return self.monitor if name == "value" else name.rpartition(".")[2]

    def definition(self, name: str) -> int:
        """The definition by which a metric or `value` was computed."""
        return of_value(self.metric(name), recorded(self.summary.get("definitions")))

    def number(self, name: str) -> float:
        """A metric's best value, `last.<metric>`, or a field such as `seconds`; NaN where there is none."""
        which, _, metric = name.rpartition(".")
        if which in ("best", "last"):
            found = _mapping(self.summary.get(which)).get(metric)
        elif name in _FIELDS:
            found = self.summary.get(name)
        else:
            found = _mapping(self.summary.get("best")).get(name)
        if not isinstance(found, (int, float)) or isinstance(found, bool):
            return math.nan
        try:
            return float(found)
        except OverflowError:
            return math.inf if found > 0 else -math.inf

    def shown(self, name: str) -> str:
        """The number as text; of several seeds or folds their mean ± standard deviation."""
        value = self.number(name)
        count = name in _COUNTS and value.is_integer()
        text = format_number(int(value) if count else value) if math.isfinite(value) else "–"
        repeats = self.summary.get("seeds", self.summary.get("folds"))
        metric = self.monitor if name == "value" else name.removeprefix("best.")
        spread = _mapping(self.summary.get("spread")).get(metric)
        if text == "–" or not isinstance(repeats, list) or not isinstance(spread, (int, float)):
            return text
        return f"{text} ± {spread:.2g} (n={len(repeats)})"


def read_runs(roots: Path | Iterable[Path]) -> list[RunRow]:
    """Return every run folder directly below the roots, newest first; a missing root has none.

    The seeds and folds of a run are not listed as separate runs.
    """
    places = [roots] if isinstance(roots, Path) else roots
    rows = [read_run(entry.path) for root in places for entry in _folders(root)]
    return sorted(rows, key=lambda row: (row.started, row.run_id), reverse=True)


def read_run(folder: Path | str) -> RunRow:
    """Read a summary by a path as text: each of ten thousand runs may take a tenth of a millisecond."""
    try:
        summary = _DECODER.decode(file_io.read_regular(f"{folder}/{run_folder.SUMMARY}").decode())
    except FileNotFoundError:
        return RunRow(Path(folder), NO_SUMMARY, {})
    except (OSError, ValueError, RecursionError):
        summary = None
    if not isinstance(summary, dict):
        return RunRow(Path(folder), UNREADABLE, {})
    outcome = str(summary.get("outcome", UNREADABLE))
    if outcome == RUNNING and summary.get("host") == socket.gethostname() and not _alive(summary.get("pid")):
        outcome = KILLED
    return RunRow(Path(folder), outcome, summary)


def find(name: str, roots: Sequence[Path]) -> Path:
    """Find the folder of a run by path, by name, or by a unique prefix of its name.

    Raises:
        ValueError: there is none (the error suggests close matches), the prefix is ambiguous, or the folder
            has a pipe where its files should be.
    """
    for folder in (Path(name), *(root / name for root in roots)) if name else ():
        # `os.path.isfile` returns False for a name that no file can have; `Path.is_file` raises.
        if any(os.path.isfile(folder / file) for file in (run_folder.SUMMARY, run_folder.CONFIG)):  # noqa: PTH113
            return _readable(folder)
    there = [folder for root in roots if root.is_dir() for folder in root.iterdir() if folder.is_dir()]
    exact = [folder for folder in there if folder.name == name]
    begun = exact or [folder for folder in there if name and folder.name.startswith(name)]
    if len(begun) == 1 or exact:
        return _readable(begun[0])
    if begun:
        some = ", ".join(sorted(folder.name for folder in begun)[:5])
        raise ValueError(f"{len(begun)} runs begin with '{name}': {some}")
    hint = _nearest(Path(name).name, (folder.name for folder in there), 0.4, "; --list shows what there is")
    raise ValueError(f"there is no run '{name}'{hint}")


def _readable(folder: Path) -> Path:
    """The run's folder, unless it holds what is no file: whoever reads a pipe waits for a writer."""
    folders = [
        each for run in (folder, *run_folder.repeats(folder)) for each in (run, run / run_folder.CHECKPOINTS)
    ]
    for path in (path for each in folders if each.is_dir() for path in each.iterdir()):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path}: is no regular file; remove it")
    return folder


def select(
    rows: Sequence[RunRow], project: str | None = None, outcome: str | None = None, where: Sequence[str] = ()
) -> list[RunRow]:
    """Select the rows of a project, with an outcome, and with all `path=value` in their config.

    Values are read as in YAML: numbers are compared as numbers and `null` is not a string. A component is
    matched by its import path, as in `net=model.MLP`.

    Raises:
        ValueError: an assignment has no `=`, there is no such outcome, or no config has such a path.
    """
    kept = [row for row in rows if project is None or row.summary.get("project") == project]
    if outcome is not None and outcome not in OUTCOMES:
        raise ValueError(f"there is no outcome '{outcome}'; outcomes are: {', '.join(OUTCOMES)}")
    kept = [row for row in kept if outcome is None or row.outcome == outcome]
    for assignment in where:
        holds = _condition(assignment, rows)
        kept = [row for row in kept if holds(row)]
    return kept


def sort(rows: Sequence[RunRow], metric: str, descending: bool | None = None) -> list[RunRow]:
    """Sort by a metric's best value, `last.<metric>`, or a field such as `seconds`; runs without it last.

    Args:
        descending: by default the best come first where the metric is a run's monitor, or a loss or an error;
            of everything else the largest.

    Raises:
        ValueError: no run has such a number; the error suggests close matches.
    """
    known = set(_FIELDS)
    for row in rows:
        known.update(_mapping(row.summary.get("best")))
        known.update(f"last.{name}" for name in _mapping(row.summary.get("last")))
    if rows and metric not in known and metric.removeprefix("best.") not in known:
        raise ValueError(f"no run has the metric '{metric}'{_nearest(metric, known)}")
    down = _larger_is_better(rows, metric) if descending is None else descending
    # A stable sort in both directions; rows without the number come last.
    numbered = [(row.number(metric), row) for row in rows]
    there = [each for each in numbered if not math.isnan(each[0])]
    there.sort(key=itemgetter(0), reverse=down)
    return [row for _, row in there] + [row for number, row in numbered if math.isnan(number)]


def as_table(
    rows: Sequence[RunRow], sorted_by: str | None = None, width: int | None = None, total: int | None = None
) -> str:
    """Format the runs as a table: name, outcome, value, epochs, time, age, and the number they are sorted by.

    Args:
        width: at most so many columns; by default the terminal's, and no limit where output goes elsewhere.
            First names are cut at their end (`--compare` takes the beginning of one), then columns left out.
        total: how many runs there were before a filter.
    """
    if not rows:
        first = (
            f"There are no runs here yet. Make one: {shell_commands.main('--run', shell_commands.EXAMPLE)}"
        )
        return f"None of {total} runs matches." if total else first
    width = table.terminal_width() if width is None else width
    marked = older(rows, ["value", *([sorted_by] if sorted_by else [])])
    columns = _columns(rows, sorted_by, marked)
    names = ["run", *columns]
    cells = [[row.run_id, *(show(row) for show in columns.values())] for row in rows]
    kept = _that_fit(names, cells, width)
    count = f"{len(rows)} of {total} runs" if total and total > len(rows) else f"{len(rows)} runs"
    order = f"by {sorted_by}" if sorted_by else "newest first"
    head, *body = [[line[n] for n in kept] for line in (names, *cells)]
    sides: list[table.Align] = ["<" if name in ("run", "outcome", "project") else ">" for name in head]
    text = f"{'1 run' if count == '1 runs' else count}, {order}"
    return "\n".join([table.render(head, body, sides, width), text, *footnotes(marked)])


def as_json(rows: Sequence[RunRow]) -> str:
    """Return a JSON list of the summaries, one per line with its folder, in the same order."""
    return "[\n" + ",\n".join(map(_json, rows)) + "\n]" if rows else "[]"


def _folders(root: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(root) as entries:
            return [entry for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _json(row: RunRow) -> str:
    data = {**row.summary, "run_id": row.run_id, "folder": str(row.folder), "outcome": row.outcome}
    try:
        return json.dumps(data, allow_nan=False)
    except ValueError:  # 1e999 is an infinity, which JSON can't hold
        return file_io.printed_json(data)


def _alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _condition(assignment: str, rows: Sequence[RunRow]) -> Callable[[RunRow], bool]:
    """Return a test for this value in a row's config; imports `lab.config`, which only a filter needs."""
    from lab.config import ConfigError
    from lab.config.config_diff import MISSING, flatten, same
    from lab.config.yaml_reader import Reader

    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ValueError(f"--where {assignment}: expected path=value, such as optimizer.lr=1e-3")
    parts = path.strip().split(".")

    def found(row: RunRow) -> object:
        here: object = row.config
        for part in parts:
            if isinstance(here, list) and part.isdigit() and int(part) < len(here):
                here = here[int(part)]
            elif isinstance(here, dict) and part in here:
                here = here[part]
            else:
                return MISSING
        return here["target"] if isinstance(here, dict) and "target" in here else here

    # A path that no run has is a typo, not an empty result.
    if rows and all(found(row) is MISSING for row in rows):
        known = {name for row in rows[:200] for name in flatten(row.config)}
        raise ValueError(f"--where {assignment}: no run has '{path}' in its config{_nearest(path, known)}")
    try:
        value = Reader("").read(text)
    except ConfigError:
        value = text
    return lambda row: same(found(row), value) or found(row) == text


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.5, otherwise: str = "") -> str:
    """Suggest close matches; without any return `otherwise`, or list what there is."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=cutoff) or [n for n in names if name in n][:3]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    listed = f"; there are: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}" if names else ""
    return otherwise or listed


def _larger_is_better(rows: Sequence[RunRow], metric: str) -> bool:
    name = metric.rpartition(".")[2]
    lower = any(part in name for part in ("loss", "error", "mae", "mse", "distance", "perplexity"))
    return next((row.maximizes for row in rows if name in (row.monitor, "value")), not lower)


def _columns(
    rows: Sequence[RunRow], sorted_by: str | None, marked: Mapping[str, Mapping[int, int]]
) -> dict[str, Callable[[RunRow], str]]:
    """Return the columns besides the run's name, in order."""
    now = time.time()
    value_names = {row.value_name for row in rows if row.summary}
    columns: dict[str, Callable[[RunRow], str]] = {"outcome": lambda row: row.outcome}
    if len({str(row.summary.get("project")) for row in rows if row.summary}) > 1:
        columns["project"] = lambda row: str(row.summary.get("project", "–"))
    if len(value_names) == 1:
        columns[value_names.pop()] = lambda row: marked_number(row, "value", marked)
    else:
        columns["value"] = lambda row: (
            f"{row.value_name} {marked_number(row, 'value', marked)}" if row.summary else "–"
        )
    if sorted_by is not None and sorted_by not in columns and sorted_by not in ("epochs", "seconds"):
        columns[sorted_by] = lambda row: marked_number(row, sorted_by, marked)
    columns["epochs"] = lambda row: row.shown("epochs")
    columns["time"] = lambda row: format_duration(row.number("seconds"))
    columns["age"] = lambda row: table.age(now - row.started)
    return columns


def _that_fit(names: Sequence[str], cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Return the columns that fit a narrow terminal: age is dropped first, then project, time and epochs."""
    kept = list(range(len(names)))
    if width is None:
        return kept
    rooms = [
        max(map(table.columns_of, (name, *column)))
        for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    # Names are cut before columns are dropped.
    rooms[0] = min(rooms[0], _LEAST_ROOM)
    for name in ("age", "project", "time", "epochs"):
        if sum(rooms[n] + 2 for n in kept) - 2 <= width:
            break
        kept = [n for n in kept if names[n] != name]
    return kept
