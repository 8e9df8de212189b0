"""An audit of a study's trials: a log that the database itself keeps, and what it is judged by.

Triggers write down every change of a trial's state, of its values and of its lease, in the transaction that
makes it. So a trial that was finished twice is seen, though its row doesn't show it any more.
"""

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from lab.config.optimize_config import OptimizeConfig
from lab.hpo.leases import Leases
from lab.hpo.open_study import open_study
from lab.hpo.optuna_internals import study_id
from lab.hpo.storage import Database
from lab.hpo.trial_folder import read_trial
from lab.store import run_folder
from selftest.studies import trial_folder

_FINISHED = tuple(state.name for state in TrialState if state.is_finished())


# Each change that is written down: its kind, the event, the table, when it counts, the old and the new text.
_CHANGES = (
    ("state", "UPDATE", "trials", "OLD.state <> NEW.state", "OLD.state", "NEW.state"),
    ("parameter", "UPDATE", "trial_params", "OLD.param_value <> NEW.param_value", "OLD.param_value",
     "NEW.param_value"),
    ("parameter", "DELETE", "trial_params", "1 = 1", "OLD.param_value", "''"),
    ("value", "INSERT", "trial_values", "1 = 1", "''", "NEW.value"),
    ("value", "UPDATE", "trial_values", "OLD.value <> NEW.value", "OLD.value", "NEW.value"),
    ("report", "INSERT", "trial_intermediate_values", "1 = 1", "NEW.step", "NEW.intermediate_value"),
    ("claim", "INSERT", "lab_leases", "1 = 1", "''", "NEW.owner"),
    ("claim", "UPDATE", "lab_leases", "OLD.token <> NEW.token", "OLD.owner", "NEW.owner"),
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One line of the log."""

    number: int
    what: str
    was: str
    becomes: str


class Audit:
    """The log of one study, which is made with it.

    Args:
        config: of the study.
        folder: where its workers work.
    """

    def __init__(self, config: OptimizeConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.database = Database(config.storage)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = open_study(config, self.database)
        self.study_id = study_id(study)
        Leases(self.database, self.study_id, config.lease_seconds)
        with self.database.engine.begin() as connection:
            # Before the first worker starts: what happens earlier is in no log.
            for statement in _statements(self.database.file is not None):
                connection.execute(sqlalchemy.text(statement))

    def enqueue(self, points: Iterable[Mapping[str, object]]) -> None:
        """Add trials with these values, to be run in this order."""
        study = optuna.load_study(study_name=self.config.study_name, storage=self.database.backend)
        for point in points:
            study.enqueue_trial(dict(point))

    def trials(self) -> list[FrozenTrial]:
        """The trials that the database holds now."""
        study = optuna.load_study(study_name=self.config.study_name, storage=self.database.backend)
        return study.get_trials(deepcopy=False)

    def log(self) -> list[Change]:
        """All changes, the oldest first."""
        query = sqlalchemy.text(
            "SELECT trials.number, audit.what, audit.was, audit.becomes "
            "FROM audit JOIN trials ON trials.trial_id = audit.trial_id "
            "WHERE trials.study_id = :study ORDER BY audit.seq"
        )
        with self.database.engine.connect() as connection:
            return [Change(*row) for row in connection.execute(query, {"study": self.study_id})]

    def at_work(self) -> dict[int, str]:
        """The number of each trial that is RUNNING, and who holds its lease."""
        query = sqlalchemy.text(
            "SELECT trials.number, lab_leases.owner FROM trials "
            "JOIN lab_leases ON trials.trial_id = lab_leases.trial_id "
            "WHERE trials.state = 'RUNNING' AND trials.study_id = :study"
        )
        with self.database.engine.connect() as connection:
            return {row.number: row.owner for row in connection.execute(query, {"study": self.study_id})}

    def finished(self) -> int:
        """The number of trials that are over."""
        return sum(trial.state.is_finished() for trial in self.trials())

    def over(self) -> bool:
        """Return whether all trials are finished that were asked for."""
        return self.finished() >= self.config.total

    def judge(self, folder_of: Callable[[int], Path] | None = None) -> "Found":
        """Look at all there is, once nobody is at work any more.

        Args:
            folder_of: the folder of a trial by its number; by default the one in the study's only folder.
        """
        folder_of = folder_of or partial(trial_folder, self.folder)
        return judge_study(self.trials(), self.log(), self.config, folder_of)

    def close(self) -> None:
        """Let go of the database."""
        self.database.engine.dispose()


@dataclass
class Found:
    """All that is wrong with a study, a line for each thing."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def counted(self) -> dict[str, int]:
        """The number of each kind."""
        return {name: len(lines) for name, lines in vars(self).items()}

    def lines(self, where: str) -> list[str]:
        """All of them, each with its kind."""
        return [f"{where}: {name}: {line}" for name, lines in vars(self).items() for line in lines]


def judge(trials: Sequence[FrozenTrial], log: Sequence[Change], total: int) -> Found:
    """Judge whether each of `total` configurations was completed exactly once, as it was proposed.

    Args:
        trials: what the study holds in the end.
        log: what happened to them.
    """
    found = Found()
    found.lost += [f"{total} trials are asked for, {len(trials)} are there"] * (len(trials) < total)
    found.twice += [f"{total} trials are asked for, {len(trials)} are there"] * (len(trials) > total)
    for trial in trials:
        name = f"trial {trial.number}"
        if not trial.state.is_finished():
            found.running.append(f"{name} is {trial.state.name}, with nobody at work")
        elif trial.state != TrialState.COMPLETE:
            cause = trial.user_attrs.get("cause", "no cause")
            found.lost.append(f"{name} is {trial.state.name} ({cause}), and nothing is wrong with it")
    points = Counter(tuple(sorted(trial.params.items())) for trial in trials)
    found.twice += [f"{count} trials have the values {dict(p)}" for p, count in points.items() if count > 1]
    # The rows show the last state only; the log shows each change.
    ends = Counter(c.number for c in log if c.what == "state" and c.becomes in _FINISHED)
    found.twice += [
        f"trial {number} was finished {count} times" for number, count in ends.items() if count > 1
    ]
    for change in log:
        what = f"trial {change.number}: {change.what} {change.was} became {change.becomes or 'nothing'}"
        if change.what == "parameter":
            found.changed.append(what)
        elif (change.what == "state" and change.was in _FINISHED) or (change.what == "value" and change.was):
            found.twice.append(what)
    return found


def judge_study(
    trials: Sequence[FrozenTrial],
    log: Sequence[Change],
    config: OptimizeConfig,
    folder_of: Callable[[int], Path],
) -> Found:
    """Judge the trials of a study, and the record of each."""
    found = judge(trials, log, config.total)
    for trial in trials:
        judge_record(trial, folder_of(trial.number), config.base.epochs, found)
    return found


def judge_record(trial: FrozenTrial, folder: Path, epochs: int, found: Found) -> None:
    """Judge whether a completed trial's own record has each epoch once, and agrees with the database."""
    if trial.state != TrialState.COMPLETE:
        return
    name = f"trial {trial.number}"
    wanted = list(range(1, epochs + 1))
    done = recorded(folder)
    if [epoch for epoch, _ in done] != wanted:
        rows = [epoch for epoch, _ in done]
        twice = len(set(rows)) < len(rows)
        (found.twice if twice else found.lost).append(f"{name} has the epochs {rows} in {run_folder.METRICS}")
    if sorted(trial.intermediate_values) != wanted:
        found.lost.append(f"{name} has reported the epochs {sorted(trial.intermediate_values)} of {wanted}")
    for epoch, value in done:
        reported = trial.intermediate_values.get(epoch, value)
        if not math.isclose(reported, value, rel_tol=1e-9):
            found.changed.append(f"{name} has {value} in {run_folder.METRICS}, {reported} in the database")
    if done and not math.isclose(least := min(value for _, value in done), trial.values[0], rel_tol=1e-9):
        found.changed.append(
            f"{name} is worth {least} by {run_folder.METRICS}, {trial.values[0]} by the database"
        )
    if (params := read_trial(folder).get("params")) != trial.params:
        found.changed.append(f"{name} was run with {params}, the database has {trial.params}")


def recorded(folder: Path) -> list[tuple[int, float]]:
    """The epochs in a run folder's record with their `val_loss`, as they stand there."""
    path = folder / run_folder.METRICS
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [(int(row["epoch"]), float(row["val_loss"])) for row in csv.DictReader(file)]


def _statements(is_file: bool) -> Iterator[str]:
    """The table of the log, and the triggers that write down each change."""
    columns = "trial_id INTEGER, what TEXT, was TEXT, becomes TEXT"
    yield f"CREATE TABLE audit (seq {'INTEGER' if is_file else 'SERIAL'} PRIMARY KEY, {columns})"
    for index, (what, event, table, when, was, becomes) in enumerate(_CHANGES):
        name, row = f"audit_{index}", "OLD" if event == "DELETE" else "NEW"
        insert = (
            "INSERT INTO audit (trial_id, what, was, becomes) VALUES "
            f"({row}.trial_id, '{what}', CAST({was} AS TEXT), CAST({becomes} AS TEXT));"
        )
        head = f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW WHEN ({when})"
        if is_file:
            yield f"{head} BEGIN {insert} END"
        else:
            body = f"BEGIN {insert} RETURN NULL; END"
            yield f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"
            yield f"{head} EXECUTE FUNCTION {name}()"
