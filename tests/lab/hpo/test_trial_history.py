"""The cache of finished trials, compared with what Optuna's own storage reads from the same database."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.events import Outcome
from lab.hpo import trial_history
from lab.hpo.storage import Database
from lab.report.trial_attributes import TrialAttributes

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "width": IntDistribution(4, 64, step=4),
    "kind": CategoricalDistribution(("a", None, 3)),
}
PARTS = ("trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def trial(state: TrialState, index: int, **more: Any) -> FrozenTrial:
    point = {"rate": 10 ** -(1 + index % 3), "width": 4 + 4 * index % 64, "kind": ("a", None, 3)[index % 3]}
    about: dict[str, Any] = {
        "params": point,
        "distributions": SPACE,
        "user_attrs": {"outcome": "completed", "spans": [[1.0, 2.5]], "of another": {"x": [index]}},
        "system_attrs": {"fixed_params": point},
        "intermediate_values": {1: math.nan, 2: math.inf, 3: -math.inf, 4: 0.1 * index, 9: 1.0},
    }
    return create_trial(state=state, **(about | more))


@pytest.fixture
def filled(database: Database, study: optuna.Study) -> optuna.Study:
    """A study with trials of all kinds, another one's between them."""
    other = optuna.create_study(storage=database.storage, study_name="other")
    for index in range(5):
        study.add_trial(trial(TrialState.COMPLETE, index, value=[0.5, math.inf, -math.inf, -3.0, 2.0][index]))
        other.add_trial(trial(TrialState.COMPLETE, index, value=1.0))
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING):
        study.add_trial(trial(state, 7))
    study.add_trial(create_trial(state=TrialState.FAIL))
    return study


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The SQL that is executed within."""
    found: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        found.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def same(mine: list[FrozenTrial], theirs: list[FrozenTrial]) -> bool:
    """Trials are equal, NaN included; the order of a database is its own."""

    def shown(each: FrozenTrial) -> str:
        parts = {name: sorted(v.items()) if isinstance(v, dict) else v for name, v in vars(each).items()}
        return repr((parts, list(each.params)))

    return list(map(shown, mine)) == list(map(shown, theirs))


def test_trials_are_those_that_optuna_reads(database: Database, filled: optuna.Study) -> None:
    theirs = optuna.load_study(study_name="s", storage=database.backend)
    for _ in range(2):  # from the database, then finished ones from memory
        assert same(filled.get_trials(), theirs.get_trials())
        assert same(filled.get_trials(deepcopy=False), theirs.get_trials())
        for states in ((TrialState.COMPLETE,), FINISHED, (TrialState.RUNNING,), (TrialState.WAITING,), ()):
            assert same(filled.get_trials(states=states), theirs.get_trials(states=states))
    for each in theirs.get_trials():
        assert same([database.storage.get_trial(each._trial_id)], [each])
        found = database.storage.get_trial_id_from_study_id_trial_number(filled._study_id, each.number)
        assert found == each._trial_id
    with pytest.raises(KeyError):
        database.storage.get_trial(1_000)
    assert filled.best_trial.number == theirs.best_trial.number == 2


def test_a_finished_trial_is_read_once_and_an_unfinished_one_where_it_is_asked_for(
    database: Database, filled: optuna.Study
) -> None:
    filled.get_trials()
    with statements(database) as executed:
        filled.get_trials(deepcopy=False, states=FINISHED)
        assert len(executed) == 1 and not any(part in executed[0] for part in PARTS)
        executed.clear()
        trials = filled.get_trials(deepcopy=False)
        assert len(executed) == 6
        executed.clear()
        outlines = database.history.get_outlines(filled._study_id)
        assert len(executed) == 2 and not any(part in text for part in PARTS for text in executed)
    assert [each.system_attrs for each in outlines] == [each.system_attrs for each in trials]
    assert [each.params == {} for each in outlines[:9]] == [not t.state.is_finished() for t in trials[:9]]
    first = filled.get_trials(deepcopy=False)
    assert [a is b for a, b in zip(trials, first, strict=True)] == [t.state.is_finished() for t in trials]
    copied = filled.get_trials()
    copied[0].user_attrs["outcome"] = "changed"
    assert filled.get_trials()[0].user_attrs["outcome"] == "completed"


def test_what_other_processes_write_is_seen(url: str, database: Database, filled: optuna.Study) -> None:
    other = Database(url)
    theirs = optuna.load_study(study_name="s", storage=other.storage)
    running = filled.get_trials()[7]
    other.storage.set_trial_intermediate_value(running._trial_id, 5, 0.25)
    assert filled.get_trials()[7].intermediate_values[5] == 0.25
    waiting, new = theirs.ask(), theirs.ask()
    assert [t.number for t in filled.get_trials(states=(TrialState.RUNNING,))] == [7, 8, 10]
    theirs.tell(new, 0.125)  # before trials with a lower number
    assert filled.get_trials(states=(TrialState.COMPLETE,))[-1].value == 0.125
    theirs.tell(running.number, 0.75)
    theirs.tell(waiting, 0.5)
    assert [t.number for t in filled.get_trials(states=(TrialState.COMPLETE,))] == [*range(5), 7, 8, 10]
    assert same(filled.get_trials(), theirs.get_trials())
    other.engine.dispose()


def test_trials_that_were_rewritten_are_read_anew(database: Database, filled: optuna.Study) -> None:
    filled.get_trials()
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE trial_values SET value = 9.0 WHERE objective = 0"))
    assert filled.get_trials()[0].value == 0.5
    database.history.forget(filled._study_id)
    assert filled.get_trials()[0].value == 9.0


def test_attributes_of_a_finished_trial_are_parsed_once(filled: optuna.Study) -> None:
    trials = filled.get_trials(deepcopy=False)
    known = [TrialAttributes.of(each) for each in trials]
    assert known[0] == TrialAttributes(outcome=Outcome.COMPLETED, spans=((1.0, 2.5),))
    again = [TrialAttributes.of(each) for each in trials]
    assert [a is b for a, b in zip(known, again, strict=True)] == [t.state.is_finished() for t in trials]
    assert TrialAttributes.of(filled.get_trials()[0]) == known[0]


def test_more_trials_than_one_statement_reads(
    database: Database, filled: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled.get_trials()
    database.history.forget(filled._study_id)
    monkeypatch.setattr(trial_history, "_AT_ONCE", 4)
    with statements(database) as executed:
        assert same(filled.get_trials(), expected)
    assert len(executed) == 1 + 5 * (2 + 1)  # eight finished trials, then two others
