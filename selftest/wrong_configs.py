"""Wrong YAML files, each given to the real command: its message, and how soon it comes."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from selftest.bench import Bench, Done
from selftest.config_slips import WRONG, Wrong, wrong_files
from selftest.verdict import Tally, Verdict, judge_command

SECONDS = 1.5  # at most
_TRIES = 3


def mutated_files(bench: Bench, count: int) -> Verdict:
    """Copies of the project's configs with a slip each: it is reported with file, line and hint, and soon."""
    configs = bench.main.parent / "configs"
    tally = Tally({"files": 0, "wrong": 0, "s at most": 0.0, "timed again": 0})
    for number, original, wrong in wrong_files(configs, count):
        folder = bench.folder("config")
        shutil.copytree(configs, folder, dirs_exist_ok=True)
        (folder / WRONG).write_bytes(wrong.content)
        tries, done = _timed(bench, folder, wrong)
        what, seconds = f"{wrong.what}, in {original}, number {number}", min(tries)
        tally.add("files")
        tally.add("timed again", len(tries) - 1)
        tally.most("s at most", seconds)
        tally.take(what, judge(wrong, done))
        tally.expect(bench.in_time(seconds, SECONDS), f"{what}: {SECONDS} s expected, found {seconds:.2f}")
        shutil.rmtree(folder)
    tally.at_least(count, tally.figures["files"], "slips that a config has a place for")
    return tally.verdict()


def judge(wrong: Wrong, done: Done) -> Iterator[str]:
    """Judge what was printed of a wrong file."""
    yield from judge_command(done, (2,))
    line = r"\d+" if wrong.line < 0 else str(wrong.line)
    place = re.escape(wrong.name) + (rf":{line}: " if wrong.line else "")
    located = [line for line in done.err.splitlines() if re.search(place, line)]
    if not located:
        yield f"'{place}' expected, found {done.err.strip()[:300]}"
    elif not any(wrong.hint in line for line in located):
        yield f"'{wrong.hint}' expected, found {located[0].strip()[:300]}"


def _timed(bench: Bench, folder: Path, wrong: Wrong) -> tuple[list[float], Done]:
    """The command's answer, and its seconds each time: where it takes long the machine may be busy."""
    times = []
    for _ in range(_TRIES):
        began = time.monotonic()
        done = bench.start(folder, "--optimize" if wrong.study else "--run", wrong.name).done()
        times.append(time.monotonic() - began)
        if times[-1] <= SECONDS:
            break
    return times, done
