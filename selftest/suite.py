"""The fault injection tests: the table of faults, and the loop that tries them."""

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.console.formatting import format_duration
from lab.console.streams import status_line
from lab.hpo.worker_main import Run
from lab.store import file_io
from selftest import (
    bad_trials,
    broken_connections,
    checkpoints,
    concurrent_workers,
    database_outages,
    edits,
    full_disk,
    killed_runs,
    killed_workers,
    malicious_files,
    not_finite,
    path_escapes,
    secrets,
    servers,
    stop_signals,
    suspended_workers,
    wandb_outages,
    wrong_configs,
    wrong_input,
)
from selftest.bench import Bench
from selftest.malicious_imports import PAYLOADS
from selftest.verdict import Verdict


@dataclass(frozen=True)
class Fault:
    """One line of the table of guarantees.

    Args:
        number: line of the table.
        quick: repetitions in the quick suite of five minutes.
        full: repetitions for the published results.
        attempt: causes the fault as often as asked, and returns a verdict.
        title: what happens.
        promise: the guaranteed outcome.
    """

    number: int
    quick: int
    full: int
    attempt: Callable[[Bench, int], Verdict]
    title: str
    promise: str


FAULTS = (
    Fault(1, 12, 200, killed_workers.kill_workers,
          "workers killed (SIGKILL) at random times, 4 at a time, on SQLite and PostgreSQL",
          "every configuration ends exactly once"),
    Fault(2, 2, 25, killed_runs.kill_runs,
          "runs killed (SIGKILL) repeatedly, loader workers 0 and 2; stateful losses and streams, two-mode "
          "optimizers, frozen layers",
          "a resumed run is bit-identical to an uninterrupted one"),
    Fault(3, 3, 50, killed_runs.kill_within_epochs,
          "the same runs killed (SIGKILL) at random steps within an epoch, checkpoint.every_n_steps",
          "this epoch and the next are identical to uninterrupted ones; at most one interval is lost"),
    Fault(4, 2, 20, concurrent_workers.start_at_once,
          "8 workers started at once on a database that does not exist yet, SQLite and PostgreSQL",
          "all of them join the same study"),
    Fault(5, 2, 20, concurrent_workers.queue_in_lockstep,
          "48 queued trials, 8 workers in lockstep",
          "each trial runs once"),
    Fault(6, 4, 20, killed_workers.exactly_n_trials,
          "4 workers, with the whole command killed and restarted",
          "exactly n_trials trials finish"),
    Fault(7, 5, 60, database_outages.database_away,
          "database locked for a long time while others read it; PostgreSQL server down",
          "no crash, each report is stored once"),
    Fault(8, 2, 20, suspended_workers.stopped_workers,
          "a worker suspended (SIGSTOP) until its lease expires, then continued",
          "it stops by itself and writes nothing"),
    Fault(9, 1, 20, stop_signals.signals,
          "SIGINT, SIGTERM, SIGHUP, and a second signal",
          "stops within 5 s or one step and can be resumed; the second signal aborts immediately"),
    Fault(10, 12, 100, bad_trials.bad_trials,
          "exceptions, out of memory, SystemExit or crashes in every second trial",
          "the others complete, each failure is recorded with its cause, memory is released"),
    Fault(11, 1, 5, bad_trials.killing_configuration,
          "a configuration that always crashes its worker",
          "quarantined after 2 attempts and reported; other trials are unaffected"),
    Fault(12, 10, 200, checkpoints.killed_writes,
          "SIGKILL while a checkpoint is being written",
          "every checkpoint loads, at most one is lost"),
    Fault(13, 4, 20, full_disk.full_disk,
          "disk full at each point of writing",
          "no saved data is lost, a clear message, continues when there is space"),
    Fault(14, 20, 200, checkpoints.damaged,
          "flipped bits in checkpoints, truncated checkpoints",
          "all are detected and reported, the previous checkpoint is used"),
    Fault(15, 9, 162, not_finite.not_finite,
          "NaN and infinity in loss, gradient or metric, with 9 pruners and 2 directions",
          "stops within a step or an epoch, is never the best, keeps the checkpoint before it"),
    Fault(16, 1, 20, wandb_outages.wandb_away,
          "W&B without a key, refusing, unresponsive or without DNS; its process killed",
          "at most 5 s of delay, every run finishes, local records complete, each step once after a sync"),
    Fault(17, 12, 12, edits.edited_studies,
          "edits of a study file under the same study name",
          "refused with the difference and a solution, or harmless"),
    Fault(18, 10, 100, wrong_configs.mutated_files,
          "invalid YAML files",
          "reported with file and line within 1.5 s, no traceback"),
    Fault(19, 5, 23, malicious_files.hostile_files,
          "malicious checkpoints, studies.db, dataset pickles",
          "nothing in them is executed"),
    Fault(20, len(PAYLOADS), len(PAYLOADS), malicious_files.import_payloads,
          "malicious import paths",
          "nothing is executed"),
    Fault(21, len(path_escapes.CASES), len(path_escapes.CASES), path_escapes.hostile_names,
          "malicious names of runs, studies, datasets, images",
          "nothing is written outside the project folders"),
    Fault(22, 30, 30, secrets.planted_secrets,
          "secrets in config, environment, command line, URL and traceback",
          "none is written to any file"),
    Fault(23, servers.COUNT, servers.COUNT, servers.loopback,
          "unauthorized requests to our servers",
          "loopback only, unless a token is set"),
    Fault(24, 24, 327, wrong_input.wrong_input,
          "unusual files, layouts, tables, targets, losses and streams",
          "the correct value, or an error or warning that states the cause; no silent error"),
    Fault(25, 12, 120, broken_connections.broken_commits,
          "connections to PostgreSQL that break before a COMMIT, or before its answer",
          "exactly n_trials trials, each stored and recorded once"),
    Fault(26, 1, 4, suspended_workers.stopped_jobs,
          "a whole job stopped (SIGSTOP) for longer than trial_timeout and time_budget, then continued",
          "no time is used up, all trials complete"),
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A fault, its verdict and its duration."""

    fault: Fault
    verdict: Verdict
    count: int
    seconds: float

    def as_text(self) -> str:
        """Format for a terminal: the fault, the counts, and what failed."""
        word = "passed" if self.verdict.held else "FAILED"
        lines = [
            f"{self.fault.number:2}  {word:6}  {self.fault.title}  ({self.seconds:.0f} s)",
            f"            {self.verdict.as_text()}",
        ]
        lines += [f"            ! {line}" for line in self.verdict.broken]
        lines += [f"            not tried: {line}" for line in self.verdict.untried]
        return "\n".join(lines)

    def as_data(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "number": self.fault.number, "fault": self.fault.title, "promise": self.fault.promise,
            "count": self.count, "held": self.verdict.held, "figures": dict(self.verdict.figures),
            "broken": list(self.verdict.broken), "untried": list(self.verdict.untried),
            "seconds": round(self.seconds, 1),
        }  # fmt: skip


@contextmanager
def bench(place: Path, main: Path, run: Run) -> Iterator[Bench]:
    """A bench in a new folder below `place`, on the storage to be tested; SIGTERM cleans up as Ctrl-C does.

    Args:
        main: the path of `main.py`.
        run: `util.run`.

    Raises:
        OSError: nothing can be written there.
    """
    place.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        folder = Path(tempfile.mkdtemp(prefix="selftest-", dir=place))
        with status_line() as report, Bench(folder, main, run, report) as made:
            yield made
    finally:
        signal.signal(signal.SIGTERM, before)


def chosen(text: str | None) -> set[int]:
    """Parse `1,4`; an empty set stands for all lines.

    Raises:
        ValueError: a line does not exist.
    """
    only = {int(number) for number in (text or "").split(",") if number}
    if unknown := only - {fault.number for fault in FAULTS}:
        raise ValueError(f"there is no line {min(unknown)}; expected 1 to {len(FAULTS)}")
    return only


def run_suite(bench: Bench, *, full: bool, only: Collection[int], as_json: bool) -> bool:
    """Try the faults, print each result at once, and return whether all passed."""
    tried = []
    for each in try_faults(bench, full=full, only=only):
        tried.append(each)
        bench.report("")
        print(file_io.printed_json(each.as_data()) if as_json else each.as_text(), flush=True)
    if not as_json:
        print(summary(tried))
    return all(each.verdict.held for each in tried)


def summary(tried: Sequence[Tried]) -> str:
    """Return the last line of the output."""
    broken = [each.fault.number for each in tried if not each.verdict.held]
    seconds = sum(each.seconds for each in tried)
    passed = f"{len(tried) - len(broken)} of {len(tried)} faults passed"
    which = f"; failed: {', '.join(map(str, broken))}" if broken else ""
    return f"{passed} in {format_duration(seconds)}{which}"


def try_faults(bench: Bench, *, full: bool = False, only: Collection[int] = ()) -> Iterator[Tried]:
    """Try the faults one after the other and yield each result.

    Args:
        full: as many repetitions as published, instead of the quick suite.
        only: numbers of the faults to try; by default all.
    """
    for fault in FAULTS:
        if only and fault.number not in only:
            continue
        started = time.monotonic()
        count = fault.full if full else fault.quick
        bench.report(f"{fault.number:2}  {fault.title} ...")
        verdict = _attempted(fault, bench, count)
        bench.end_processes()
        yield Tried(fault, verdict, count, time.monotonic() - started)


def _attempted(fault: Fault, bench: Bench, count: int) -> Verdict:
    """Attempt a fault; an error of the suite itself must not cost the results of other lines."""
    try:
        return fault.attempt(bench, count)
    except Exception as error:  # noqa: BLE001 - any error is reported with the line
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return Verdict({"tried": 0}, [f"the test itself failed: {type(error).__name__}: {error} ({where})"])
