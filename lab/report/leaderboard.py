"""`leaderboard.csv`: all trials of a study, best first, for a spreadsheet or a script."""

import math
from collections.abc import Sequence
from pathlib import Path

from lab.report.study_data import OUTCOMES, Study, Trial
from lab.store import file_io
from lab.store.definitions import of_value

LEADERBOARD = "leaderboard.csv"
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run the cell as a formula


def write(path: Path, study: Study) -> None:
    """Write the table in one piece.

    UTF-8, with a byte order mark only for non-ASCII characters: spreadsheets need it to detect UTF-8.
    """
    head, *rows = table(study)
    content = file_io.to_csv(head, rows)
    file_io.atomic_write(path, content.encode("ascii" if content.isascii() else "utf-8-sig"))


def table(study: Study) -> list[list[str]]:
    """Return the header and a row per trial; numbers with all digits, missing values empty."""
    paths = [dimension.path for dimension in study.dimensions]
    header = ["rank", "trial", "outcome", *(objective.metric for objective in study.objectives), "last"]
    header += [*paths, "epochs", "seconds", *study.repeats, "forked from", "folder"]
    header += [f"definition of {metric}" for metric in study.older]
    rows = [[_safe(name) for name in _distinct(header)]]
    for trial in in_order(study.trials):
        values = trial.values or [None] * len(study.objectives)
        row: list[str | float | None] = [trial.rank, trial.number, trial.outcome, *values, trial.last]
        row += [*map(trial.params.get, paths), trial.epochs, trial.seconds]
        row += [*map(trial.repeats.get, study.repeats), trial.forked_from]
        row += [trial.folder.name if trial.folder else ""]
        row += [of_value(metric, trial.definitions or {}) for metric in study.older]
        rows.append([_cell(value) for value in row])
    return rows


def in_order(trials: Sequence[Trial]) -> list[Trial]:
    """Sort by rank; trials without a result follow, by outcome and number."""
    return sorted(
        trials, key=lambda trial: (trial.rank or math.inf, OUTCOMES.index(trial.outcome), trial.number)
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Make column names unique: a parameter may be called `epochs`, like a built-in column."""
    found: list[str] = []
    for name in names:
        while name in found:
            name = f"trial's {name}"
        found.append(name)
    return found


def _cell(value: str | float | None) -> str:
    """Format a number with all digits, so that it reads back as the same; NaN is empty."""
    if isinstance(value, str):
        return _safe(value)
    return "" if value is None or math.isnan(value) else repr(value)


def _safe(text: str) -> str:
    """Prefix a text that a spreadsheet would run as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(_RISKY) else text
