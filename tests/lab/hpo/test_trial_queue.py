"""The next trial, the counts of its attempts, and the time that a study has worked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.config.optimize_config import OptimizeConfig
from lab.events import Outcome
from lab.hpo.clock import Clock, WorkingTime
from lab.hpo.leases import Previous
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.trial_queue import TrialQueue, working_seconds
from lab.hpo.worker_main import TrialFinished
from lab.report.trial_attributes import TrialAttributes
from tests.lab.hpo.lost_answers import lost_answers
from tests.lab.hpo.small_study import config_of


def trial(*spans: tuple[float, float], since: float | None = None, worked: float = 0.0) -> FrozenTrial:
    attributes: dict[str, object] = {"spans": [list(span) for span in spans]}
    if since is not None:
        attributes |= {"since": since, "worked": worked}
    state = TrialState.FAIL if since is None else TrialState.RUNNING
    return create_trial(state=state, user_attrs=attributes)


def test_pauses_do_not_count_and_what_is_side_by_side_counts_once() -> None:
    trials = [trial((0, 10), (100, 110)), trial((5, 12)), trial((102, 104), since=200.0, worked=3.0)]
    assert working_seconds(trials) == 12 + 10 + 3
    assert working_seconds(trials, {trials[2].number: 5.0}) == 12 + 10 + 5


def test_an_interrupted_trial_counts_what_it_has_had() -> None:
    waiting = trial((0, 50), since=60.0, worked=20.0)
    waiting.state = TrialState.WAITING
    assert working_seconds([waiting]) == 50.0
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


@dataclass
class Times:
    """A wall clock and a monotonic one, which only move by hand."""

    wall: float = 1_000_000.0
    steady: float = 50.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady, lambda seconds: self.pass_(seconds))

    def pass_(self, seconds: float) -> None:
        self.wall, self.steady = self.wall + seconds, self.steady + seconds


def test_a_pause_between_two_beats_counts_as_one_interval_at_most() -> None:
    times = Times()
    working = WorkingTime(60.0, times.clock())
    for seconds in (15.0, 15.0, 3 * 3600.0, 15.0):
        times.pass_(seconds)
        working.beat()
    assert working.seconds() == 15 + 15 + 60 + 15
    times.pass_(5.0)
    assert working.seconds() == 110.0
    times.wall += 5 * 3600  # a clock that was wrong
    assert working.seconds() == 110.0


@dataclass
class Place:
    """A study of three trials in a real database, and the time by which its processes go."""

    config: OptimizeConfig
    database: Database
    study: optuna.Study
    folder: Path
    times: Times

    def queue(self, owner: str, dead: bool = False) -> TrialQueue:
        return TrialQueue(
            self.config, self.study, self.database, self.folder,
            owner=owner, clock=self.times.clock(), is_dead=lambda owner: dead,
        )  # fmt: skip

    def stored(self, number: int = 0) -> TrialAttributes:
        return TrialAttributes.of(self.study.get_trials(deepcopy=False)[number])


@pytest.fixture
def place(url: str, tmp_path: Path) -> Iterator[Place]:
    config = config_of(url, n_trials=3, sampler={"target": "optuna.samplers.RandomSampler"})
    database = Database(url)
    yield Place(config, database, open_study(config, database), tmp_path, Times())
    database.engine.dispose()


def test_a_takeover_counts_as_a_crash_only_where_the_owner_is_proven_dead(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.hpo.leases.Leases._now", lambda leases, session: place.times.wall)
    assert place.queue("p0").fetch() is not None
    found = []
    for turn, dead in enumerate((False, False, True, False), start=1):
        place.times.pass_(0.0 if dead else 2 * place.config.lease_seconds)
        queue = place.queue(f"p{turn}", dead)
        trial = queue.fetch()
        assert trial is not None and trial.number == 0
        assert trial.lease.previous is (Previous.DEAD if dead else Previous.SILENT)
        queue.retry(trial, crashed=dead)
        found.append((trial.crashes, trial.losses))
    assert found == [(0, 1), (0, 2), (1, 2), (1, 3)]
    assert (place.stored().deaths, place.stored().losses, place.stored().restarts) == (1, 3, 4)
    checkpoint = place.folder / "trial_00000" / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    queue.retry(trial, crashed=False)
    assert (trial.crashes, trial.losses, trial.restarts) == (0, 1, 5), "a new checkpoint: it makes progress"


def test_what_is_not_work_uses_up_no_budget(place: Place) -> None:
    queue = place.queue("a")
    trial = queue.fetch()
    assert trial is not None
    for seconds in (15.0, 3 * 3600.0, 15.0):  # the job is stopped for three hours
        place.times.pass_(seconds)
        queue.heartbeat([trial])
    place.times.wall += 5 * 3600  # and the clock jumps
    queue.heartbeat([trial])
    expected = 15.0 + place.config.lease_seconds + 15.0
    assert queue.working_seconds([trial]) == place.queue("b").working_seconds([]) == expected
    place.times.pass_(4.0)
    assert queue.working_seconds([trial]) == expected + 4.0
    queue.release(trial)
    assert not trial.lost and queue.working_seconds([]) == expected + 4.0
    again = place.queue("b").fetch()
    assert again is not None and again.number == 0 and place.stored().worked == 0.0
    assert place.queue("c").working_seconds([]) == expected + 4.0


def test_a_result_whose_answer_was_lost_is_stored_once_and_is_no_loss(place: Place) -> None:
    queue = place.queue("a")
    trial = queue.fetch()
    assert trial is not None
    with lost_answers(place.database, 1):
        outcome, values = queue.finish(trial, TrialFinished(Outcome.COMPLETED, "", value=0.25, epochs=4))
    assert (outcome, values, trial.lost) == (Outcome.COMPLETED, [0.25], False)
    assert [(found.state, found.values) for found in place.study.get_trials()] == [
        (TrialState.COMPLETE, [0.25])
    ]


@pytest.mark.parametrize(("answers", "after"), [(1, 0), (1, 1), (1, 2), (1, 3), (2, 1), (3, 0)])
def test_lost_answers_create_no_trial_too_many(place: Place, answers: int, after: int) -> None:
    queue, held = place.queue("a"), []
    with lost_answers(place.database, answers, after):
        while (trial := queue.fetch(held)) is not None:
            held.append(trial)
    assert [trial.number for trial in held] == [0, 1, 2]
    assert len(place.study.get_trials()) == 3 and not any(trial.lost for trial in held)
    previous = [trial.lease.previous for trial in held]
    assert previous.count(Previous.SELF) == 1 and previous.count(Previous.NOBODY) == 2


def test_a_proposal_that_comes_too_late_is_made_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = place.queue("slow"), place.queue("fast")
    propose, numbers = slow._proposals.next_point, []

    def while_another_is_faster(trials: list[FrozenTrial]) -> FrozenTrial | None:
        draft = propose(trials)
        numbers.append(None if draft is None else draft.number)
        if len(numbers) == 1:
            assert fast.fetch() is not None
        return draft

    monkeypatch.setattr(slow._proposals, "next_point", while_another_is_faster)
    trial = slow.fetch()
    assert trial is not None and trial.number == 1 and numbers == [0, 1]
    points = [found.params for found in place.study.get_trials()]
    assert len(points) == 2 and points[0] != points[1]
