"""A trial's process: it does as it is told, and ends by itself when nobody tells it anything."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import RunConfig, import_policy
from lab.events import (
    EpochEnd,
    Outcome,
    RunEnd,
    RunResult,
    RunStart,
    StepsDone,
    StopCause,
    Stopped,
    request_stop,
)
from lab.hpo import worker_main
from lab.hpo.trial_folder import TAKEN, fenced
from lab.hpo.worker_main import (
    EpochReported,
    ReportCallback,
    RunEnded,
    RunStarted,
    StepsReported,
    TrialFinished,
    TrialJob,
    WorkerReady,
    run_trial,
)
from lab.store import file_io, run_folder
from tests.continuing import DATA, STATEFUL, differences, tiny
from util import run

VALUES = {"train_loss": 1.0, "val_loss": 0.5}


def order(folder: Path, config: RunConfig, **more: Any) -> TrialJob:
    return TrialJob(config.as_data(), folder / "trial", **more)


def fake_run(run_config: RunConfig, **options: Any) -> RunResult:
    """As `util.run` calls its listeners, with no training in it."""
    (relay,) = options["callbacks"]
    folder: Path = options["run_dir"]
    relay.on_run_start(RunStart("id", folder, "p", "n", 0, {}, 1, 3, "cpu", 25, 100, 8, 4))
    outcome, reason, done = Outcome.COMPLETED, "", 0
    for epoch in (1, 2, 3):
        done = epoch
        stop = relay.on_epoch_end(EpochEnd(epoch, 3, VALUES, False, 1, VALUES, 0.5, 0.1))
        if stop is not None:
            outcome, reason = stop.outcome, stop.reason
            break
    end = RunEnd(outcome, reason, done, 0.5, 1, VALUES, VALUES, 1.5, 10.0)
    relay.on_run_end(end)
    return RunResult(end, folder)


def test_every_epoch_is_told_and_the_answer_counts(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    told: list[Any] = []

    def tell(message: Any) -> Any:
        told.append(message)
        late = isinstance(message, EpochReported) and message.event.epoch == 2
        return request_stop("not promising", "pruned") if late else None

    finished = run_trial(order(tmp_path, config()), fake_run, tell)
    assert [type(message) for message in told] == [
        WorkerReady,
        RunStarted,
        EpochReported,
        EpochReported,
        RunEnded,
    ]
    assert (finished.outcome, finished.reason, finished.epochs) == ("pruned", "not promising", 2)
    assert (finished.value, finished.parameters, finished.seconds) == (0.5, 25, 1.5)


def test_steps_are_reported_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    relay = ReportCallback(sent.append, ())
    began = relay._steps_at
    for seconds in (1.0, 11.0, 12.0, 20.0, 22.0):
        monkeypatch.setattr(time, "monotonic", lambda now=began + seconds: now)
        relay.on_steps(StepsDone("train", 1, None))
    assert sent == [StepsReported(), StepsReported()], "after 11 and 22 s"


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (TypeError("planted\nmore"), "failed", "TypeError: planted"),
        (MemoryError(), "out_of_memory", "MemoryError:"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "out_of_memory",
            "OutOfMemoryError: CUDA out of memory",
        ),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (Stopped("too long", "timed_out"), "timed_out", "too long"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (OSError(28, "x", "a.pt"), "interrupted", "the disk is full: a.pt: No space left on device"),
        (
            OSError(30, "x", "{folder}/a.pt"),
            "interrupted",
            "storage fails: {folder}/a.pt: Read-only file system",
        ),
        (PermissionError(13, "x", "a.pt"), "failed", "PermissionError: [Errno 13] x: 'a.pt'"),
    ],
)
def test_every_exception_is_an_outcome(
    tmp_path: Path, config: Callable[..., RunConfig], error: BaseException, outcome: str, reason: str
) -> None:
    def run(*arguments: Any, **options: Any) -> RunResult:
        raise error

    if isinstance(error, OSError):
        error.filename, reason = (text.format(folder=tmp_path) for text in (error.filename, reason))
    finished = run_trial(order(tmp_path, config()), run, lambda message: None)
    assert (finished.outcome, finished.reason) == (outcome, reason)
    assert (finished.cause is StopCause.STORAGE_FAULT) == (outcome == "interrupted" and "a.pt" in reason)
    written = tmp_path / "trial" / run_folder.TRACEBACK
    assert written.exists() == (outcome in ("failed", "out_of_memory"))
    if outcome == "failed":
        assert finished.fault.startswith(f"{type(error).__name__} at test_worker_main.py:")


def test_a_folder_that_is_in_use_is_waited_for(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    calls = []

    def run(*arguments: Any, **options: Any) -> RunResult:
        calls.append(1)
        if len(calls) < 3:
            raise file_io.RunInUse("busy")
        return fake_run(*arguments, **options)

    finished = run_trial(order(tmp_path, config(), patience=30.0), run, lambda message: None)
    assert finished.outcome == "completed" and len(calls) == 3
    calls.clear()
    gave_up = run_trial(order(tmp_path, config(), patience=0.0), run, lambda message: None)
    assert (gave_up.outcome, gave_up.reason) == ("interrupted", worker_main.IN_USE)


def slow_run(run_config: RunConfig, **options: Any) -> RunResult:
    (relay,) = options["callbacks"]
    folder: Path = options["run_dir"]
    relay.on_run_start(RunStart("id", folder, "p", "n", 0, {}, 1, 3, "cpu", 25, 100, 8, 4))
    relay.on_epoch_end(EpochEnd(1, 3, VALUES, False, 1, VALUES, 0.5, 0.1))
    (folder / "trained on").touch()
    time.sleep(600)
    raise AssertionError("unreachable")


@pytest.fixture
def process(tmp_path: Path, config: Callable[..., RunConfig]) -> Any:
    started = []

    def start(patience: float) -> Any:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        task = order(tmp_path, config(), patience=patience)
        found = context.Process(target=worker_main.main, args=(theirs, task, slow_run))
        found.start()
        theirs.close()
        started.append(found)
        return found, ours

    yield start
    for found in started:
        found.kill()
        found.join()


def until_epoch(line: Any) -> None:
    while not isinstance(line.recv(), EpochReported):
        pass


def test_it_stops_when_it_is_told(tmp_path: Path, process: Any) -> None:
    found, line = process(60.0)
    until_epoch(line)
    line.send(None)
    while not (tmp_path / "trial" / "trained on").exists():
        time.sleep(0.01)
    line.send(Stopped("it took longer than 3 s", "timed_out"))
    finished = line.recv()
    assert isinstance(finished, TrialFinished)
    assert (finished.outcome, finished.reason) == ("timed_out", "it took longer than 3 s")
    found.join(10)
    assert found.exitcode == 0


def test_it_ends_when_its_scheduler_is_gone(tmp_path: Path, process: Any) -> None:
    found, line = process(60.0)
    until_epoch(line)
    line.close()
    found.join(10)
    assert found.exitcode == 0 and not (tmp_path / "trial" / "trained on").exists()


def test_it_ends_when_its_scheduler_is_silent(tmp_path: Path, process: Any) -> None:
    found, line = process(0.5)
    until_epoch(line)
    finished = line.recv()
    assert (finished.outcome, finished.reason) == ("interrupted", "the scheduler does not answer")
    found.join(10)
    assert found.exitcode == 0 and not (tmp_path / "trial" / "trained on").exists()


def test_ctrl_c_is_left_to_the_scheduler(process: Any) -> None:
    found, line = process(60.0)
    until_epoch(line)
    os.kill(found.pid, signal.SIGINT)
    time.sleep(0.3)
    assert found.is_alive()
    os.kill(found.pid, signal.SIGTERM)
    assert line.recv().outcome == "interrupted"


def test_a_run_that_comes_late_leaves_the_folder_as_it_is(
    tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    """Its process was stopped before its run had begun, and the trial was done by another one meanwhile."""
    later = order(tmp_path, config(), token=2, facts={"number": 0})
    assert run_trial(later, fake_run, lambda message: None).outcome == "completed"
    (later.folder / run_folder.METRICS).write_text("epoch\n1\n")
    before = {path.name: path.read_bytes() for path in later.folder.iterdir()}
    finished = run_trial(order(tmp_path, config(), token=1), fake_run, lambda message: None)
    assert (finished.outcome, finished.reason) == ("interrupted", TAKEN)
    assert {path.name: path.read_bytes() for path in later.folder.iterdir()} == before


def test_a_run_that_begins_anew_finds_an_empty_folder(
    tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    for resume, left in ((True, ["metrics.csv", "trial.json"]), (False, ["trial.json"])):
        asked = order(tmp_path, config(), token=1, resume=resume)
        asked.folder.mkdir(exist_ok=True)
        (asked.folder / run_folder.METRICS).write_text("epoch\n1\n")
        run_trial(asked, fake_run, lambda message: None)
        assert [path.name for path in sorted(asked.folder.glob("[!.]*"))] == left


def test_a_folder_that_another_process_holds_is_no_fault(
    tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    asked = order(tmp_path, config(), token=2, patience=0.0)
    asked.folder.mkdir()
    with fenced(asked.folder, 1):
        finished = run_trial(asked, fake_run, lambda message: None)
    assert (finished.outcome, finished.reason, finished.fault) == ("interrupted", worker_main.IN_USE, "")


def test_a_trial_that_is_resumed_equals_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what its loss, its stream and its metrics remember."""
    monkeypatch.setenv(import_policy.VARIABLE, "selftest,tests")
    config = tiny(
        criterion={"target": f"{STATEFUL}.Remembering", "learns": True},
        data={"target": DATA, "kind": "waiting"},
        metrics={"smooth": f"{STATEFUL}.Smoothed"},
    )

    def dies(message: Any) -> None:
        if isinstance(message, EpochReported) and message.event.epoch == 2:
            raise RuntimeError("gone")

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    run_trial(order(tmp_path / "whole", config), run, lambda message: None)
    assert run_trial(order(tmp_path / "cut", config), run, dies).outcome == "failed"
    finished = run_trial(order(tmp_path / "cut", config, resume=True), run, lambda message: None)
    assert (finished.outcome, finished.epochs) == ("completed", 3)
    assert differences(tmp_path / "whole" / "trial", tmp_path / "cut" / "trial") == []
