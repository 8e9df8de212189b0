"""The attributes of a trial: what is written is read back, and what others wrote breaks nothing."""

import json
import math
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from lab.events import Outcome
from lab.report.trial_attributes import TrialAttributes

OLD = Path(__file__).parents[2] / "old" / "studies.sql"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "outcome": st.sampled_from(Outcome) | st.text().filter(lambda text: Outcome.read(text) is None),
    **dict.fromkeys(("cause", "fault", "forked_from", "enqueued"), st.text()),
    **dict.fromkeys(("seconds", "since", "worked", "saved"), FINITE),
    **dict.fromkeys(("epochs", "epochs_planned", "best_epoch", "attempts"), COUNTS),
    **dict.fromkeys(("deaths", "losses", "progress", "restarts", "halvings"), COUNTS),
    "spans": st.lists(st.tuples(FINITE, FINITE), max_size=3).map(tuple),
    "repeats": st.dictionaries(st.text(), FINITE | st.just(math.nan), max_size=3),
    "definitions": st.dictionaries(st.text(), COUNTS, max_size=3),
    "curve": st.dictionaries(COUNTS, st.floats(), max_size=3),
    "quarantined": st.just(True),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(), below, max_size=2),
    max_leaves=4,
)


def read_back(attributes: TrialAttributes) -> TrialAttributes:
    """As Optuna's database keeps them, which is JSON."""
    stored = {name: json.loads(json.dumps(value)) for name, value in attributes.stored().items()}
    return TrialAttributes.of(create_trial(state=TrialState.RUNNING, user_attrs=stored))


@given(st.fixed_dictionaries({}, optional=KINDS))
def test_what_is_written_is_read_back(given: dict[str, Any]) -> None:
    attributes = TrialAttributes(**given)
    assert set(attributes.stored()) == set(given), "under its own name, and nothing else"
    assert repr(read_back(attributes)) == repr(attributes)  # for NaN is not equal to itself


def test_every_attribute_is_tried() -> None:
    assert set(KINDS) == {field.name for field in fields(TrialAttributes)}


def test_the_stored_names_and_values_stay() -> None:
    attributes = TrialAttributes(
        outcome=Outcome.EARLY_STOPPED, cause="enough", spans=((1.0, 2.5),), repeats={"seed_0": math.inf},
        curve={3: math.inf}, quarantined=True, best_epoch=0,
    )  # fmt: skip
    assert attributes.stored() == {
        "outcome": "early_stopped", "cause": "enough", "spans": [[1.0, 2.5]], "repeats": {"seed_0": None},
        "curve": {"3": math.inf}, "quarantined": True, "best_epoch": 0,
    }  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(KINDS)) | st.text(), JSON))
def test_what_other_programs_wrote_breaks_nothing(stored: dict[str, Any]) -> None:
    found = TrialAttributes.of(create_trial(state=TrialState.RUNNING, user_attrs=stored))
    again = found.stored()
    assert set(again) <= set(stored) & set(KINDS)
    assert repr(read_back(found)) == repr(found)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("epochs", "7"), ("epochs", math.nan), ("seconds", True), ("curve", [1.0]), ("curve", {"a": 1.0}),
        ("spans", [1.0]), ("spans", 3), ("spans", [["a", "b"]]), ("spans", [[math.nan, 1.0]]),
        ("seconds", 10**400), ("spans", [[0, 10**400]]), ("repeats", 3), ("outcome", None),
    ],
)  # fmt: skip
def test_what_can_not_be_understood_is_missing(name: str, stored: object) -> None:
    found = TrialAttributes.of(create_trial(state=TrialState.RUNNING, user_attrs={name: stored}))
    assert found == TrialAttributes()


def test_an_old_study_reads_the_same(tmp_path: Path) -> None:
    """Every stored attribute is known by its name, and written again it is what it was."""
    with sqlite3.connect(tmp_path / "studies.db") as database:
        database.executescript(OLD.read_text())
    database.close()
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    names = optuna.study.get_all_study_names(url)
    trials = [trial for name in names for trial in optuna.load_study(study_name=name, storage=url).trials]
    assert len(trials) > 4
    for trial in trials:
        assert TrialAttributes.of(trial).stored() == trial.user_attrs
        assert trial.user_attrs, "it tests nothing"
