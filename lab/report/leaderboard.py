"""`leaderboard.csv`: all trials of a study, best first, for a spreadsheet or a script."""

import csv
import io
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
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table(study))
    content = buffer.getvalue()
    file_io.atomic_write(path, content.encode("ascii" if content.isascii() else "utf-8-sig"))


def table(study: Study) -> list[list[str]]:
    """Return the header and a row per trial; numbers with all digits, missing values empty."""
    repeats = list(dict.fromkeys(name for trial in study.trials for name in trial.repeats))
    # The only seed of all trials would repeat the objective.
    repeats = repeats if len(repeats) > 1 else []
    paths = [dimension.path for dimension in study.dimensions]
    header = [
        "rank",
        "trial",
        "outcome",
        *(objective.metric for objective in study.objectives),
        "last",
        *paths,
    ]
    header += ["epochs", "seconds", *repeats, "forked from", "folder"]
    header += [f"definition of {metric}" for metric in study.older]
    rows = [[_safe(name) for name in _distinct(header)]]
    for trial in in_order(study.trials):
        values = [_number(value) for value in trial.values] or [""] * len(study.objectives)
        row = [_number(trial.rank), str(trial.number), trial.outcome, *values, _number(trial.last)]
        row += [_cell(trial.params.get(path)) for path in paths]
        row += [_number(trial.epochs), _number(trial.seconds)]
        row += [_number(trial.repeats.get(name)) for name in repeats]
        row += [_safe(trial.forked_from), _safe(trial.folder.name if trial.folder else "")]
        rows.append([*row, *(str(of_value(metric, trial.definitions or {})) for metric in study.older)])
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
    return _safe(value) if isinstance(value, str) else _number(value)


def _number(value: float | None) -> str:
    """Format with all digits, so that it reads back as the same number; NaN is empty."""
    if value is None or math.isnan(value):
        return ""
    return repr(value)


def _safe(text: str) -> str:
    """Prefix a text that a spreadsheet would run as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(_RISKY) else text
