"""Listeners are called in their order, and a result is a number that knows where it comes from."""

import copy
import json
import math
import pickle
from pathlib import Path

import pytest

from lab.events import (
    RUNNING,
    Callback,
    CallbackList,
    EpochEnd,
    Note,
    Outcome,
    PhaseStart,
    RunEnd,
    RunResult,
    RunStart,
    StepsDone,
    Stopped,
    StopRequest,
    request_stop,
)
from tests.run_events import epoch_end, run_end, run_start


class Recorder(Callback):
    def __init__(self, name: str, log: list[tuple[str, str]], answer: StopRequest | None = None) -> None:
        self._name, self._log, self._answer = name, log, answer

    def on_run_start(self, event: RunStart) -> None:
        self._log.append((self._name, "run_start"))

    def on_phase_start(self, event: PhaseStart) -> None:
        self._log.append((self._name, "phase_start"))

    def on_steps(self, event: StepsDone) -> None:
        self._log.append((self._name, "steps"))

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        self._log.append((self._name, "epoch_end"))
        return self._answer

    def on_note(self, event: Note) -> None:
        self._log.append((self._name, "note"))

    def on_run_end(self, event: RunEnd) -> None:
        self._log.append((self._name, "run_end"))


def send_everything(callbacks: Callback, folder: Path) -> StopRequest | None:
    callbacks.on_run_start(run_start(folder))
    callbacks.on_phase_start(PhaseStart("train", 1, 2, 3))
    callbacks.on_steps(StepsDone("train", 1, None))
    answer = callbacks.on_epoch_end(epoch_end(1))
    callbacks.on_note(Note("hello"))
    callbacks.on_run_end(run_end())
    return answer


def test_all_are_called_in_order_and_the_first_stop_counts(tmp_path: Path) -> None:
    log: list[tuple[str, str]] = []
    stops = [None, request_stop("pruned", "pruned"), request_stop("late")]
    callbacks = CallbackList([Recorder(name, log, stop) for name, stop in zip("abc", stops, strict=True)])
    assert send_everything(callbacks, tmp_path) == StopRequest("pruned", Outcome.PRUNED)
    kinds = ["run_start", "phase_start", "steps", "epoch_end", "note", "run_end"]
    assert log == [(name, kind) for kind in kinds for name in "abc"]


def test_all_are_called_at_the_end_where_one_finds_the_disk_full() -> None:
    class Full(Callback):
        def on_run_end(self, event: RunEnd) -> None:
            raise OSError("no space left")

    log: list[tuple[str, str]] = []
    with pytest.raises(OSError, match="no space left"):
        CallbackList([Full(), Recorder("a", log), Full()]).on_run_end(run_end())
    assert log == [("a", "run_end")]


def test_nobody_listens(tmp_path: Path) -> None:
    assert send_everything(CallbackList(), tmp_path) is None
    assert send_everything(Callback(), tmp_path) is None


@pytest.mark.parametrize(
    ("stop", "diverged"), [(None, False), (request_stop("x"), False), (request_stop("x", "diverged"), True)]
)
def test_diverged(stop: StopRequest | None, diverged: bool) -> None:
    assert epoch_end(1, stop=stop).diverged is diverged


DONE, EARLY, CUT, UNFIT, NAN, OOM, LATE, LEFT, FAILED = Outcome
PROPERTIES: dict[str, set[Outcome]] = {
    "is_result": {DONE, EARLY},
    "is_success": {DONE, EARLY, CUT},
    "went_wrong": {NAN, OOM, LATE, FAILED},
    "is_infinitely_bad": {NAN, OOM},
    "is_final": {DONE, EARLY, CUT, UNFIT, NAN, OOM, LATE, FAILED},
    "ends_all_repeats": {CUT, LATE, LEFT},
    "has_traceback": {OOM, FAILED},
    "exit_code": {NAN, FAILED},
}


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("outcome", Outcome)
def test_each_property_of_each_outcome(name: str, outcome: Outcome) -> None:
    assert getattr(outcome, name) == (outcome in PROPERTIES[name])


def test_no_property_of_an_outcome_is_without_its_row() -> None:
    assert set(PROPERTIES) == {name for name, value in vars(Outcome).items() if isinstance(value, property)}


def test_the_stored_names_of_outcomes_stay() -> None:
    names = ("completed", "early_stopped", "pruned", "infeasible", "diverged", "out_of_memory", "timed_out",
             "interrupted", "failed")  # fmt: skip
    assert tuple(Outcome) == names  # equal to their names, which are the keys of old files
    assert json.dumps(list(Outcome)) == json.dumps(names) and f"{Outcome.TIMED_OUT}" == "timed_out"
    assert [Outcome.read(name) for name in names] == list(Outcome)
    assert [Outcome.read(other) for other in (RUNNING, "Completed", "", None, 3, ["completed"])] == [None] * 6


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ([], DONE), ([DONE, DONE], DONE), ([EARLY, EARLY], EARLY), ([EARLY, DONE], DONE), ([DONE, NAN], NAN),
        ([NAN, CUT], CUT), ([CUT, LATE], LATE), ([LATE, LEFT], LEFT), ([EARLY, NAN, DONE], NAN),
        ([FAILED], FAILED), ([OOM], OOM),
    ],
)  # fmt: skip
def test_the_outcome_of_several_repeats(outcomes: list[Outcome], whole: Outcome) -> None:
    assert Outcome.of_repeats(outcomes) is whole


def test_a_stop_takes_the_name_of_an_outcome() -> None:
    for stop in (request_stop("x", "pruned"), StopRequest("x", "pruned"), Stopped("x", "pruned")):  # type: ignore[arg-type]
        assert stop.outcome is Outcome.PRUNED
        assert pickle.loads(pickle.dumps(stop)).outcome is Outcome.PRUNED
    with pytest.raises(ValueError, match="'prunned' is not a valid Outcome"):
        request_stop("x", "prunned")


def test_events_cannot_be_changed(tmp_path: Path) -> None:
    for event in (run_start(tmp_path), epoch_end(1), run_end(), Note("x"), request_stop("x")):
        with pytest.raises(AttributeError):
            event.reason = "another"  # type: ignore[union-attr, misc]


@pytest.mark.parametrize(("first", "resumed"), [(1, False), (2, True)])
def test_resumed(tmp_path: Path, first: int, resumed: bool) -> None:
    assert run_start(tmp_path, first_epoch=first).resumed is resumed


def test_result_is_a_number() -> None:
    end = run_end(outcome="early_stopped", reason="enough", value=0.25)
    result = RunResult(end, Path("runs/x"))
    assert result == 0.25 and result < 0.5 and isinstance(result, float) and f"{result:.1f}" == "0.2"
    assert (result.outcome, result.reason, result.run_dir) == ("early_stopped", "enough", Path("runs/x"))
    assert (result.best, result.last, result.epochs) == (end.best, end.last, 4)
    assert (result.seconds, result.samples_per_second) == (2.0, 50.0)
    assert math.isinf(RunResult(run_end(value=math.inf), Path("x")))


def test_result_travels_between_processes() -> None:
    result = RunResult(run_end(value=0.25), Path("runs/x"))
    for again in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert type(again) is RunResult and again == 0.25
        assert vars(again) == vars(result)
