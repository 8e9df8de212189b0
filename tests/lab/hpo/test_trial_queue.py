"""Which trial is next, and how long a study has been at work."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.trial_queue import TrialQueue, working_seconds
from tests.lab.hpo.small_study import config_of


def trial(*spans: tuple[float, float], since: float | None = None) -> FrozenTrial:
    attributes: dict[str, object] = {"spans": [list(span) for span in spans]}
    if since is not None:
        attributes["since"] = since
    state = TrialState.FAIL if since is None else TrialState.RUNNING
    return create_trial(state=state, user_attrs=attributes)


def test_pauses_do_not_count_and_what_is_side_by_side_counts_once() -> None:
    trials = [trial((0, 10), (100, 110)), trial((5, 12)), trial((102, 104), since=200.0)]
    assert working_seconds(trials, now=lambda: 203.0) == 12 + 10 + 3


def test_an_interrupted_trial_counts_what_it_has_had() -> None:
    waiting = trial((0, 50), since=60.0)
    waiting.state = TrialState.WAITING
    assert working_seconds([waiting], now=lambda: 1000.0) == 50.0
    assert working_seconds([]) == 0.0 and working_seconds([create_trial(state=TrialState.FAIL)]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=12))
def test_it_is_the_length_of_the_union(spans: list[tuple[int, int]]) -> None:
    covered = {second for start, length in spans for second in range(start, start + length)}
    assert working_seconds([trial((start, start + length)) for start, length in spans]) == len(covered)


def test_a_trial_whose_maker_died_before_it_had_values_gets_them(url: str, tmp_path: Path) -> None:
    """This process has never read it: whoever made it was killed at once."""
    config = config_of(url, sampler={"target": "optuna.samplers.RandomSampler"})
    database, other = Database(url), Database(url)
    study = open_study(config, database)
    queue = TrialQueue(config, study, database, tmp_path)
    other.storage.create_new_trial(study._study_id, create_trial(state=TrialState.WAITING))
    trial = queue.fetch()
    assert trial is not None and trial.number == 0
    assert trial.values.keys() == config.search_space.keys()
    for each in (database, other):
        each.engine.dispose()
