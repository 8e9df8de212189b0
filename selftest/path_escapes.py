"""Names and paths that lead elsewhere: nothing is written outside of the folder that one works in."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from selftest.bench import Bench, Process, in_order
from selftest.malicious_files import true_runs
from selftest.verdict import Tally, Verdict

_AT_A_TIME = 2
_PATIENCE = 120.0  # seconds for a command
ESCAPE = "escape"  # what those who get out make
# OUTSIDE stands for a folder beside the one that is worked in.
NAMES = (
    "../../escape", "OUTSIDE/escape", "..", "a/../../../escape", "..\\..\\escape", "C:\\escape",
    "a\0/../escape", "x" * 300, "CON", "\u202egnp.epacse", "line\nbreak/../../escape", "~/escape",
    "．．／．．／escape", "-rf", ".escape", "%2e%2e/escape",
)  # fmt: skip
_RUN = """\
name: NAME
project: NAME
epochs: 1
device: cpu
threads: 1
data: {target: lab.data.function, train_count: 16, val_count: 8}
net: {target: model.MLP, width: 4, layers: 1}
pictures: {enabled: false}
trackers: [tensorboard]
"""
_TABLE = """\
epochs: 1
device: cpu
task: lab.tasks.Segmentation
data: {target: lab.data.manifest, path: data/manifest.csv}
net: {target: torch.nn.Conv2d, in_channels: 1, out_channels: 1, kernel_size: 1}
criterion: lab.losses.BCEDice
"""
_SEARCH = """\
study_name: NAME
n_trials: 1
isolation: none
run: {data: lab.data.function, net: model.MLP, epochs: 1, device: cpu, pictures: {enabled: false}}
search_space: {batch_size: {choices: [16, 32]}}
"""


@dataclass(frozen=True)
class Case:
    """A command that is given a hostile name.

    Args:
        prepare: writes what it needs into the folder that is worked in; returns its arguments.
        codes: the exit codes that are right.
        names: what its last words have in them.
    """

    what: str
    prepare: Callable[[Path], tuple[str, ...]]
    codes: tuple[int, ...]
    names: str = ""


@dataclass(frozen=True)
class Ended:
    """A case, how its command ended, and what was there outside before and after."""

    case: Case
    code: int | None
    output: str
    before: Mapping[str, str]
    after: Mapping[str, str]


def hostile_names(bench: Bench, count: int) -> Verdict:
    """Commands with hostile names of runs, studies, images, files, and links that lead out."""
    cases = CASES[:count]
    tally = Tally({"written outside": 0, "names": len(cases), "wrong": 0})
    for ended in _tried(bench, true_runs(bench), cases):
        tally.add("written outside", len(changes(ended.before, ended.after)))
        tally.broken += judge(ended)
    tally.figures["wrong"] = len(tally.broken)
    return tally.verdict()


def judge(ended: Ended) -> Iterator[str]:
    """Judge how a case ended."""
    what = ended.case.what
    for change in changes(ended.before, ended.after):
        yield f"{what}: nothing outside expected, found {change}"
    if ended.code not in ended.case.codes:
        wanted = " or ".join(map(str, ended.case.codes))
        yield f"{what}: exit code {wanted} expected, found {ended.code}: {ended.output.strip()[-200:]}"
    if ended.case.names not in ended.output:
        yield f"{what}: '{ended.case.names}' expected, found {ended.output.strip()[-200:]}"
    if "Traceback" in ended.output:
        yield f"{what}: no traceback expected, found {ended.output.strip()[-200:]}"


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Name what was made, changed or removed."""
    return [
        f"{path} {'made' if path not in before else 'removed' if path not in after else 'changed'}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]


def listing(folder: Path, without: Path) -> dict[str, str]:
    """All below a folder but not below another: path and digest of what it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path == without or without in path.parents:
            continue
        content = (
            str(path.readlink()).encode()
            if path.is_symlink()
            else b"/"
            if path.is_dir()
            else path.read_bytes()
        )
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def _tried(bench: Bench, runs: Path, cases: tuple[Case, ...]) -> Iterator[Ended]:
    """The cases side by side, each in `a/b/work` of a place of its own, with files beside it."""

    def begun() -> Iterator[tuple[tuple[Case, Path, Path, dict[str, str]], Process]]:
        for case in cases:
            place = bench.folder("names")
            work = place / "a" / "b" / "work"
            work.mkdir(parents=True)
            (place / "a" / "outside").mkdir()
            for name in ("mine.jsonl", "last.pt"):
                (place / "a" / "outside" / name).write_text("mine")
            # A true run for the commands that need one; it lies within, so changes of it are allowed.
            shutil.copytree(runs, work / "true")
            arguments = case.prepare(work)
            yield (case, place, work, listing(place, work)), bench.warm(work, *arguments)

    for (case, place, work, before), done in in_order(begun(), _AT_A_TIME, _PATIENCE):
        yield Ended(case, done.code, done.output, before, listing(place, work))


def _filled(name: str, work: Path) -> str:
    return name.replace("OUTSIDE", str(work.parents[1] / "outside"))


def _run(name: str) -> Case:
    def prepare(work: Path) -> tuple[str, ...]:
        (work / "run.yaml").write_text(_RUN.replace("NAME", json.dumps(_filled(name, work))))
        return "--run", "run.yaml", "--quiet"

    return Case(f"a run named {name[:30]!r}", prepare, (0,) if "\0" not in name else (0, 2))


def _study(name: str) -> Case:
    def prepare(work: Path) -> tuple[str, ...]:
        (work / "study.yaml").write_text(_SEARCH.replace("NAME", json.dumps(_filled(name, work))))
        return "--optimize", "study.yaml", "--quiet"

    return Case(f"a study named {name[:30]!r}", prepare, (2,), "study.yaml:1: study_name: ")


def _fork(name: str) -> Case:
    def prepare(work: Path) -> tuple[str, ...]:
        (work / "study.yaml").write_text(_SEARCH.replace("NAME", "small"))
        return "--optimize", "study.yaml", "--quiet", "--fork", _filled(name, work)

    return Case(f"a fork named {name[:30]!r}", prepare, (2,))


def _predicted(name: str) -> Case:
    """An image that a manifest names so; what is written for it bears that name."""

    def prepare(work: Path) -> tuple[str, ...]:
        cell = _filled(name, work).replace('"', '""')
        (work / "list.csv").write_text(f'basename,image_path\n"{cell}",true/images/a.png\n')
        return "--predict", "true/run", "--input", "list.csv", "--output", "out", "--quiet"

    return Case(f"an image named {name[:30]!r}", prepare, (0, 2))


def _listed(name: str) -> Case:
    """An image of a data set."""

    def prepare(work: Path) -> tuple[str, ...]:
        (work / "data").mkdir()
        cell = _filled(name, work).replace('"', '""')
        text = f'basename,image_path,mask_path\na,"{cell}","{cell}"\nb,"{cell}",\n'
        (work / "data" / "manifest.csv").write_text(text)
        (work / "run.yaml").write_text(_TABLE)
        return "--run", "run.yaml", "--quiet"

    return Case(f"a row with the file {name[:30]!r}", prepare, (2,), "image_path")


def _link(what: str, place: str, target: str, *arguments: str) -> Case:
    """A link of a stranger's folder in the place of a file or folder that is written."""

    def prepare(work: Path) -> tuple[str, ...]:
        path = work / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(work.parents[1] / "outside" / target)
        (work / "study.yaml").write_text(_SEARCH.replace("NAME", "small"))
        return arguments

    return Case(f"a link for {what}", prepare, (2,), "is a link that leads out")


_RESUME = ("--resume", "true/run", "--set", "epochs=2", "--quiet")
_EXPORT = ("--export", "safetensors", "true/run", "--input", "true/images")
_OPTIMIZE = ("--optimize", "study.yaml", "--quiet")
CASES = (
    *map(_run, NAMES),
    *map(_study, (*NAMES[:7], "")),
    *map(_fork, NAMES[:2]),
    *map(_predicted, (*NAMES[:4], *NAMES[6:12])),
    *map(_listed, (*NAMES[:2], *NAMES[6:9])),
    _link("a run's events", "true/run/events.jsonl", "mine.jsonl", *_RESUME),
    _link("a run's checkpoints", "true/run/checkpoints", "", *_RESUME),
    _link("a run's lock", "true/run/.lock", ESCAPE, *_RESUME),
    _link("a run's evaluation", "true/run/evaluation", "", "--evaluate", "true/run"),
    _link("a run's export", "true/run/export", "", *_EXPORT),
    _link("a study's first trial", "studies/small/trial_00000", "", *_OPTIMIZE),
    _link("a trial's lease", "studies/small/trial_00000/.lease", "mine.jsonl", *_OPTIMIZE),
    _link("a trial's console", "studies/small/trial_00000/console.log", "mine.jsonl", *_OPTIMIZE),
    _link("a study's best trial", "studies/small/best", "", *_OPTIMIZE),
)
