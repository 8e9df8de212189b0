"""The table of faults, and the way through it."""

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lab.console.formatting import format_duration
from lab.console.streams import status_line
from lab.hpo.worker_main import Run
from lab.store import file_io
from selftest import (
    bad_trials,
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

Attempt: TypeAlias = Callable[[Bench, int], Verdict]


@dataclass(frozen=True)
class Fault:
    """One line of the table of promises.

    Args:
        number: of the line.
        quick: how often it is tried within the five minutes of all.
        full: how often for the figures that are published.
        attempt: tries it so often.
        title: what happens.
        promise: what comes of it.
    """

    number: int
    quick: int
    full: int
    attempt: Attempt
    title: str
    promise: str


FAULTS = (
    Fault(1, 12, 200, killed_workers.kill_workers,
          "workers killed (-9) at random instants, 4 at a time, on SQLite and PostgreSQL",
          "every configuration ends exactly once"),
    Fault(2, 2, 25, killed_runs.kill_runs,
          "runs killed (-9) again and again, loader workers 0 and 2; stateful losses and streams, two-mode "
          "optimizers, frozen layers",
          "resumed equals uninterrupted, to the bit"),
    Fault(3, 3, 50, killed_runs.kill_within_epochs,
          "kills (-9) at random steps within an epoch of the same runs, checkpoint.every_n_steps",
          "this epoch and the next equal uninterrupted ones; at most one interval is lost"),
    Fault(4, 2, 20, concurrent_workers.start_at_once,
          "8 workers start at once on a database that isn't there, SQLite and PostgreSQL",
          "all of them join one study"),
    Fault(5, 2, 20, concurrent_workers.queue_in_lockstep,
          "48 queued trials, 8 workers in lock-step",
          "each runs once"),
    Fault(6, 4, 20, killed_workers.exactly_n_trials,
          "4 workers, kills and restarts of the whole command",
          "exactly n_trials are finished"),
    Fault(7, 5, 60, database_outages.database_away,
          "the database locked for long, read meanwhile; PostgreSQL gone",
          "no crash, each report once"),
    Fault(8, 2, 20, suspended_workers.stopped_workers,
          "a worker stopped (SIGSTOP) past its lease, then continued",
          "it stops by itself and writes nothing"),
    Fault(9, 1, 20, stop_signals.signals,
          "SIGINT, SIGTERM, SIGHUP, and a second one",
          "stops within 5 s or a step, resumable; the second: at once"),
    Fault(10, 12, 100, bad_trials.bad_trials,
          "exceptions, no memory, SystemExit, crashes in every second trial",
          "the others complete, each bad one has its cause, the memory comes back"),
    Fault(11, 1, 5, bad_trials.killing_configuration,
          "a configuration that always kills its worker",
          "given up after 2 tries and named; the others unaffected"),
    Fault(12, 10, 200, checkpoints.killed_writes,
          "kill -9 in the middle of writing a checkpoint",
          "none unloadable, at most one behind"),
    Fault(13, 4, 20, full_disk.full_disk,
          "the disk full at each point of writing",
          "nothing saved is lost, said clearly, goes on when there is space"),
    Fault(14, 20, 200, checkpoints.damaged,
          "bits flipped in checkpoints, checkpoints cut off",
          "all detected, the previous one is used, and said"),
    Fault(15, 9, 162, not_finite.not_finite,
          "NaN and infinities in loss, gradient, metric, under 9 pruners and 2 directions",
          "stops within a step or an epoch, is never best, the checkpoint before it stays"),
    Fault(16, 1, 20, wandb_outages.wandb_away,
          "W&B without key, refused, a black hole, without DNS; its process killed",
          "5 s at most, every run finishes, nothing missing locally, each step once after a sync"),
    Fault(17, 12, 12, edits.edited_studies,
          "edits of a study's file under one name",
          "refused with the difference and the way out, or harmless"),
    Fault(18, 10, 100, wrong_configs.mutated_files,
          "wrong YAML files",
          "file and line, 1.5 s at most, no traceback"),
    Fault(19, 5, 23, malicious_files.hostile_files,
          "hostile checkpoints, studies.db, dataset pickles",
          "nothing in them is executed"),
    Fault(20, len(PAYLOADS), len(PAYLOADS), malicious_files.import_payloads,
          "import paths that lead to other doors",
          "nothing is executed"),
    Fault(21, len(path_escapes.CASES), len(path_escapes.CASES), path_escapes.hostile_names,
          "hostile names of runs, studies, datasets, images",
          "nothing is written outside"),
    Fault(22, 30, 30, secrets.planted_secrets,
          "secrets in config, environment, command line, URL, traceback",
          "none is written down"),
    Fault(23, servers.COUNT, servers.COUNT, servers.loopback,
          "strangers who ask our servers",
          "loopback only; elsewhere only with a token"),
    Fault(24, 24, 327, wrong_input.wrong_input,
          "other people's files, layouts, tables, targets, losses and streams",
          "the right figure, or a refusal or a warning that names the cause; no silent error"),
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A fault, what it came to, and how long that took."""

    fault: Fault
    verdict: Verdict
    count: int
    seconds: float

    def as_text(self) -> str:
        """A few lines for a terminal: the fault, the figures, and what was broken."""
        word = "held" if self.verdict.held else "BROKEN"
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
    """A bench in a new folder below `place`, the storage in question; SIGTERM cleans up as Ctrl-C does.

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
    """The lines of `1,4`; none for all of them.

    Raises:
        ValueError: there is no such line.
    """
    only = {int(number) for number in (text or "").split(",") if number}
    if unknown := only - {fault.number for fault in FAULTS}:
        raise ValueError(f"there is no line {min(unknown)}; they go from 1 to {len(FAULTS)}")
    return only


def run_suite(bench: Bench, *, full: bool, only: Collection[int], as_json: bool) -> bool:
    """Print each fault as soon as it has been tried; whether all promises held."""
    tried = []
    for each in try_faults(bench, full=full, only=only):
        tried.append(each)
        bench.report("")
        print(file_io.printed_json(each.as_data()) if as_json else each.as_text(), flush=True)
    if not as_json:
        print(summary(tried))
    return all(each.verdict.held for each in tried)


def summary(tried: Sequence[Tried]) -> str:
    """The last line."""
    broken = [each.fault.number for each in tried if not each.verdict.held]
    seconds = sum(each.seconds for each in tried)
    held = f"{len(tried) - len(broken)} of {len(tried)} promises held"
    which = f"; broken: {', '.join(map(str, broken))}" if broken else ""
    return f"{held} in {format_duration(seconds)}{which}"


def try_faults(bench: Bench, *, full: bool = False, only: Collection[int] = ()) -> Iterator[Tried]:
    """Try the faults one after the other.

    Args:
        full: as often as the published figures ask, instead of what five minutes allow.
        only: the numbers of those to try; by default all.
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
    """A fault of the suite itself must not cost the figures of the other lines."""
    try:
        return fault.attempt(bench, count)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        place = traceback.extract_tb(error.__traceback__)[-1]
        ended = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return Verdict({"tried": 0}, [f"the attempt itself ended: {ended}"])
