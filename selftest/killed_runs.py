"""Runs that are killed (-9) at random, between epochs and within them, and continue, to the bit."""

import itertools
import json
import random
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lab import checkpoint
from lab.store import run_folder
from lab.trackers.csv_file import read_metrics
from selftest.bench import Bench, Process, end_group, left_alive
from selftest.faulty_parts import SAMPLES
from selftest.verdict import Tally, Verdict
from selftest.watched_training import digest, footprints, stateful, train

RUN = "run"
_KILLS = 5  # of each run, at most
_LEAST = 3.6  # of each run, on average
_EPOCHS = 8
_EVERY = 7  # batches between two checkpoints within an epoch
_VARIANTS = 10
_PARTS = ("model", "optimizer", "scheduler", "ema", "early_stopping", "rng", "criterion", "components")
_PATIENCE = 120.0  # seconds for a run of one
_LINGER = 30.0  # seconds after which a loader's worker must have seen that its training is gone


def kill_runs(bench: Bench, count: int) -> Verdict:
    """Kill runs five times at random instants, the start included, and compare them with runs that weren't.

    Every second one has two loader workers; by turns these are killed with it, or have to notice. Of many
    runs one is the real command.
    """
    tally = Tally({"runs": count, "kills": 0, "starts from a checkpoint": 0, "identical": 0})
    groups: list[int] = []
    # Start the server now: otherwise the first run's time would include it.
    bench.fork(bench.folder("warm"), time.sleep, 0).done()
    for number in range(count):
        chance = random.Random(number)
        config = stateful(number, epochs=_EPOCHS)
        real = number == 0 and count >= 10
        whole, cut = bench.folder(f"whole-{number}"), bench.folder(f"cut-{number}")
        began = time.monotonic()
        groups.append(_expect_end(tally, _begin(bench, whole, config, real), f"run {number}, not killed"))
        lasts = time.monotonic() - began
        kills = 0
        # A run that completes before a kill ends the loop: the total is checked at the end.
        while kills < _KILLS:
            tally.add("starts from a checkpoint", has_checkpoint(cut))
            process = _begin(bench, cut, config, real)
            time.sleep(chance.uniform(0.0, lasts * (0.9 if real else 0.4)))
            if not _killed(process, alone=chance.random() < 0.5):
                break
            groups.append(process.pid)
            kills += 1
        tally.add("kills", kills)
        tally.add("starts from a checkpoint", has_checkpoint(cut))
        # The last start runs to its end; its result has to be that of the run without kills.
        last = _begin(bench, cut, config, real)
        groups.append(_expect_end(tally, last, f"run {number}, after {kills} kills"))
        found = differences(outcome(run_of(whole)), outcome(run_of(cut)))
        tally.add("identical", tally.take(f"run {number} ({kills} kills)", found))
        killed, identical = tally.figures["kills"], tally.figures["identical"]
        bench.report(f"{number + 1} of {count} runs, {killed} kills, {identical} identical")
    _expect_nobody(tally, groups)
    tally.at_least(int(_LEAST * count), tally.figures["kills"], "kills")
    return tally.verdict()


def kill_within_epochs(bench: Bench, count: int) -> Verdict:
    """Kill runs at random steps, or milliseconds after, and compare each epoch's end with one not killed."""
    most = "batches trained twice at most"
    tally = Tally({"kills": 0, "identical": 0, "batches between checkpoints": _EVERY, most: 0, "in all": 0})
    groups: list[int] = []
    wholes: dict[int, Path] = {}
    for index in range(count):
        chance, number = random.Random(index), index % _VARIANTS
        config = stateful(number, checkpoint={"every_n_steps": _EVERY, "every_epochs": 1})
        # One reference for all kills of a variant: it takes as long as the killed runs.
        if number not in wholes:
            wholes[number] = bench.folder(f"whole-{number}")
            whole = _begin(bench, wholes[number], config)
            groups.append(_expect_end(tally, whole, f"variant {number}, not killed"))
        cut = bench.folder(f"cut-{index}")
        batches = SAMPLES // config["batch_size"]
        epoch, step = chance.randint(1, 2), chance.randint(1, batches)
        fatal = (epoch, step, chance.choice([0.0, chance.uniform(0, 0.02)]))
        where = f"kill {index} (variant {number}, epoch {epoch}, step {step} + {fatal[2]:.4f} s)"
        first = _begin(bench, cut, config, fatal=fatal).done(_PATIENCE)
        if first.code != -signal.SIGKILL or first.late:
            tally.take(where, [f"expected it to be killed, found exit code {first.code}"])
            continue
        tally.add("kills")
        groups.append(_expect_end(tally, _begin(bench, cut, config), f"{where}, resumed"))
        found = differences(epochs(wholes[number] / RUN), epochs(cut / RUN))
        tally.add("identical", tally.take(where, found))
        steps = footprints(cut)
        tally.take(where, judge_steps(steps, config["epochs"], batches))
        # A batch that was trained twice was lost by the kill: at most one interval of checkpoints.
        lost = len(steps) - len(set(steps))
        group = config["accumulate_grad_batches"]
        interval = -(-_EVERY // group) * group
        twice = f"expected at most {interval} batches trained twice, found {lost}"
        tally.expect(lost <= interval, f"{where}: {twice}")
        tally.most(most, lost)
        tally.add("in all", lost)
        identical, longest = tally.figures["identical"], tally.figures[most]
        bench.report(f"{index + 1} of {count} kills, {identical} identical, {longest} batches lost at most")
    _expect_nobody(tally, groups)
    tally.at_least(count, tally.figures["kills"], "kills")
    return tally.verdict()


def run_of(folder: Path) -> Path:
    """The folder of the run within a working folder; the command names it itself."""
    return next((path.parent for path in folder.glob(f"runs/*/{run_folder.CONFIG}")), folder / RUN)


def has_checkpoint(folder: Path) -> bool:
    """Return whether the next start in a working folder continues from a checkpoint."""
    return (run_of(folder) / run_folder.CHECKPOINTS / "last.pt").exists()


def outcome(run: Path) -> dict[str, str]:
    """The result of a run, each part by its sha256: its states, its history, its record."""
    try:
        content = checkpoint.load(run / run_folder.CHECKPOINTS / "final.pt")
    except checkpoint.CheckpointError as error:
        return {"the end": str(error)}
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(run)]
    course = content["course"]
    states = {part: content.get(part) for part in _PARTS}
    states |= {"history": course["history"], "best": course["best"], "record": rows}
    return {name: digest(state) for name, state in states.items()}


def epochs(run: Path) -> dict[str, str]:
    """The sha256 of each part at the end of each epoch, and of the whole run."""
    found = {f"{name} at the end": value for name, value in outcome(run).items()}
    for path in sorted((run / run_folder.CHECKPOINTS).glob("epoch_*.pt")):
        content = checkpoint.load(path)
        found |= {f"{part} of {path.stem}": digest(content.get(part)) for part in _PARTS}
        found[f"history of {path.stem}"] = digest(content["course"]["history"])
    return found


def judge_steps(steps: Sequence[tuple[int, int]], epochs: int, batches: int) -> Iterable[str]:
    """Judge the batches that were trained: one that never was, or not in its order."""
    expected = {(epoch, step) for epoch in range(1, epochs + 1) for step in range(1, batches + 1)}
    if missing := sorted(expected - set(steps)):
        yield f"expected every batch to be trained, found none at (epoch, step) {missing[0]}"
    # One step back is the resume; a second one would be a batch out of order.
    back = [late for early, late in itertools.pairwise(steps) if late <= early]
    if len(back) > 1:
        yield f"expected to go back once, found it at {back}"


def differences(whole: Mapping[str, str], cut: Mapping[str, str]) -> Iterable[str]:
    """A line for each part that differs, or that only one of the two has."""
    for name in sorted({*whole, *cut}):
        one, other = whole.get(name, "nothing"), cut.get(name, "nothing")
        if one != other:
            yield f"{name}: expected {one}, found {other}"


def _begin(
    bench: Bench,
    folder: Path,
    config: Mapping[str, object],
    real: bool = False,
    fatal: tuple[int, int, float] | None = None,
) -> Process:
    """Go on with the run in a folder, or begin it: in a warm process, or by the real command."""
    if not real:
        return bench.fork(folder, train, bench.run, config, fatal)
    (folder / "config.yaml").write_text(json.dumps(config))
    begun = run_of(folder)
    what = ("--resume", str(begun)) if begun.exists() else ("--run", "config.yaml")
    return bench.start(folder, *what, environment={"WANDB_MODE": "disabled"})


def _killed(process: Process, alone: bool) -> bool:
    """Kill it, alone or with its loader's workers; True where it was still there."""
    if process.alive:
        process.send(signal.SIGKILL) if alone else end_group(process.pid)
    return process.done(_PATIENCE).code == -signal.SIGKILL


def _expect_end(tally: Tally, process: Process, where: str) -> int:
    """Wait for the end of a run that nobody kills; returns its process group."""
    done = process.done(_PATIENCE)
    tally.expect(done.code == 0, f"{where}: expected exit code 0, found {done.code}: {done.last}")
    return process.pid


def _expect_nobody(tally: Tally, groups: Iterable[int]) -> None:
    """No loader's worker may outlive its training for long."""
    for group in groups:
        if alive := left_alive(group, _LINGER):
            end_group(group)
            tally.broken.append(f"expected no process to be left {_LINGER:.0f} s later, found {alive}")
