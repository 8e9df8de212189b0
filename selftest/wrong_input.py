"""Other people's input, given to the real command: right, refused or warned of, never wrong in silence."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from lab.report.study import LEADERBOARD
from lab.store import run_folder
from selftest.bench import CONSOLE, Bench, Process, in_order
from selftest.inputs import files, layouts, predictions, studies, targets
from selftest.inputs.base import GOOD, MODULE, OUTPUT, RUN, TRUTH, USERS, Ending, Seen, WrongInput, judge
from selftest.verdict import Tally, Verdict

_LONGEST = 120.0  # seconds of an input
KINDS = (
    files.images,
    files.masks,
    files.discovery,
    layouts.layouts,
    layouts.class_folders,
    layouts.tables,
    targets.targets,
    targets.means,
    targets.nested,
    targets.streams,
    targets.early,
    predictions.predictions,
    studies.studies,
)


def every_input() -> list[WrongInput]:
    """All inputs, the kinds by turns, so that the first few are of every kind."""
    turns = zip_longest(*(kind() for kind in KINDS))
    return [given for turn in turns for given in turn if given is not None]


def wrong_input(bench: Bench, count: int) -> Verdict:
    """Give inputs to `--run`, each in a folder and a process of its own."""
    chosen = every_input()[:count]
    tally = Tally({"inputs": 0, **dict.fromkeys((ending.value for ending in Ending), 0)})
    for (given, folder), done in in_order(_begun(bench, chosen), _LONGEST):
        code = done.code
        # Some inputs need a trained run first, and then the command in question.
        if given.then and code == 0:
            code = bench.warm(folder, *given.then).done(_LONGEST).code
        seen = look(folder, code)
        ending = judge(given, seen)
        tally.add("inputs")
        tally.add(ending.value)
        if ending not in GOOD:
            tally.take(f"{given.kind}, {given.what}", [describe(given, seen, ending)])
        bench.report(
            f"{tally.figures['inputs']} of {len(chosen)} inputs, {len(tally.broken)} not as promised"
        )
        shutil.rmtree(folder)
    tally.at_least(count, len(chosen), "inputs")
    return tally.verdict()


def _begun(bench: Bench, chosen: Sequence[WrongInput]) -> Iterator[tuple[tuple[WrongInput, Path], Process]]:
    """Start the commands."""
    for given in chosen:
        folder = bench.folder("input")
        sections = given.files(folder)
        shutil.copy(USERS, folder / f"{MODULE}.py")
        (folder / RUN).write_text(yaml.safe_dump(dict(sections), sort_keys=False))
        yield (given, folder), bench.warm(folder, *given.command)


def look(folder: Path, code: int | None) -> Seen:
    """Read what a command has left in its folder."""
    console = folder / CONSOLE
    summaries = sorted(folder.glob(f"runs/*/{run_folder.SUMMARY}"))
    values = json.loads(summaries[-1].read_text()).get("last") or {} if summaries else {}
    values |= _predicted(folder) | _searched(folder)
    return Seen(code, console.read_text(errors="replace") if console.exists() else "", values)


def _predicted(folder: Path) -> dict[str, float]:
    """The number of masks, and the least Dice among them."""
    masks = sorted((folder / OUTPUT / "masks").glob("*.png"))
    if not masks:
        return {}
    dice = []
    for path in masks:
        found, truth = (_mask(each) for each in (path, folder / TRUTH / path.name))
        whole = int(found.sum() + truth.sum())
        dice.append(2 * int((found & truth).sum()) / whole if found.shape == truth.shape else 0.0)
    return {"predicted_dice": min(dice), "predicted": float(len(masks))}


def _mask(path: Path) -> NDArray[np.bool_]:
    with Image.open(path) as image:
        return np.asarray(image) > 0


def _searched(folder: Path) -> dict[str, float]:
    """Trials of a study, points, failed and infeasible trials, and the learning rate of the first one."""
    found = sorted(folder.glob(f"studies/*/{LEADERBOARD}"))
    if not found:
        return {}
    with found[0].open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    space = yaml.safe_load((folder / studies.STUDY).read_text())["search_space"]
    points = {tuple(row[name] for name in space) for row in rows}
    outcomes = Counter(row["outcome"] for row in rows)
    counts = {kind: float(outcomes[kind]) for kind in ("failed", "infeasible")}
    counts |= {"trials": float(len(rows)), "points": float(len(points))}
    first = next((row.get("optimizer.lr") for row in rows if row["trial"] == "0"), None)
    return counts | ({"first": float(first)} if first else {})


def describe(given: WrongInput, seen: Seen, ending: Ending) -> str:
    """The expected and the actual outcome of an input."""
    found = {name: seen.values.get(name) for name in given.expected} or dict(seen.values)
    figures = f"expected {dict(given.expected) or 'a refusal'}, found {found}"
    last = next((line for line in reversed(seen.console.splitlines()) if not line.startswith("{")), "")
    return f"{ending.value}; exit code {seen.code}; {figures}; {last.strip()[:200]}"
