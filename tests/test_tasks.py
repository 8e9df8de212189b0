"""What every task keeps, one contract for all; the example of docs/tasks.md is put through it too."""

import copy
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lab.checkpoint import collect, load, restore, save
from lab.config import RunConfig
from lab.config.mask_values import IGNORE_INDEX
from lab.config.validation import validate
from lab.data.loaders import Loaders, create_loader, create_loaders
from lab.state.nested_tensors import tensors_in
from main import main
from tests.conftest import ROOT
from util import Trainer

TEXT = (ROOT / "docs" / "tasks.md").read_text()
FILES = {
    body.split()[1]: body
    for body in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
}
OWN = "tagging.yaml"

CONFIGS: dict[str, Any] = {
    "regression": {
        "task": "lab.tasks.Regression",
        "data": {"target": "lab.data.function", "train_count": 16, "val_count": 8, "noise": 0.0},
        "net": "model.MLP",
        "metrics": {"mae": "lab.metrics.MAE"},
    },
    "classification": {
        "task": "lab.tasks.Classification",
        "data": {"target": "lab.data.digits", "sample_size": 5},
        "net": {"target": "model.ConvNet", "classes": "auto", "in_channels": "auto", "width": 16},
        "criterion": {"target": "lab.losses.CrossEntropy", "class_weights": "auto"},
        "metrics": {"accuracy": "lab.metrics.Accuracy"},
    },
    "segmentation": {
        "task": {"target": "lab.tasks.Segmentation", "tile": 32, "overlap": 0},
        "data": {"target": "lab.data.spheroids", "train_count": 8, "val_count": 4, "size": 64, "channels": 3},
        "net": "tests.inference_tools.Small",
        "criterion": "lab.losses.BCEDice",
        "metrics": {"dice": "lab.metrics.Dice"},
    },
    "scene graphs": {
        "task": "lab.tasks.SceneGraph",
        "data": {"target": "lab.data.moving_boxes", "train_count": 4, "val_count": 3, "frames": 3},
        "net": {
            "target": "model.RelationNet",
            **dict.fromkeys(("objects", "relations", "features"), "auto"),
            "dropout": 0.0,
        },
        "criterion": "lab.losses.SceneGraphLoss",
        "metrics": {"recall": {"target": "lab.metrics.GraphRecall", "dataset": "auto", "k": 10}},
    },
    "tagging, of docs/tasks.md": OWN,
}
# What a target is that there is nothing to learn from, made from a batch.
EMPTY: dict[str, Callable[[Any], Any]] = {
    "classification": lambda batch: [batch[0], torch.full_like(batch[1], -100)],
    "segmentation": lambda batch: [batch[0], torch.full_like(batch[1], IGNORE_INDEX)],
    "scene graphs": lambda batch: _without_pairs(*batch),
    "tagging, of docs/tasks.md": lambda batch: [batch[0], torch.full_like(batch[1], -100)],
}
Case = tuple[RunConfig, Loaders]


def _without_pairs(scenes: Any, truth: Any) -> Any:
    none = {group: target[:0] for group, target in truth["relations"].items()}
    unknown = torch.full_like(truth["objects"], -100)
    said = {**truth, "objects": unknown, "relations": none, "judged": truth["judged"][:0]}
    graph = {
        "pairs": truth["pairs"][:0],
        "predicates": {group: target[:0] for group, target in truth["predicates"].items()},
    }
    return [{**scenes, "pairs": scenes["pairs"][:0]}, {**said, **graph}]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files of docs/tasks.md, importable as from beside main.py."""
    folder = tmp_path_factory.mktemp("own")
    for name, body in FILES.items():
        (folder / name).write_text(body)
    sys.path.insert(0, str(folder))
    with chdir(folder):
        yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("tagging", None)


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(name: str, beside: Path) -> Case:
    """A config and its loaders, whose first batch has every training sample."""
    content = CONFIGS[name]
    small = {"device": "cpu", "batch_size": 64, "optimizer": {"target": "torch.optim.Adam", "lr": 0.01}}
    if isinstance(content, str):
        config = RunConfig.from_yaml(beside / content).with_values({**small, "data.count": 8})
    else:
        config = validate(RunConfig, {**small, **content})
    return config, create_loaders(config, None, None, torch.device("cpu"))


def trainer_of(case: Case) -> Trainer:
    config, data = case
    return Trainer.from_config(config, batches=len(data.train), facts=data.facts)


def figures(trainer: Trainer, data: Loaders) -> dict[str, float]:
    """Everything that validation says."""
    trainer.val_epoch(data.val)
    return {key: value for key, value in trainer._values.items() if key.startswith("val_")}


def test_a_batch_of_one(case: Case) -> None:
    trainer = trainer_of(case)
    batch = next(iter(create_loader(case[1].val_set, 1, shuffle=False)))
    result = trainer.task.step(trainer.model, trainer.criterion, batch)
    assert result.size == 1 and result.loss.dim() == 0
    before = copy.deepcopy(list(trainer.model.parameters()))
    assert math.isfinite(trainer.train_epoch([batch]))
    after = list(trainer.model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_an_empty_target(name: str, case: Case) -> None:
    trainer = trainer_of(case)
    if name not in EMPTY:  # every sample has one: what can be empty is the set
        with pytest.raises(ValueError, match="the loader is empty"):
            trainer.val_epoch([])
        return
    batch = EMPTY[name](next(iter(case[1].val)))
    result = trainer.task.step(trainer.model, trainer.criterion, batch)
    assert result.loss.item() == 0
    result.loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in trainer.model.parameters())


def test_one_batch_is_learnt_by_heart(case: Case) -> None:
    trainer, batch = trainer_of(case), next(iter(case[1].val))
    first = trainer.train_epoch([batch])
    for _ in range(40):
        last = trainer.train_epoch([batch] * 10)
        if last < 0.02:
            break
    assert last < 0.02 < first


def test_judging_twice_says_the_same_and_leaves_everything_as_it_was(case: Case) -> None:
    trainer = trainer_of(case)
    trainer.train_epoch(case[1].train)
    before = copy.deepcopy(trainer.model.state_dict())
    once, again = figures(trainer, case[1]), figures(trainer, case[1])
    assert once == again and len(once) >= 2 and all(map(math.isfinite, once.values()))
    assert all(torch.equal(before[key], value) for key, value in trainer.model.state_dict().items())


def test_a_checkpoint_brings_back_figures_and_the_next_step(case: Case, tmp_path: Path) -> None:
    trainer, batch = trainer_of(case), next(iter(case[1].train))
    trainer.train_epoch([batch])
    save(tmp_path / "last.pt", collect(trainer.parts()))
    other = trainer_of(case)
    restore(other.parts(), load(tmp_path / "last.pt"))
    assert figures(other, case[1]) == figures(trainer, case[1])
    torch.manual_seed(1)
    expected = trainer.train_epoch([batch])
    torch.manual_seed(1)
    assert other.train_epoch([batch]) == expected
    assert figures(other, case[1]) == figures(trainer, case[1])


def test_a_new_sample_gets_a_prediction(name: str, case: Case) -> None:
    trainer = trainer_of(case)
    trainer.model.eval()
    *inputs, target = next(iter(create_loader(case[1].val_set, 1, shuffle=False)))
    with torch.no_grad():
        prediction = trainer.task.predict(trainer.task.infer(trainer.model, *inputs))
    found = list(tensors_in(prediction))
    assert found and all(bool(part.isfinite().all()) for part in found if part.is_floating_point())
    if name.startswith(("classification", "tagging")):
        assert torch.allclose(prediction.sum(1), torch.ones_like(prediction.sum(1)))
    if isinstance(target, Tensor) and name in ("regression", "segmentation"):
        assert prediction.shape == target.shape


def test_the_example_is_short_and_runs_as_the_page_says(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FILES["tagging.py"].splitlines()) - 1 < 60  # without the line that names the file
    monkeypatch.chdir(beside)
    assert main(["--check", "tagging.yaml"]) == 0
    assert main(["--run", "tagging.yaml", "--quiet"]) == 0
    (folder,) = (beside / "runs").iterdir()
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert float(dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))["val_accuracy"]) > 0.95
    assert main(["--evaluate", folder.name]) == 0
    assert (folder / "evaluation" / "val" / "metrics.json").is_file()
