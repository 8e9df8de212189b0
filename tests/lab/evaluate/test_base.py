"""The course of an evaluation, seen by an evaluator that writes down when it is asked for what."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.evaluate.base import Evaluation, Evaluator, HeldOut, Progress
from lab.predict.loaded_run import LoadedRun, load
from lab.tasks import Classification
from tests.lab.evaluate.test_generic import train


@dataclass(frozen=True)
class Seen:
    part: str
    split: str
    count: int


@dataclass
class Record(Evaluation):
    seen: list[Seen] = field(default_factory=list)
    finished_after: int = 0

    @property
    def items(self) -> list[Seen]:
        return self.seen


class Recorder(Evaluator[LoadedRun, Record]):
    load = staticmethod(load)

    def begin(self, folder: Path, held_out: HeldOut[LoadedRun]) -> Record:
        return Record(folder, held_out.split, about={"first": held_out.part})

    def evaluate_part(self, result: Record, held_out: HeldOut[LoadedRun], on_progress: Progress) -> None:
        result.note(["the same of every part", f"{held_out.where}own"])
        result.seen.append(Seen(held_out.part, held_out.split, len(held_out.dataset)))
        on_progress(1, 1, held_out.label("sets"))

    def finish(self, result: Record) -> None:
        result.finished_after = len(result.seen)
        result.notes.append("finished")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of three seeds."""
    data = {"target": "lab.data.function", "test_count": 50}
    folder = train(tmp_path_factory.mktemp("base") / "run", epochs=1, seeds=[0, 1, 2], data=data)
    shutil.rmtree(folder / "seed_2")
    return folder


def test_each_part_is_judged_by_its_own_network(seeds: Path) -> None:
    told: list[Any] = []
    found = Recorder().evaluate(seeds, on_progress=lambda *each: told.append(each))
    assert found.seen == [Seen("seed_0", "test", 50), Seen("seed_1", "test", 50)]
    assert found.parts == ["seed_0", "seed_1"] and found.split == "test" and found.folder == seeds
    assert found.notes == [
        "the same of every part",
        "seed_0: own",
        "seed_1: own",
        "1 of 3 are not trained yet: seed_2",
        "finished",
    ]
    assert found.finished_after == 2 and found.seconds > 0
    assert list(found.about) == ["weights", "network", "data", "device", "first"]
    assert found.about["weights"] == "best.pt, epoch 1; seed_1: best.pt, epoch 1"
    assert told == [(1, 1, "seed_0 sets"), (1, 1, "seed_1 sets")]


def test_a_single_run_has_no_parts(seeds: Path) -> None:
    found = Recorder().evaluate(seeds / "seed_0", "val")
    assert found.parts == [] and found.notes == ["the same of every part", "own", "finished"]
    assert found.seen[0].split == "val" and found.about["first"] == ""


def test_where_the_data_lies_and_the_device_reach_the_network(seeds: Path) -> None:
    found = Recorder().evaluate(seeds / "seed_0", device="cpu", data={"data.test_count": 7})
    assert found.seen[0].count == 7 and found.about["device"] == "cpu, fp32"


def test_a_run_of_another_task_is_refused(seeds: Path) -> None:
    class Classes(Recorder):
        task = Classification

    with pytest.raises(
        ValueError, match=r"expected a run with the task lab.tasks.Classification, found lab.tasks.Regression"
    ):
        Classes().evaluate(seeds)


def test_parts_have_to_be_named_where_they_are_not_judged_as_one(seeds: Path) -> None:
    class Single(Recorder):
        whole = False

    with pytest.raises(ValueError, match="consists of 2 runs; name one of them"):
        Single().evaluate(seeds)
