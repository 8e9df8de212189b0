"""Names and paths that lead elsewhere: nothing is written outside of the folder that one works in."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from selftest.bench import Bench, Done, Process, in_order
from selftest.malicious_files import true_runs
from selftest.studies import described, run_text, small_run
from selftest.verdict import Tally, Verdict, judge_command

_PATIENCE = 120.0  # seconds for a command
_GIVEN = described(__file__)
NAMES: Sequence[str] = [*_GIVEN["names"][:7], "x" * 300, *_GIVEN["names"][7:]]
_RUN = run_text(name="NAME", project="NAME", trackers=["tensorboard"])
_SEARCH = yaml.safe_dump({**_GIVEN["study"], "run": small_run()}, sort_keys=False)
# What a name is written as in a file.
_QUOTED: Mapping[str, Callable[[str], str]] = {
    ".yaml": json.dumps,
    ".csv": lambda name: '"' + name.replace('"', '""') + '"',
}


@dataclass(frozen=True)
class Case:
    """A command that is given a hostile name.

    Args:
        arguments: of the command; NAME stands for the name there, too.
        files: texts that it needs, by their paths in the folder that is worked in.
        codes: the exit codes that are right.
        words: what it prints.
        link: a path that leads to a file or folder of a stranger.
    """

    what: str
    arguments: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (2,)
    words: str = ""
    name: str = ""
    link: tuple[str, str] | None = None

    def prepare(self, work: Path) -> list[str]:
        """Write what it needs into the folder that is worked in; returns its arguments."""
        outside = work.parents[1] / "outside"
        name = self.name.replace("OUTSIDE", str(outside))
        for place, text in self.files.items():
            path = work / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("NAME", _QUOTED[path.suffix](name)))
        if self.link is not None:
            path = work / self.link[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.symlink_to(outside / self.link[1])
        return [argument.replace("NAME", name) for argument in self.arguments]


def hostile_names(bench: Bench, count: int) -> Verdict:
    """Commands with hostile names of runs, studies, images, files, and links that lead out."""
    cases = CASES[:count]
    tally = Tally({"written outside": 0, "names": len(cases), "wrong": 0})
    for case, done, changed in _tried(bench, true_runs(bench), cases):
        tally.add("written outside", len(changed))
        tally.take(case.what, judge(case, done, changed))
    return tally.verdict()


def judge(case: Case, done: Done, changed: Sequence[str]) -> Iterator[str]:
    """Judge the end of a case, and what has changed outside."""
    for change in changed:
        yield f"nothing outside expected, found {change}"
    yield from judge_command(done, case.codes, case.words)


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
        if path.is_symlink():
            content = str(path.readlink()).encode()
        else:
            content = b"/" if path.is_dir() else path.read_bytes()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def _tried(bench: Bench, runs: Path, cases: tuple[Case, ...]) -> Iterator[tuple[Case, Done, list[str]]]:
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

    for (case, place, work, before), done in in_order(begun(), _PATIENCE):
        yield case, done, changes(before, listing(place, work))


_RUN_FILE = ("--run", "run.yaml", "--quiet")
_OPTIMIZE = ("--optimize", "study.yaml", "--quiet")
_PREDICT = ("--predict", "true/run", "--input", "list.csv", "--output", "out", "--quiet")
_IMAGES = {"list.csv": "basename,image_path\nNAME,true/images/a.png\n"}
_MASKS = {
    "data/manifest.csv": "basename,image_path,mask_path\na,NAME,NAME\nb,NAME,\n",
    "run.yaml": run_text(**_GIVEN["table"]),
}
_SMALL = {"study.yaml": _SEARCH.replace("NAME", "small")}
_OF_STUDY = "study.yaml:1: study_name: "


def _cases() -> Iterator[Case]:
    for what, names, arguments, files, codes, words in (
        ("a run named", (*NAMES[:6], *NAMES[7:]), _RUN_FILE, {"run.yaml": _RUN}, (0,), ""),
        ("a run named", NAMES[6:7], _RUN_FILE, {"run.yaml": _RUN}, (0, 2), ""),
        ("a study named", (*NAMES[:7], ""), _OPTIMIZE, {"study.yaml": _SEARCH}, (2,), _OF_STUDY),
        ("a fork named", NAMES[:2], (*_OPTIMIZE, "--fork", "NAME"), _SMALL, (2,), ""),
        ("an image named", (*NAMES[:4], *NAMES[6:12]), _PREDICT, _IMAGES, (0, 2), ""),
        ("a row with the file", (*NAMES[:2], *NAMES[6:9]), _RUN_FILE, _MASKS, (2,), "image_path"),
    ):
        for name in names:
            yield Case(f"{what} {name[:30]!r}", arguments, files, codes, words, name)
    for links in _GIVEN["links"]:
        for what, place, target in links["leading"]:
            words, command = "is a link that leads out", tuple(links["command"])
            yield Case(f"a link for {what}", command, _SMALL, words=words, link=(place, target))


CASES = tuple(_cases())
