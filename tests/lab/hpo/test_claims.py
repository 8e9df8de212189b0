"""How long a study has been at work."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.hpo.claims import FORKED, working_seconds

ZERO = datetime(2026, 1, 1)


def trial(start: int, end: int | None, **attributes: object) -> FrozenTrial:
    state = TrialState.RUNNING if end is None else TrialState.FAIL
    made = create_trial(state=state, user_attrs=dict(attributes))
    made.datetime_start = ZERO + timedelta(seconds=start)
    made.datetime_complete = None if end is None else ZERO + timedelta(seconds=end)
    return made


def test_pauses_do_not_count_and_what_is_side_by_side_counts_once() -> None:
    trials = [trial(0, 10), trial(5, 12), trial(100, 110), trial(102, 104), trial(200, None)]
    assert working_seconds(trials, now=lambda: ZERO + timedelta(seconds=203)) == 12 + 10 + 3


def test_trials_of_another_study_and_waiting_ones_do_not_count() -> None:
    waiting = trial(0, None)
    waiting.state = TrialState.WAITING
    assert working_seconds([trial(0, 50, **{FORKED: "other 1"}), waiting]) == 0.0
    assert working_seconds([]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=12))
def test_it_is_the_length_of_the_union(spans: list[tuple[int, int]]) -> None:
    covered = {second for start, length in spans for second in range(start, start + length)}
    assert working_seconds([trial(start, start + length) for start, length in spans]) == len(covered)
