"""A storage that keeps finished trials: they never change, and are read from the database once.

Optuna's cache reads unfinished trials even where none are asked for, and all of them through its ORM, which
takes ten times as long and several times the memory.
"""

import copy
import json
import sys
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lab.hpo import queries
from lab.hpo.optuna_internals import (
    PARAMS,
    REPORTS,
    SYSTEM_ATTRIBUTES,
    USER_ATTRIBUTES,
    VALUES,
    StorageView,
    cached,
    number_of,
)
from lab.hpo.optuna_internals import trial_id as key_of
from lab.report.trial_attributes import FinalAttributes

UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)
_UNFINISHED = {state.name for state in UNFINISHED}
_AT_ONCE = 500  # trials whose parts one statement reads

Row = sa.Row[Any]
_Build = Callable[[sa.Connection, Sequence[Row]], list[FrozenTrial]]
_distribution = lru_cache(maxsize=10_000)(json_to_distribution)


@dataclass
class _Known:
    """A study's trials as far as known: finished ones in order, and the ids of the others by number."""

    finished: list[FrozenTrial] = field(default_factory=list)
    by_id: dict[int, FrozenTrial] = field(default_factory=dict)
    unfinished: dict[int, int] = field(default_factory=dict)
    last: int = -1  # the greatest id of a finished trial


class TrialHistory(StorageView):
    """A storage of Optuna's with a cache of finished trials before it, which threads may share.

    Trials that are returned without a deep copy must not be changed: others have them, too.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(cached(backend))
        self._backend, self._lock = backend, Lock()
        self._known: dict[int, _Known] = defaultdict(_Known)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials by number; unfinished ones are read where their states are asked for."""
        wanted = [state for state in TrialState if states is None or state in states]
        trials = self._read(study_id, wanted, _built)
        return copy.deepcopy(trials) if deepcopy else trials

    def get_outlines(self, study_id: int) -> list[FrozenTrial]:
        """Return all of a study's trials, the unfinished ones with their system attributes alone."""
        return self._read(study_id, list(TrialState), _outlined)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return one trial.

        Raises:
            KeyError: there is none.
        """
        with self._lock, self._backend.engine.connect() as connection:
            for known in self._known.values():
                if trial_id in known.by_id:
                    return known.by_id[trial_id]
            found = _built(connection, connection.execute(queries.one_trial(trial_id)).all())
        if not found:
            raise KeyError(f"there is no trial with the id {trial_id}")
        return found[0]

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a study's trial.

        Raises:
            KeyError: there is none.
        """
        known = self._known[study_id].unfinished.get(trial_number)
        found = self._backend.get_trial_id_from_study_id_trial_number
        return found(study_id, trial_number) if known is None else known

    def set_trial_param(
        self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter, also of a trial that Optuna's cache has not read."""
        self._backend.set_trial_param(trial_id, name, internal, distribution)

    def forget(self, study_id: int) -> None:
        """Read a study's trials anew, after a change of finished ones."""
        with self._lock:
            self._known.pop(study_id, None)

    def _read(self, study_id: int, states: Sequence[TrialState], build: _Build) -> list[FrozenTrial]:
        """Return the trials in these states, the unfinished ones as they are built from their rows."""
        names = {state.name for state in states}
        with self._lock, self._backend.engine.connect() as connection:
            known = self._known[study_id]
            rows = self._update(connection, study_id, known)
            trials = [trial for trial in known.finished if trial.state in states]
            trials += build(connection, [row for row in rows if row.state in names])
        trials.sort(key=_number)  # two sorted runs, which take as long as a merge
        return trials

    def _update(self, connection: sa.Connection, study_id: int, known: _Known) -> list[Row]:
        """Add the trials that have finished since the last time; returns rows of the unfinished ones."""
        found = connection.execute(queries.news(study_id, known.last, [*known.unfinished.values()])).all()
        ended = [row for row in found if row.state not in _UNFINISHED and row.trial_id not in known.by_id]
        for trial in _built(connection, ended):
            insort(known.finished, trial, key=_number)
            known.by_id[key_of(trial)] = trial
        known.last = max([known.last, *(row.trial_id for row in ended)])
        others = [row for row in found if row.state in _UNFINISHED]
        known.unfinished = {row.number: row.trial_id for row in others}
        return others


def _built(connection: sa.Connection, rows: Sequence[Row]) -> list[FrozenTrial]:
    """The trials of rows, with all their parts."""
    portions = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
    return [trial for portion in portions for trial in _with_parts(connection, portion)]


def _outlined(connection: sa.Connection, rows: Sequence[Row]) -> list[FrozenTrial]:
    """The trials of rows, with their system attributes alone."""
    columns = (SYSTEM_ATTRIBUTES.c.key, SYSTEM_ATTRIBUTES.c.value_json)
    found = _parts(connection, [row.trial_id for row in rows], *columns)
    return [
        FrozenTrial(row.number, TrialState[row.state], None, None, None, {}, {}, {}, about, {}, row.trial_id)
        for row, about in zip(rows, (_attributes(found[row.trial_id]) for row in rows), strict=True)
    ]


def _parts(connection: sa.Connection, ids: Sequence[int], *columns: sa.Column[Any]) -> dict[int, list[Any]]:
    """Columns of the rows that trials have in another table, by trial."""
    found: dict[int, list[Any]] = defaultdict(list)
    for own, *part in connection.execute(queries.parts(columns, ids)).all():
        found[own].append(part)
    return found


def _with_parts(connection: sa.Connection, rows: Sequence[Row]) -> Iterator[FrozenTrial]:
    parts = partial(_parts, connection, [row.trial_id for row in rows])
    params = parts(PARAMS.c.param_name, PARAMS.c.param_value, PARAMS.c.distribution_json)
    values = parts(VALUES.c.objective, VALUES.c.value, VALUES.c.value_type)
    reports = parts(REPORTS.c.step, REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type)
    user_attributes = parts(USER_ATTRIBUTES.c.key, USER_ATTRIBUTES.c.value_json)
    system_attributes = parts(SYSTEM_ATTRIBUTES.c.key, SYSTEM_ATTRIBUTES.c.value_json)
    for row in rows:
        own, state = row.trial_id, TrialState[row.state]
        distributions = {sys.intern(name): _distribution(text) for name, _, text in params[own]}
        about = _attributes(user_attributes[own])
        yield FrozenTrial(
            number=row.number,
            state=state,
            value=None,
            values=[number_of(*value) for _, *value in sorted(values[own])] or None,
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params={name: distributions[name].to_external_repr(value) for name, value, _ in params[own]},
            distributions=distributions,
            user_attrs=FinalAttributes(about) if state.is_finished() else about,
            system_attrs=_attributes(system_attributes[own]),
            intermediate_values={step: number_of(*value) for step, *value in reports[own]},
            trial_id=own,
        )


def _attributes(stored: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {sys.intern(name): json.loads(text) for name, text in stored}


def _local(time: datetime | None) -> datetime | None:
    """A time as Optuna's trials have it, from UTC as it stores it."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _number(trial: FrozenTrial) -> int:
    return trial.number
