"""The report of a study: one HTML file that needs no network, and a table beside it.

Everything is read from the study's storage and folder, so it can be written at any time, also while trials
run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING

from markupsafe import Markup

from lab.console import shell_commands
from lab.console.formatting import format_duration
from lab.events import Outcome
from lab.figures.canvas import cut_middle
from lab.report import (
    definition_marks,
    html_page,
    study_data,
    study_figures,
    study_findings,
    study_importances,
)
from lab.report import study_space_figures as space_figures
from lab.report.study_data import OUTCOMES, Study, Trial
from lab.store import file_io, run_folder
from lab.store.definitions import of_value
from lab.store.redact import redact, redact_text

if TYPE_CHECKING:
    import optuna
    from PIL.Image import Image

    from lab.config.optimize_config import OptimizeConfig

REPORT, LEADERBOARD, STUDY_FILE = "report.html", "leaderboard.csv", "study.yaml"
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet would run the cell as a formula
_CELL = 48  # characters of a choice in a table
_ROWS = 500  # of a table that is shown at a time
_SIDE = 1600  # pixels of an embedded plot's longer side
_HEAVY = 900_000  # bytes above which a plot is embedded as JPEG
_PLOTS = {run_folder.HISTORY: "Curves of the winner", run_folder.PREDICTIONS: "Predictions of the winner"}
LABELS = {  # where a mark's kind isn't a name to show
    Outcome.EARLY_STOPPED: "stopped early",
    "mean": "mean with 95 % interval",
    "seed": "one seed",
    "front": "on the front",
    "behind": "behind it",
}


@dataclass(frozen=True)
class Inlined:
    """An image embedded in the page."""

    title: str
    source: str  # a data URI
    width: int
    height: int


def write(folder: Path, study: "optuna.Study", config: "OptimizeConfig") -> Path:
    """Write `report.html` and `leaderboard.csv` into the study's folder; returns the report's path.

    Raises:
        OSError: the folder can't be written.
    """
    data = study_data.read(folder, study, config)
    write_leaderboard(folder / LEADERBOARD, data)
    path = folder / REPORT
    file_io.atomic_write(path, page(data, config, study.user_attrs))
    return path


def page(study: Study, config: "OptimizeConfig", about: Mapping[str, object]) -> str:
    """Render the page as HTML. `about`: the study's user attributes."""
    import yaml

    objectives, table = range(len(study.objectives)), in_order(study.trials)
    return html_page.render(
        "study_page.html.j2",
        {"amount": study_data.amount, "duration": format_duration, "cell": cell, "label": label},
        study=study,
        marks=definition_marks,
        findings=study_findings,
        importances=[study_importances.importances(study, n) for n in objectives],
        few=study_importances.FEW,
        figures={
            "history": [each for n in objectives if (each := study_figures.history(study, n))],
            "curves": study_figures.curves(study),
            "parallel": space_figures.parallel(study),
            "slices": [space_figures.slices(study, n) for n in objectives],
            "pareto": study_figures.pareto(study),
            "intervals": study.confirmation and study_figures.intervals(study.confirmation),
        },
        table=table[:_ROWS],
        rest=_rest(study, table[_ROWS:]),
        rows=_ROWS,
        wrong=[trial for trial in study.own if trial.outcome in study_data.WRONG],
        commands=commands_of(study),
        pictures=inlined(winners_folder(study)),
        config=config,
        storage=redact_text(config.storage),
        versions=_versions(about),
        written=datetime.now().astimezone().isoformat(" ", "seconds"),
        study_file=yaml.safe_dump(redact(config.as_data()), sort_keys=False, allow_unicode=True),
    )


def _rest(study: Study, trials: Sequence[Trial]) -> Markup | None:
    """The table's rows beyond the first page, as JSON for the page's script; None without any.

    A row is a list of texts in the order of the columns; one with another key to sort by is a pair of both.
    """
    rows = [
        [
            str(trial.rank or ""),
            str(trial.number),
            label(trial.outcome),
            *(map(study_data.amount, trial.values) if trial.values else [""] * len(study.objectives)),
            *("" if (value := trial.params.get(d.path)) is None else cell(value) for d in study.dimensions),
            str(trial.epochs),
            [format_duration(trial.seconds), "" if trial.seconds is None else f"{trial.seconds:.6g}"],
            *(study_data.amount(trial.repeats.get(name)) for name in study.repeats),
            *([trial.forked_from] if len(study.own) < len(study.trials) else []),
        ]
        for trial in trials
    ]
    # Within a script only "<" could end it.
    return Markup(json.dumps(rows, separators=(",", ":")).replace("<", "\\u003c")) if rows else None


def commands_of(study: Study) -> list[tuple[str, str]]:
    """Return (purpose, command) of the next steps that a reader may want."""
    home = winners_folder(study)
    steps = [
        ("run the winner again", "--run", home and home / run_folder.CONFIG),
        ("continue the study", "--optimize", study.folder / STUDY_FILE),
        ("update this page", "--report", study.folder),
    ]
    return [
        (what, shell_commands.anywhere(shell_commands.main(option, path)))
        for what, option, path in steps
        if path and path.exists()
    ]


def winners_folder(study: Study) -> Path | None:
    """Return `best/`, or the winner's own folder where `best/` holds another trial; None without either."""
    if study.winner is None:
        return None
    best = study.folder / study_data.BEST
    try:
        number = json.loads((best / "trial.json").read_text(encoding="utf-8"))["number"]
    except (OSError, ValueError, KeyError, TypeError):
        number = None  # no readable record of the best trial
    return best if number == study.winner.number else study.winner.folder


def inlined(folder: Path | None) -> list[Inlined]:
    """Embed the winner's plots; one that can't be read is left out."""
    from PIL import Image

    found: list[Inlined] = []
    if folder is None:
        return found
    for name, title in _PLOTS.items():
        try:
            content, kind = file_io.read_regular(str(folder / name)), "png"
            with Image.open(BytesIO(content)) as image:
                size = image.size
                # Embedded plots are reduced to keep the page small.
                if max(size) > _SIDE or len(content) > _HEAVY:
                    small = image.convert("RGB")
                    small.thumbnail((_SIDE, _SIDE))
                    (content, kind), size = _compressed(small), small.size
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
        found.append(Inlined(title, html_page.embedded(content, kind), *size))
    return found


def _versions(about: Mapping[str, object]) -> str:
    """The packages' versions as the study recorded them, or else those of today."""
    stored = about.get("versions")
    if not isinstance(stored, Mapping):
        stored = {name: version(name) for name in ("optuna", "torch")}
    return ", ".join(f"{name} {found}" for name, found in [*stored.items(), ("Python", python_version())])


def cell(value: object) -> str:
    """Format a parameter's value."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else cut_middle(str(value), _CELL)


def label(kind: str) -> str:
    """An outcome, or another kind of mark, in words."""
    return LABELS.get(kind, kind.replace("_", " "))


def _compressed(image: "Image") -> tuple[bytes, str]:
    """Encode as PNG, which keeps lines and text sharp, or as JPEG where that is too large."""
    for kind in ("png", "jpeg"):
        buffer = BytesIO()
        image.save(buffer, kind, **({"quality": 85} if kind == "jpeg" else {"optimize": True}))
        if buffer.tell() <= _HEAVY:
            break
    return buffer.getvalue(), kind


def write_leaderboard(path: Path, study: Study) -> None:
    """Write `leaderboard.csv` in one piece: all trials, best first, for a spreadsheet or a script.

    UTF-8, with a byte order mark only for non-ASCII characters: spreadsheets need it to detect UTF-8.
    """
    head, *rows = leaderboard(study)
    content = file_io.to_csv(head, rows)
    file_io.atomic_write(path, content.encode("ascii" if content.isascii() else "utf-8-sig"))


def leaderboard(study: Study) -> list[list[str]]:
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
