"""Runs side by side: results, differences between their configs, and their curves in one plot."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from zlib import crc32

from lab.config import ConfigError, config_file
from lab.config.config_diff import MISSING, flatten, same
from lab.console import table
from lab.console.formatting import format_duration
from lab.figures.curves import Rows, overlay
from lab.report.definition_marks import footnotes, marked_number, older
from lab.report.run_list import RunRow, find, read_run
from lab.store import run_folder
from lab.trackers.csv_file import read_metrics

MAX_PANELS = 6
_MAX_CELL = 48  # characters of one value in the table of differences


def compare(names: Sequence[str], roots: Path | Iterable[Path], picture: Path | None = None) -> str:
    """Draw the runs' curves over one another, and return the tables as text.

    Args:
        names: run folders, or names of folders in the roots, or their beginnings where those are unique.
        picture: path of the plot; by default `compare_<names>.png` in the first root.

    Raises:
        ValueError: fewer than two runs are given, or one of them doesn't exist or isn't unique.
    """
    places = [roots] if isinstance(roots, Path) else list(roots)
    # The same run may be given twice, by name and by path.
    folders = list({folder.resolve(): folder for folder in (find(name, places) for name in names)}.values())
    if len(folders) < 2:
        raise ValueError(f"comparing takes two runs or more, found {len(folders)}: {', '.join(names)}")
    # A, B, … Z, then A1, B1, …
    labels = [ascii_uppercase[n % 26] + (str(n // 26) if n >= 26 else "") for n in range(len(folders))]
    runs = dict(zip(labels, map(read_run, folders), strict=True))
    curves = {f"{label}  {run.run_id}": curve(run.folder) for label, run in runs.items()}
    parts = [results(runs), _differences_text({label: config_of(run) for label, run in runs.items()})]
    metrics = _metrics(list(runs.values()), list(curves.values()))
    if metrics:
        path = picture or places[0] / _picture_name([folder.name for folder in folders])
        overlay(curves, metrics, path)
        parts.append(f"curves: {path}")
    else:
        parts.append("No curves: none of these runs has finished an epoch.")
    return "\n\n".join(parts)


def differences(configs: Mapping[str, Mapping[str, object]]) -> list[tuple[str, list[object]]]:
    """(path, one value per config) for each dotted path where not all are the same; `MISSING` if absent."""
    flat = [flatten(config) for config in configs.values()]
    paths = dict.fromkeys(path for each in flat for path in each)
    rows = ((path, [each.get(path, MISSING) for each in flat]) for path in paths)
    return [(path, values) for path, values in rows if not all(same(values[0], value) for value in values)]


def results(runs: Mapping[str, RunRow]) -> str:
    """Return a table of results: a line per run, its label first."""
    metrics = dict.fromkeys(
        [run.monitor for run in runs.values()]
        + [name for run in runs.values() for name in _validation_metrics(run)]
    )
    header = ["", "run", "outcome", *metrics, "best epoch", "epochs", "time"]
    marked = older(list(runs.values()), [f"best.{name}" for name in metrics])
    align: list[table.Align] = [">" if n > 2 else "<" for n in range(len(header))]
    rows = [
        [
            *(label, run.run_id, run.outcome),
            *(marked_number(run, f"best.{name}", marked) for name in metrics),
            *(run.shown("best_epoch"), run.shown("epochs"), format_duration(run.number("seconds"))),
        ]
        for label, run in runs.items()
    ]
    body = table.render(header, rows, align, table.terminal_width())
    return "\n".join([body, *footnotes(marked)])


def config_of(run: RunRow) -> Mapping[str, object]:
    """The run's config from its summary, or from its snapshot where there is no summary.

    Raises:
        ValueError: the run left neither.
    """
    if run.config:
        return run.config
    try:
        return config_file.read(run.folder / run_folder.CONFIG).data
    except ConfigError as error:
        raise ValueError(f"{run.folder}: neither its summary nor its config can be read: {error}") from None


def curve(folder: Path) -> Rows:
    """The run's rows; of a run of several seeds or folds the mean over those that reached the epoch."""
    rows = read_metrics(folder)
    if rows:
        return rows
    per_epoch: dict[float, list[Mapping[str, float]]] = {}
    for child in run_folder.repeats(folder):
        for row in read_metrics(child):
            per_epoch.setdefault(row["epoch"], []).append(row)
    return [_mean(per_epoch[epoch]) for epoch in sorted(per_epoch)]


def _picture_name(names: Sequence[str]) -> str:
    """The runs' names where they fit into a file name, else the first and a number that stands for all."""
    whole = "_".join(["compare", *names])
    # File systems allow 255 bytes; a checksum keeps names of many runs distinct.
    if len(whole) > 120:
        whole = f"compare_{names[0]}_and_{len(names) - 1}_more_{crc32(whole.encode()):08x}"
    return f"{whole}.png"


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in columns.items()}


def _metrics(runs: Sequence[RunRow], curves: Sequence[Rows]) -> list[str]:
    """Return the metrics to plot: monitors, both losses, then other validation metrics up to `MAX_PANELS`."""
    logged = dict.fromkeys(name for rows in curves for row in rows for name in row)
    wanted = [*(run.monitor for run in runs), "val_loss", "train_loss"]
    others = [name for name in logged if name.startswith("val_")]
    return [name for name in dict.fromkeys([*wanted, *others]) if name in logged][:MAX_PANELS]


def _differences_text(configs: Mapping[str, Mapping[str, object]]) -> str:
    rows = differences(configs)
    if not rows:
        return "The configs are the same."
    cells = [[path, *(table.cut(_value(value), _MAX_CELL) for value in values)] for path, values in rows]
    return table.render(["config", *configs], cells, width=table.terminal_width())


def _value(value: object) -> str:
    if value is MISSING:
        return repr(MISSING)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _validation_metrics(run: RunRow) -> list[str]:
    """The validation values of a run, its loss first; the loss also of one that has no best epoch yet."""
    found = run.summary.get("best")
    best = list(found) if isinstance(found, dict) else []
    names = ["val_loss", *best] if "val_loss" in best or not best else best
    return [name for name in names if name.startswith("val_")]
