"""Checkpoints whose writer is killed (-9) in the middle, and checkpoints that are damaged where they lie."""

import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path

import torch

from lab.checkpoint import CheckpointError, load, load_latest
from lab.config.sections import CheckpointConfig
from lab.events import EpochEnd
from lab.store import run_folder
from lab.train.callbacks.checkpointing import Checkpointing
from selftest.bench import Bench, until
from selftest.killed_runs import RUN, differences, outcome
from selftest.verdict import Tally, Verdict
from selftest.watched_training import train, variant

FOLDER = "checkpoints"
WRITTEN = "written.txt"
_FLOATS = 6 * 2**20  # of 4 bytes each in a checkpoint
_IMPROVED = 3  # every third epoch is the best so far
_RESUMED = 10  # one damaged checkpoint in so many is resumed from
_START = 30.0  # seconds that a writer may take to begin


def killed_writes(bench: Bench, count: int) -> Verdict:
    """Kill a process that writes checkpoints of 24 MB all the time, so often in the middle of a write.

    Whether it was in the middle is seen by what it leaves: the file that has no name of its own yet.
    """
    folder, middle = bench.folder("writer"), "in the middle of a write"
    tally = Tally({"kills": 0, middle: 0, "unloadable": 0, "checkpoints behind": 0})
    figures = tally.figures
    while figures[middle] < count and figures["kills"] < 4 * count + 10:
        seed = int(figures["kills"])
        where, before = f"kill {seed} (seed {seed})", len(_lines(folder))
        # Wait until it has written once, so that the kill falls among writes and not into the start.
        process = bench.fork(folder, write_forever)
        until(lambda: len(_lines(folder)) > before or not process.alive, _START, 0.001)  # noqa: B023 - called here
        time.sleep(random.Random(seed).uniform(0.0, 0.15))
        process.send(signal.SIGKILL)
        done = process.done()
        if done.code != -signal.SIGKILL or len(_lines(folder)) == before:
            tally.take(where, [f"expected it to write until it is killed, found that it ended: {done.last}"])
            break
        tally.add("kills")
        tally.add(middle, any((folder / FOLDER).glob(".*.tmp")))
        # Whatever the kill interrupted, the newest loadable checkpoint may be one behind.
        late, faults = judge_writes(folder / FOLDER, int(_lines(folder)[-1]))
        tally.most("checkpoints behind", late)
        tally.take(where, faults)
        bench.report(
            f"{figures[middle]} of {count} killed {middle}, {len(tally.broken)} unloadable or behind"
        )
    figures["unloadable"] = len(tally.broken)
    tally.at_least(count, figures[middle], f"kills {middle}")
    return tally.verdict()


def write_forever() -> None:
    """Write checkpoints as a run does, each of its own number; say which are done. Begin after the newest."""
    folder, epoch = Path(FOLDER), 0
    keeper = Checkpointing(
        folder, CheckpointConfig(), lambda _: {"number": epoch, "model": torch.full((_FLOATS,), float(epoch))}
    )
    first = load_latest(folder)[0]["number"] + 1 if (folder / "last.pt").exists() else 1
    for epoch in numbers(first):
        keeper.on_epoch_end(EpochEnd(epoch, 10**9, {}, epoch % _IMPROVED == 0, 0, {}, 0.0, 0.0))
        with Path(WRITTEN).open("a", encoding="utf-8") as file:
            file.write(f"{epoch}\n")


def judge_writes(folder: Path, written: int) -> tuple[int, Sequence[str]]:
    """Count the lost among the checkpoints that were written to their end, and judge the others."""
    faults = []
    for path in sorted(folder.glob("*.pt")):
        try:
            content = load(path)
        except CheckpointError as error:
            faults.append(f"expected every checkpoint to load, found {error}")
            continue
        if not torch.equal(content["model"], torch.full_like(content["model"], float(content["number"]))):
            faults.append(f"expected {path.name} to be one write's, found a mixture")
    try:
        content, path, _ = load_latest(folder)
    except CheckpointError as error:
        return written, [*faults, f"expected one to continue with, found {error}"]
    behind = max(0, written - int(content["number"]))
    if behind > 1:
        faults.append(
            f"expected number {written} or the one before, found {content['number']} in {path.name}"
        )
    return behind, faults


def damaged(bench: Bench, count: int) -> Verdict:
    """Flip bits of `last.pt`, cut it off, zero a block; each is noticed, and `prev.pt` loaded instead.

    Some runs are resumed: they report it on the console, and end as one with a whole checkpoint does.
    """
    config, whole = variant(0, epochs=2), bench.folder("whole")
    bench.fork(whole, train, bench.run, config).done()
    expected = outcome(whole / RUN)
    tally = Tally({"damaged": count, "detected": 0, "continued": 0, "reported on the console": 0})
    content = (whole / RUN / run_folder.CHECKPOINTS / "last.pt").read_bytes()
    for index, (what, spoilt) in zip(range(count), damages(content), strict=False):
        folder = bench.folder(f"damaged-{index}")
        shutil.copytree(whole / RUN, folder / RUN)
        last = folder / RUN / run_folder.CHECKPOINTS / "last.pt"
        last.unlink()  # best.pt may be the same file
        last.write_bytes(spoilt)
        tally.add("detected", tally.take(what, judge_damage(last.parent)))
        if index % _RESUMED == 0:
            done = bench.fork(folder, train, bench.run, config).done()
            reported = "skipped a damaged checkpoint" in done.output
            tally.add("continued", done.code == 0)
            tally.add("reported on the console", reported)
            if done.code or not reported:
                ended = f"found exit code {done.code}: {done.output[-300:]}"
                tally.take(what, [f"expected the console to say so, {ended}"])
            else:
                tally.take(f"{what}: after a resume", differences(expected, outcome(folder / RUN)))
        shutil.rmtree(folder)
        bench.report(f"{index + 1} of {count} checkpoints damaged, {tally.figures['detected']} detected")
    return tally.verdict()


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The content damaged, each time at another place, and how: bits flipped mostly."""

    def changed(place: int, new: bytes) -> bytes:
        return content[:place] + new + content[place + len(new) :]

    for index in numbers():
        chance = random.Random(index)
        place = chance.randrange(len(content))
        if index % 4 == 1:
            yield f"cut off after {place} of {len(content)} bytes", content[:place]
        elif index % 8 == 3:
            zeroed = bytes(min(512, len(content) - place))
            # Nothing changes where the bytes are zero already.
            if (damaged := changed(place, zeroed)) != content:
                yield f"{len(zeroed)} bytes zeroed at {place}", damaged
        else:
            bit = chance.randrange(8)
            flipped = bytes([content[place] ^ (1 << bit)])
            yield f"bit {bit} of byte {place} flipped", changed(place, flipped)


def judge_damage(folder: Path) -> list[str]:
    """Judge how a damaged `last.pt` is taken."""
    with suppress(CheckpointError):
        load(folder / "last.pt")
        return ["expected the damage to be noticed, found it loaded"]
    try:
        _, path, faults = load_latest(folder)
    except CheckpointError as error:
        return [f"expected prev.pt to be loaded, found {error}"]
    if path.name != "prev.pt" or len(faults) != 1 or "last.pt" not in faults[0]:
        return [f"expected prev.pt and a word on last.pt, found {path.name} and {faults}"]
    return []


def _lines(folder: Path) -> list[str]:
    path = folder / WRITTEN
    return path.read_text().split("\n")[:-1] if path.exists() else []
