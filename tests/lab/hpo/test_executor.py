"""Where trials run: what is heard of a process, however it ends."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver as servers
from pathlib import Path
from typing import Any

import pytest

from lab.config import RunConfig
from lab.console.signals import Signals
from lab.events import EpochEnd, Outcome, RunEnd, RunResult, RunStart, StopCause, Stopped, request_stop
from lab.hpo import executor
from lab.hpo.executor import InProcessExecutor, Job, ProcessExecutor, Slot, WorkerDied, cpu_share, free_slot
from lab.hpo.process_watcher import ProcessWatcher
from lab.hpo.worker_main import (
    Answer,
    EpochReported,
    RunEnded,
    RunStarted,
    TrialFinished,
    TrialJob,
    WorkerReady,
)
from lab.store import file_io
from tests import study_tools as tools

VALUES = {"train_loss": 1.0, "val_loss": 0.5}


def run(run_config: RunConfig, **options: Any) -> RunResult:
    """As `util.run` calls its listeners, with no training in it; the config's name says what happens."""
    (relay,) = options["callbacks"]
    folder: Path = options["run_dir"]
    print("trained in", os.getpid())
    relay.on_run_start(RunStart("id", folder, "p", "n", 0, {}, 1, 3, "cpu", 25, 100, 8, 4))
    if run_config.name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop = relay.on_epoch_end(EpochEnd(1, 3, VALUES, False, 1, VALUES, 0.5, 0.1))
    if run_config.name == "exits":
        os._exit(7)
    if run_config.name == "meets":
        (folder / "here").touch()
        deadline = time.monotonic() + 20
        while len(list(folder.parent.glob("*/here"))) < 2:
            assert time.monotonic() < deadline, "the other one has not come"
            time.sleep(0.01)
    if run_config.name == "forks" and os.fork() == 0:
        (folder / "child").write_text(str(os.getpid()))
        time.sleep(600)
    if run_config.name == "wedged":  # unlike ctypes.CDLL, PyDLL keeps the interpreter's lock
        ctypes.PyDLL(None).sleep(600)
    if run_config.name == "crowded":
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (lowest_free, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
        file_io.atomic_write(folder / "state", "x")
    if run_config.name == "waits":
        while not (folder / "go").exists():
            time.sleep(0.01)
    if run_config.name in ("sleeps", "deaf", "forks"):
        time.sleep(600)
    outcome, reason = (Outcome.COMPLETED, "") if stop is None else (stop.outcome, stop.reason)
    end = RunEnd(outcome, reason, 1, 0.5, 1, VALUES, VALUES, 1.5, 10.0)
    relay.on_run_end(end)
    return RunResult(end, folder)


class Heard:
    """What the workers said of each subject, and the answer to its epochs."""

    def __init__(self, answer: Answer = None) -> None:
        self.messages: dict[Any, list[Any]] = {}
        self.running: list[int] = []
        self._answer = answer

    def __call__(self, job: Job, message: Any) -> Answer:
        self.messages.setdefault(job.subject, []).append(message)
        return self._answer if isinstance(message, EpochReported) else None

    def last(self, subject: Any) -> Any:
        return self.messages[subject][-1]

    def kinds(self, subject: Any) -> list[type]:
        return [type(message) for message in self.messages.get(subject, [])]


@pytest.fixture
def order(tmp_path: Path, config: Callable[..., RunConfig]) -> Callable[[str, str], TrialJob]:
    def make(name: str, folder: str = "trial") -> TrialJob:
        return TrialJob(config(name=name).as_data(), tmp_path / folder)

    return make


@pytest.fixture
def processes() -> Iterator[Callable[..., ProcessExecutor]]:
    made = []

    def make(heard: Heard, slots: int = 1) -> ProcessExecutor:
        made.append(ProcessExecutor([Slot(index) for index in range(slots)], run, heard))
        return made[-1]

    yield make
    for one in made:
        one.close()


def attend(pool: ProcessExecutor, until: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it has not happened"
        pool.poll(0.05)


def pid(pool: ProcessExecutor) -> int:
    (job,) = pool.jobs
    assert job.process is not None and job.process.pid is not None
    return job.process.pid


def is_gone(number: int) -> bool:
    """Gone and put away, no zombie."""
    return not Path(f"/proc/{number}").exists()


def test_two_slots_run_side_by_side(processes: Any, order: Any) -> None:
    heard = Heard()
    pool = processes(heard, slots=2)
    for name in ("a", "b"):
        slot = free_slot(pool)
        assert slot is not None
        pool.start(slot, order("meets", name), name)
    assert free_slot(pool) is None and [job.slot.index for job in pool.jobs] == [0, 1]
    pids = [job.process.pid for job in pool.jobs]
    attend(pool, lambda: not pool.jobs)
    for name in ("a", "b"):
        assert heard.kinds(name) == [WorkerReady, RunStarted, EpochReported, RunEnded, TrialFinished]
        assert (heard.last(name).outcome, heard.last(name).value) == ("completed", 0.5)
    assert free_slot(pool) == Slot(0) and all(map(is_gone, pids))


def test_the_answer_to_an_epoch_reaches_the_run(processes: Any, order: Any, tmp_path: Path) -> None:
    heard = Heard(request_stop("not promising", "pruned"))
    pool = processes(heard)
    pool.start(Slot(0), order("plain"), "a")
    number = pid(pool)
    attend(pool, lambda: not pool.jobs)
    assert (heard.last("a").outcome, heard.last("a").reason) == ("pruned", "not promising")
    assert (tmp_path / "trial" / "console.log").read_text() == f"trained in {number}\n"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "its process was ended by SIGKILL; the machine may be out of memory"),
        (signal.SIGSEGV, "its process was ended by SIGSEGV"),
    ],
)
def test_a_killed_process_has_died_of_a_signal(
    processes: Any, order: Any, number: signal.Signals, reason: str
) -> None:
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("sleeps"), "a")
    attend(pool, lambda: EpochReported in heard.kinds("a"))
    os.kill(pid(pool), number)
    attend(pool, lambda: not pool.jobs, 20)
    assert heard.kinds("a") == [WorkerReady, RunStarted, EpochReported, WorkerDied]
    assert heard.last("a") == WorkerDied(reason)
    assert free_slot(pool) == Slot(0)


def test_a_process_may_end_without_a_last_word(processes: Any, order: Any) -> None:
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("exits"), "a")
    attend(pool, lambda: not pool.jobs)
    assert heard.last("a") == WorkerDied("its process ended with exit code 7")


def until_gone(*numbers: int) -> None:
    deadline = time.monotonic() + 20
    while not all(map(is_gone, numbers)):
        assert time.monotonic() < deadline, "it is still there"
        time.sleep(0.01)


def child_in(folder: Path) -> int:
    while not (folder / "child").exists() or not (folder / "child").read_text():
        time.sleep(0.01)
    return int((folder / "child").read_text())


def test_a_killed_process_whose_child_survives_is_noticed(processes: Any, order: Any, tmp_path: Path) -> None:
    """The child holds the trial's end of the pipe, which therefore does not close."""
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("forks"), "a")
    attend(pool, lambda: EpochReported in heard.kinds("a"))
    child = child_in(tmp_path / "trial")
    os.kill(pid(pool), signal.SIGKILL)
    attend(pool, lambda: not pool.jobs, 5)
    assert isinstance(heard.last("a"), WorkerDied)
    until_gone(child)


def test_runs_survive_the_server_that_they_were_forked_from(
    processes: Any, order: Any, tmp_path: Path
) -> None:
    heard = Heard()
    pool = processes(heard, slots=3)
    for index, name in enumerate(("waits", "sleeps")):
        pool.start(Slot(index), order(name, name), name)
    attend(pool, lambda: all(EpochReported in heard.kinds(name) for name in ("waits", "sleeps")))
    killed = pool.jobs[1].pid
    server: Any = servers._forkserver  # type: ignore[attr-defined]
    os.kill(server._forkserver_pid, signal.SIGKILL)
    pool.start(Slot(2), order("plain"), "plain")
    attend(pool, lambda: len(pool.jobs) == 2)
    os.kill(killed, signal.SIGKILL)
    (tmp_path / "waits" / "go").touch()
    attend(pool, lambda: not pool.jobs, 10)
    assert [heard.last(name).outcome for name in ("waits", "plain")] == ["completed", "completed"]
    assert isinstance(heard.last("sleeps"), WorkerDied)


def test_a_run_that_was_stopped_for_a_while_continues(processes: Any, order: Any, tmp_path: Path) -> None:
    heard = Heard()
    pool = processes(heard)
    pool._watcher = ProcessWatcher(0.1)
    pool.start(Slot(0), order("waits"), "a")
    attend(pool, lambda: EpochReported in heard.kinds("a"))
    os.kill(pid(pool), signal.SIGSTOP)
    (tmp_path / "trial" / "go").touch()
    until = time.monotonic() + 0.8
    attend(pool, lambda: time.monotonic() > until)
    os.kill(pid(pool), signal.SIGCONT)
    attend(pool, lambda: not pool.jobs, 10)
    assert heard.last("a").outcome == "completed"


SUPERVISOR = """
import sys, time
from pathlib import Path
from lab.hpo.executor import ProcessExecutor, Slot
from lab.hpo.process_watcher import ProcessWatcher
from tests.lab.hpo.test_executor import EpochReported, Heard, TrialJob, attend, run

if __name__ == "__main__":
    names, heard = sys.argv[1:], Heard()
    pool = ProcessExecutor([Slot(0), Slot(1)], run, heard)
    pool._watcher = ProcessWatcher(0.5)
    for slot, name in zip(pool.slots, names):
        pool.start(slot, TrialJob({{**{config}, 'name': name}}, Path(name)), name)
        pool._watcher._process.kill()  # the next one watches both
        pool._watcher._process.wait()
    pool._watch()
    attend(pool, lambda: all(EpochReported in heard.kinds(name) for name in names))
    print(*(job.pid for job in pool.jobs), flush=True)
    attend(pool, lambda: not pool.jobs, 600)
"""


def supervised(folder: Path, config: Callable[..., RunConfig], *names: str) -> tuple[Any, list[int]]:
    """A process with an executor, and the processes of its runs."""
    (folder / "supervisor.py").write_text(SUPERVISOR.format(config=config().as_data()))
    supervisor = subprocess.Popen(
        [sys.executable, "supervisor.py", *names], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(tools.ROOT)},
    )  # fmt: skip
    assert supervisor.stdout is not None
    return supervisor, [int(pid) for pid in supervisor.stdout.readline().split()]


def test_runs_are_suspended_and_continued_with_their_scheduler(
    tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    supervisor, (run,) = supervised(tmp_path, config, "waits")

    def until_state(stopped: bool) -> None:
        states = [Path(f"/proc/{pid}/stat") for pid in (supervisor.pid, run)]
        deadline = time.monotonic() + 10
        while {file.read_text().rpartition(")")[2].split()[0] == "T" for file in states} != {stopped}:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    supervisor.send_signal(signal.SIGTSTP)
    until_state(stopped=True)
    supervisor.send_signal(signal.SIGCONT)
    until_state(stopped=False)
    (tmp_path / "waits" / "go").touch()
    supervisor.communicate()
    assert supervisor.returncode == 0


def test_runs_whose_scheduler_was_killed_end_with_all_that_they_have_started(
    tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    supervisor, (forks, wedged) = supervised(tmp_path, config, "forks", "wedged")
    child = child_in(tmp_path / "forks")
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    until_gone(forks, wedged, child)


def test_a_run_that_is_stopped_ends_in_order(processes: Any, order: Any) -> None:
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("sleeps"), "a")
    attend(pool, lambda: EpochReported in heard.kinds("a"))
    pool.stop(pool.jobs[0], Stopped("it took longer than 3 s", "timed_out"))
    attend(pool, lambda: not pool.jobs, 10)
    assert (heard.last("a").outcome, heard.last("a").reason) == ("timed_out", "it took longer than 3 s")


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="Linux has a folder that nobody can write to")
def test_a_process_that_cannot_make_its_folder_says_why(processes: Any, config: Any) -> None:
    heard = Heard()
    pools = [processes(heard), InProcessExecutor([Slot(0)], run, heard, Signals())]
    for index, pool in enumerate(pools):
        pool.start(Slot(0), TrialJob(config().as_data(), Path("/sys/trial"), delay=0.1), index)
    attend(pools[0], lambda: not pools[0].jobs)
    for index in range(2):
        found = heard.last(index)
        assert (found.outcome, found.cause) == ("interrupted", StopCause.STORAGE_FAULT)
        assert found.reason.startswith("storage fails: /sys/trial: ")


def test_a_process_without_free_file_descriptors_is_interrupted(
    processes: Any, order: Any, tmp_path: Path
) -> None:
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("crowded"), "a")
    attend(pool, lambda: not pool.jobs)
    reason = f"storage fails: {tmp_path / 'trial' / 'state'}: Too many open files"
    assert (heard.last("a").cause, heard.last("a").reason) == (StopCause.STORAGE_FAULT, reason)


def test_a_run_that_waits_before_it_begins_stops_at_once(processes: Any, order: Any) -> None:
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), replace(order("plain"), delay=60.0), "a")
    time.sleep(0.2)
    pool.stop(pool.jobs[0], Stopped("SIGTERM"))
    attend(pool, lambda: not pool.jobs, 5)
    assert (heard.last("a").outcome, heard.last("a").reason) == ("interrupted", "SIGTERM")


def test_a_run_that_does_not_stop_is_killed(
    processes: Any, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_KILL_AFTER", 0.5)
    heard = Heard()
    pool = processes(heard)
    pool.start(Slot(0), order("deaf"), "a")
    attend(pool, lambda: EpochReported in heard.kinds("a"))
    number, stopped = pid(pool), time.monotonic()
    pool.stop(pool.jobs[0], Stopped("SIGTERM"))
    attend(pool, lambda: not pool.jobs, 10)
    assert 0.5 < time.monotonic() - stopped < 5.0
    assert heard.last("a") == WorkerDied("its process was ended by SIGKILL"), "nobody was out of memory"
    assert is_gone(number)


def test_close_ends_all(processes: Any, order: Any) -> None:
    heard = Heard()
    pool = processes(heard, slots=2)
    for index, name in enumerate(("sleeps", "deaf")):
        pool.start(Slot(index), order(name, name), name)
    attend(pool, lambda: all(EpochReported in heard.kinds(name) for name in ("sleeps", "deaf")))
    pids = [job.process.pid for job in pool.jobs]
    pool.close()
    assert pool.jobs == [] and all(map(is_gone, pids))
    assert {type(found[-1]) for found in heard.messages.values()} == {EpochReported}, "no end is reported"


def test_in_process_the_console_goes_to_the_trial(
    order: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    pool = InProcessExecutor([Slot(0)], run, heard, Signals())
    pool.start(Slot(0), order("plain"), "a")
    assert heard.kinds("a") == [WorkerReady, RunStarted, EpochReported, RunEnded, TrialFinished]
    assert (tmp_path / "trial" / "console.log").read_text() == f"trained in {os.getpid()}\n"
    print("after it")
    assert capsys.readouterr() == ("after it\n", "")
    assert pool.jobs == [] and free_slot(pool) == Slot(0)


def test_in_process_a_run_is_stopped_from_within(order: Any) -> None:
    class Impatient(Heard):
        def __call__(self, job: Job, message: Any) -> Answer:
            super().__call__(job, message)
            if isinstance(message, EpochReported):
                pool.stop(job, Stopped("too long", "timed_out"))
            return None

    heard = Impatient()
    pool = InProcessExecutor([Slot(0)], run, heard, Signals())
    pool.start(Slot(0), order("sleeps"), "a")
    assert (heard.last("a").outcome, heard.last("a").reason) == ("timed_out", "too long")


def test_the_cpu_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [cpu_share(slots) for slots in (1, 3, 8, 20)] == [8, 2, 1, 1]
