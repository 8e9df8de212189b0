"""The table of faults, and the way through it."""

import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import rundir
from lab.hpo.trial_process import Run
from lab.outlet import status_line
from lab.wording import duration
from selftest import (
    bad_trials,
    checkpoints,
    database_outages,
    edits,
    full_disk,
    joining,
    kills,
    malicious_files,
    malicious_imports,
    not_finite,
    path_escapes,
    resuming,
    secrets,
    servers,
    stalled,
    stopping,
    wandb_outages,
    wrong_configs,
    wrong_input,
)
from selftest.base import Fault, Verdict
from selftest.bench import Bench

FAULTS = (
    Fault(
        1,
        "workers killed (-9) at random instants, 4 at a time, on SQLite and PostgreSQL",
        "every configuration ends exactly once",
        12,
        200,
        kills.kill_workers,
    ),
    Fault(
        2,
        "runs killed (-9) again and again, loader workers 0 and 2; stateful losses and streams, two-mode "
        "optimizers, frozen layers",
        "resumed equals uninterrupted, to the bit",
        2,
        25,
        resuming.kill_runs,
    ),
    Fault(
        3,
        "kills (-9) at random steps within an epoch of the same runs, checkpoint.every_n_steps",
        "this epoch and the next equal uninterrupted ones; at most one interval is lost",
        3,
        50,
        resuming.kill_within_epochs,
    ),
    Fault(
        4,
        "8 workers start at once on a database that isn't there, SQLite and PostgreSQL",
        "all of them join one study",
        2,
        20,
        joining.start_at_once,
    ),
    Fault(
        5,
        "48 queued trials, 8 workers in lock-step",
        "each runs once",
        2,
        20,
        joining.queue_in_lockstep,
    ),
    Fault(
        6,
        "4 workers, kills and restarts of the whole command",
        "exactly n_trials are finished",
        4,
        20,
        kills.exactly_n_trials,
    ),
    Fault(
        7,
        "the database locked for long, read meanwhile; PostgreSQL gone",
        "no crash, each report once",
        5,
        60,
        database_outages.database_away,
    ),
    Fault(
        8,
        "a worker stopped (SIGSTOP) past its lease, then continued",
        "it stops by itself and writes nothing",
        2,
        20,
        stalled.stopped_workers,
    ),
    Fault(
        9,
        "SIGINT, SIGTERM, SIGHUP, and a second one",
        "stops within 5 s or a step, resumable; the second: at once",
        1,
        20,
        stopping.signals,
    ),
    Fault(
        10,
        "exceptions, no memory, SystemExit, crashes in every second trial",
        "the others complete, each bad one has its cause, the memory comes back",
        12,
        100,
        bad_trials.bad_trials,
    ),
    Fault(
        11,
        "a configuration that always kills its worker",
        "given up after 2 tries and named; the others unaffected",
        1,
        5,
        bad_trials.killing_configuration,
    ),
    Fault(
        12,
        "kill -9 in the middle of writing a checkpoint",
        "none unloadable, at most one behind",
        10,
        200,
        checkpoints.killed_writes,
    ),
    Fault(
        13,
        "the disk full at each point of writing",
        "nothing saved is lost, said clearly, goes on when there is space",
        4,
        20,
        full_disk.full_disk,
    ),
    Fault(
        14,
        "bits flipped in checkpoints, checkpoints cut off",
        "all detected, the previous one is used, and said",
        20,
        200,
        checkpoints.damaged,
    ),
    Fault(
        15,
        "NaN and infinities in loss, gradient, metric, under 9 pruners and 2 directions",
        "stops within a step or an epoch, is never best, the checkpoint before it stays",
        9,
        162,
        not_finite.not_finite,
    ),
    Fault(
        16,
        "W&B without key, refused, a black hole, without DNS; its process killed",
        "5 s at most, every run finishes, nothing missing locally, each step once after a sync",
        1,
        20,
        wandb_outages.wandb_away,
    ),
    Fault(
        17,
        "edits of a study's file under one name",
        "refused with the difference and the way out, or harmless",
        12,
        12,
        edits.edited_studies,
    ),
    Fault(
        18,
        "wrong YAML files",
        "file and line, 1.5 s at most, no traceback",
        10,
        100,
        wrong_configs.mutated_files,
    ),
    Fault(
        19,
        "hostile checkpoints, studies.db, dataset pickles",
        "nothing in them is executed",
        5,
        23,
        malicious_files.hostile_files,
    ),
    Fault(
        20,
        "import paths that lead to other doors",
        "nothing is executed",
        len(malicious_imports.PAYLOADS),
        len(malicious_imports.PAYLOADS),
        malicious_files.import_payloads,
    ),
    Fault(
        21,
        "hostile names of runs, studies, datasets, images",
        "nothing is written outside",
        len(path_escapes.CASES),
        len(path_escapes.CASES),
        path_escapes.hostile_names,
    ),
    Fault(
        22,
        "secrets in config, environment, command line, URL, traceback",
        "none is written down",
        30,
        30,
        secrets.planted_secrets,
    ),
    Fault(
        23,
        "strangers who ask our servers",
        "loopback only; elsewhere only with a token",
        servers.COUNT,
        servers.COUNT,
        servers.loopback,
    ),
    Fault(
        24,
        "other people's files, layouts, tables, targets, losses and streams",
        "the right figure, or a refusal or a warning that names the cause; no silent error",
        24,
        327,
        wrong_input.wrong_input,
    ),
)


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

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
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
        with status_line() as told, Bench(folder, main, run, told) as made:
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


def tell(bench: Bench, *, full: bool, only: Collection[int], as_json: bool) -> bool:
    """Print each fault as soon as it has been tried; whether all promises held."""
    tried = []
    for each in try_faults(bench, full=full, only=only):
        tried.append(each)
        bench.told("")
        print(rundir.printed_json(each.as_data()) if as_json else each.as_text(), flush=True)
    if not as_json:
        print(summary(tried))
    return all(each.verdict.held for each in tried)


def summary(tried: Sequence[Tried]) -> str:
    """The last line."""
    broken = [each.fault.number for each in tried if not each.verdict.held]
    seconds = sum(each.seconds for each in tried)
    held = f"{len(tried) - len(broken)} of {len(tried)} promises held"
    which = f"; broken: {', '.join(map(str, broken))}" if broken else ""
    return f"{held} in {duration(seconds)}{which}"


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
        bench.told(f"{fault.number:2}  {fault.title} ...")
        verdict = _attempted(fault, bench, count)
        bench.end_processes()
        yield Tried(fault, verdict, count, time.monotonic() - started)


def _attempted(fault: Fault, bench: Bench, count: int) -> Verdict:
    """A fault of the suite itself must not cost the figures of the other lines."""
    try:
        return fault.attempt(bench, count)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return Verdict({"tried": 0}, [f"the attempt itself ended: {told}"])
