"""A study's file is edited when the study has trials: refused before any other, or known to be harmless."""

import copy
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from selftest.bench import Bench, Done
from selftest.studies import FILE, described, small_study, trials_in, write_file
from selftest.verdict import Tally, Verdict, judge_command

_TRIALS = 3
_LONGEST = 120.0  # seconds
_DOCUMENT = Path("docs") / "studies.md"
Data = dict[str, Any]


@dataclass(frozen=True)
class Edit:
    """One change of a study's file, as `edits.yaml` describes it."""

    name: str
    path: str
    at: Sequence[str]
    to: object
    harmless: bool = False

    def change(self, data: Data) -> None:
        """Change the file's data."""
        *parents, last = self.at
        reduce(getitem, parents, data)[last] = self.to


EDITS = tuple(Edit(**each) for each in described(__file__))


def edited_studies(bench: Bench, count: int) -> Verdict:
    """Each edit (at most `count` of them) on a copy of a study with finished trials."""
    origin = bench.folder("edited")
    data = _file(origin)
    done = _optimize(bench, origin, str(origin / FILE))
    assert done.code == 0, done.output
    edits, burned, way_out = EDITS[:count], "trials burned", "ways out that lead on"
    tally = Tally({"edits": len(edits), "refused": 0, "documented as harmless": 0, way_out: 0, burned: 0})
    for edit in edits:
        folder = bench.folder("edited")
        shutil.copytree(origin, folder, dirs_exist_ok=True)
        changed = copy.deepcopy(data)
        edit.change(changed)
        # A harmless edit has to lead to one more trial; any other must be refused before one.
        changed["n_trials"] += 1 if edit.harmless else 0
        text = yaml.safe_dump(changed, sort_keys=False)
        (folder / FILE).write_text(text)
        done = _optimize(bench, folder, FILE)
        trials = _states(folder, "small")
        if edit.harmless:
            tally.take(edit.name, judge_harmless(edit, done, trials, document(bench.main.parent)))
            tally.add("documented as harmless")
            continue
        tally.take(edit.name, judge_refusal(edit, done, text))
        tally.add("refused", done.code == 2)
        tally.add(burned, len(trials) - _TRIALS)
        tally.add(way_out, tally.take(edit.name, _take_the_way_out(bench, folder, done.output)))
    tally.expect(tally.figures[burned] == 0, f"{tally.figures[burned]} trials were burned")
    return tally.verdict()


def judge_refusal(edit: Edit, done: Done, file: str) -> Iterator[str]:
    """Judge how an edit was refused: with its line, the difference, and a command that forks the study.

    Args:
        file: the study's file as it is.
    """
    yield from judge_command(done, (2,), "--fork")
    found = re.search(rf"{re.escape(FILE)}:(\d+): {re.escape(edit.path)}: (.*)", done.output)
    if found is None:
        yield f"no line of the file with {edit.path}: {done.output[:400]}"
        return
    line = file.splitlines()[int(found[1]) - 1]
    if edit.path.rpartition(".")[2] not in line and "target" not in line:
        yield f"line {found[1]} is {line!r}, expected that of {edit.path}"
    if not re.search(r"the study has .+, the file has .+|the file (adds|lacks) .+", found[2]):
        yield f"no difference in {found[2]!r}"


def judge_harmless(edit: Edit, done: Done, trials: list[str], document: Mapping[str, str]) -> Iterator[str]:
    """Judge how a harmless edit was taken: the study continues, and its page documents it.

    Args:
        trials: the states of all trials.
        document: the rows of the table of changes.
    """
    yield from judge_command(done, (0,))
    if trials != ["COMPLETE"] * (_TRIALS + 1):
        yield f"the trials are {trials}, expected one more that is complete"
    answers = [answer for change, answer in document.items() if f"`{edit.name}`" in change]
    if document and not any(answer.startswith("fine") for answer in answers):
        yield f"{_DOCUMENT} does not say that it is fine: {answers}"


def document(project: Path) -> dict[str, str]:
    """Read the entry of each kind of change in docs/studies.md; empty where there is no such file."""
    path = project / _DOCUMENT
    if not path.exists():
        return {}
    rows = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
    return {row[1].strip(): row[2].strip() for row in rows if len(row) == 4 and row[1].startswith(" ")}


def _file(folder: Path) -> Data:
    """Write the study's file; returns its data."""
    config = small_study(
        "sqlite:///studies.db", _TRIALS, run__epochs=1, run__net__seconds=0.0,
        run__monitor={"metric": "val_loss", "mode": "min"}, run__criterion="torch.nn.MSELoss",
        search_space__criterion={"choices": ["torch.nn.MSELoss", "torch.nn.HuberLoss"]},
    )  # fmt: skip
    data: Data = yaml.safe_load(write_file(folder, config).read_text())
    return data


def _take_the_way_out(bench: Bench, folder: Path, output: str) -> list[str]:
    """Run the command that the refusal suggests; return what is wrong with that."""
    found = re.search(r"^ +.*main\.py'? (--optimize .+ --fork (\S+))$", output, re.MULTILINE)
    if found is None:
        return [f"no command to fork the study: {output[-400:]}"]
    done = _optimize(bench, folder, *shlex.split(found[1])[1:])
    states = _states(folder, found[2])
    if done.code != 0 or states.count("COMPLETE") < _TRIALS:
        return [f"{found[1]} ended with {done.code}, its trials are {states}: {done.last}"]
    if _states(folder, "small") != ["COMPLETE"] * _TRIALS:
        return [f"{found[1]} has touched the study that it forks"]
    return []


def _optimize(bench: Bench, folder: Path, *arguments: str) -> Done:
    return bench.warm(folder, "--optimize", *arguments).done(_LONGEST)


def _states(folder: Path, name: str) -> list[str]:
    return [trial.state.name for trial in trials_in(folder, name)]
