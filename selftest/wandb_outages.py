"""W&B away, W&B's process killed: the run neither waits for it nor loses a row, and W&B gets each once."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.store import run_folder
from lab.trackers.csv_file import read_metrics
from lab.trackers.jsonl_events import read_events
from lab.trackers.wandb_service import records
from selftest.bench import Bench, Process, end_group, until
from selftest.sockets import family
from selftest.studies import run_text
from selftest.verdict import Tally, Verdict
from selftest.wandb_server import Handler, WandbServer, serving

BOUND = 5.0  # seconds that W&B may cost a run
EPOCHS = 48
_STEP = 0.02  # seconds of a batch; an epoch has three
_PATIENCE = 120.0  # seconds for a run that takes three
_NET = {"target": "selftest.faulty_parts.Faulty", "seconds": _STEP}


@dataclass(frozen=True)
class Trained:
    """All that a run left.

    Args:
        seconds: from its start to the end of its process.
        rows: epochs of its record, in order.
        warned: whether the record has a word of W&B's trouble.
    """

    code: int | None
    seconds: float
    outcome: str
    rows: tuple[int, ...]
    warned: bool


def wandb_away(bench: Bench, count: int) -> Verdict:
    """Four ways to be away; then W&B's process is killed `count` times, and the run as often."""
    delay, steps = "s of delay at most", "steps synced once"
    kills = {"kills of W&B's process": count, "kills of the run": count}
    tally = Tally({"ways to be away": 0, delay: 0.0, **kills, steps: 0, "wrong": 0})
    # The first also waits for what all others find imported.
    _train(bench, "warm-up", None)
    without = _train(bench, "without", None)
    tally.take("without W&B", judge_run(without, trouble=False))
    with _nobody(accepts=True) as hole, _nobody(accepts=False) as closed:
        away = {
            "no key": {}, "refused": _server(closed), "black hole": _server(hole),
            "no DNS": _server("http://wandb.invalid"),
        }  # fmt: skip
        for name, environment in away.items():
            trained = _train(bench, name.replace(" ", "-"), environment)
            tally.take(name, judge_run(trained, trouble=name != "no key"))
            seconds = trained.seconds - without.seconds
            late = f"{name}: {BOUND:g} s at most expected, found {seconds:.1f} s"
            tally.expect(bench.in_time(seconds, BOUND), late)
            tally.add("ways to be away")
            tally.most(delay, seconds)
    for seed in range(count):
        tally.take(f"W&B's process killed, seed {seed}", _kill_service(bench, seed))
    for seed in range(count):
        found, wrong = _kill_run(bench, seed)
        tally.add(steps, found)
        tally.take(f"the run killed, seed {seed}", wrong)
    return tally.verdict()


def judge_run(trained: Trained, *, trouble: bool) -> Iterator[str]:
    """Judge a run that W&B was not to disturb.

    Args:
        trouble: whether there was some, of which the record is to have a word.
    """
    if trained.code != 0 or trained.outcome != "completed":
        yield f"completed, 0 expected, found {trained.outcome}, {trained.code}"
    if trained.rows != tuple(range(1, EPOCHS + 1)):
        yield f"rows 1 to {EPOCHS} expected, found {list(trained.rows)}"
    if trouble and not trained.warned:
        yield f"a word on W&B expected in {run_folder.EVENTS}, found none"


def judge_steps(steps: Mapping[int, int]) -> Iterator[str]:
    """Judge how often W&B holds each step."""
    yield from (f"step {step} once expected, found {n} times" for step, n in steps.items() if n != 1)
    if missing := sorted(set(range(1, EPOCHS + 1)) - steps.keys()):
        yield f"steps 1 to {EPOCHS} expected, found none of {missing}"


def _server(url: str) -> dict[str, str]:
    return {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0123456789" * 4}


def _begin(
    bench: Bench, name: str, mode: str | None, given: Mapping[str, str], timeout: float = BOUND
) -> tuple[Path, dict[str, str], Process]:
    """Begin a run in a new folder, with W&B in this mode, or without; and its environment."""
    folder = bench.folder(f"wandb-{name}")
    trackers = [] if mode is None else [{"type": "wandb", "mode": mode, "timeout": timeout}]
    (folder / "run.yaml").write_text(run_text(net=_NET, epochs=EPOCHS, trackers=trackers))
    # A home that knows no key, and no setting of the user's.
    (home := folder / "home").mkdir()
    unset = {name: "" for name in os.environ if name.startswith("WANDB_")}
    environment = {**unset, "WANDB_API_KEY": "", "HOME": str(home), **given}
    return folder, environment, bench.warm(folder, "--run", "run.yaml", "--quiet", environment=environment)


def _train(bench: Bench, name: str, environment: Mapping[str, str] | None) -> Trained:
    """A run to its end, with W&B where there is an environment for it."""
    started = time.monotonic()
    folder, _, process = _begin(bench, name, None if environment is None else "auto", environment or {})
    return _left(folder, process, started)


def _kill_service(bench: Bench, seed: int) -> Iterator[str]:
    """W&B's process killed at a random instant of a run."""
    started = time.monotonic()
    folder, _, process = _begin(bench, "service", "offline", {})
    until(lambda: bool(_services(process.pid)) or not process.alive, _PATIENCE, 0.01)
    services = _services(process.pid)
    time.sleep(random.Random(seed).uniform(0.0, 3 * _STEP * EPOCHS))
    for pid in services:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    yield from judge_run(_left(folder, process, started), trouble=False)
    if not services:
        yield "a process of W&B's expected, found none"


def _kill_run(bench: Bench, seed: int) -> tuple[int, list[str]]:
    """The run killed once W&B has begun, resumed, synced: how many steps a server has, and what is wrong."""
    # A long timeout: this test is about completeness, not about speed.
    folder, environment, process = _begin(bench, "run", "offline", {}, _PATIENCE)
    until(lambda: any(folder.glob("runs/*/wandb/*/*.wandb")) or not process.alive, _PATIENCE, 0.01)
    time.sleep(random.Random(seed).uniform(0.0, 1.5))  # it writes once a second
    # W&B's process as well: a machine that is taken away.
    end_group(process.pid)
    process.done()
    (run,) = (folder / "runs").glob("*_*")
    started = time.monotonic()
    # The resumed part writes files of its own; together each step must be there once.
    resumed = bench.warm(folder, "--resume", str(run), "--quiet", environment=environment)
    wrong = list(judge_run(_left(folder, resumed, started), trouble=False))
    written = Counter(
        record.history.step.num
        for file in _offline(run)
        for record in records(file.read_bytes())
        if record.WhichOneof("record_type") == "history"
    )
    wrong += [f"offline files: {line}" for line in judge_steps(written)]
    synced, output = _synced(run, environment)
    wrong += [f"wandb sync: {line}; it says {output!r}" for line in judge_steps(synced)]
    return len(synced), wrong


def _synced(run: Path, environment: Mapping[str, str]) -> tuple[Counter[int], str]:
    """The steps that a server gets by `wandb sync`, and its output."""
    server = WandbServer(Handler)
    with serving(server):
        command = [sys.executable, "-m", "wandb", "sync", *(str(file.parent) for file in _offline(run))]
        done = subprocess.run(
            command,
            env={**os.environ, **environment, **_server(server.url)},
            cwd=run,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
        rows = server.streamed.get("wandb-history.jsonl", [])
        return Counter(int(row["_step"]) for row in rows), (done.stdout + done.stderr)[-300:]


def _offline(run: Path) -> list[Path]:
    """W&B's files; one that was killed before its first write has none."""
    return sorted((run / "wandb").glob("offline-run-*/*.wandb"))


def _left(folder: Path, process: Process, started: float) -> Trained:
    """Wait for a run, and read the one run folder that it left below."""
    code, seconds = process.done(_PATIENCE).code, time.monotonic() - started
    (run,) = (folder / "runs").glob("*_*")
    summary = run_folder.read_summary(run) or {}
    notes = [event["message"] for event in read_events(run) if event["event"] == "note"]
    warned = any("W&B" in note for note in notes)
    rows = tuple(int(row["epoch"]) for row in read_metrics(run))
    return Trained(code, seconds, str(summary.get("outcome")), rows, warned)


def _services(pid: int) -> list[int]:
    """W&B's processes below this one."""
    found = []
    for each in family(pid):
        with suppress(OSError):
            if b"wandb-core" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(each)
    return found


@contextmanager
def _nobody(*, accepts: bool) -> Iterator[str]:
    """The URL of a server that never answers: it accepts, or refuses all connections."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if accepts:
            server.listen(64)  # the kernel accepts; nobody reads
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
