"""Class 0 is background only if it is called so, from files to tables, on data laid out as CamVid is."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lab import checkpoint
from lab.data.splits import Splits
from main import main

SIZE = 24
HERE = "tests.test_background"


def scene(number: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image whose grey levels overlap among the classes, and its mask; class 0 is above."""
    rng = np.random.default_rng(number)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8 + number :] = 1
    if classes > 2:
        mask[-8:, 4 : 12 + number] = 2
    image = 70 * (classes - mask.astype(int)) - 20 + rng.integers(-40, 40, mask.shape)
    return image.clip(0, 255).astype(np.uint8), mask


class Scenes(Dataset[Any]):
    """A dataset of one's own."""

    def __init__(self, count: int, classes: int) -> None:
        self._pairs = [scene(number, classes) for number in range(count)]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self._pairs[index]
        return torch.tensor(image[None] / 255, dtype=torch.float32), torch.tensor(mask).long()


def unnamed(count: int = 4, facts: dict[str, Any] | None = None) -> Splits:
    """The same scenes for training and validation, their classes named only by `facts`."""
    return Splits(Scenes(count, 3), Scenes(count, 3), None, facts or {})


def write_config(folder: Path, classes: dict[str, int], **data: Any) -> Path:
    rows = ["basename,image_path,mask_path,split"]
    for number in range(6):
        image, mask = scene(number, len(classes))
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_L.png")
        rows.append(f"{number},{number}.png,{number}_L.png,{'train' if number < 3 else 'val'}")
    (folder / "list.csv").write_text("\n".join(rows))
    source = {
        "target": "lab.data.manifest",
        "path": "list.csv",
        "classes": classes,
        "grayscale": True,
        **data,
    }
    return write_run(folder, source, 1 if len(classes) == 2 else len(classes))


def write_run(folder: Path, data: dict[str, Any], outputs: int) -> Path:
    config = {
        "task": {
            "target": "lab.tasks.Segmentation",
            "classes": "auto",
            "tile": 32,
            "overlap": 0,
            "divisor": 1,
        },
        "data": data,
        "net": {"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": outputs, "kernel_size": 1},
        "criterion": {"target": "lab.losses.WeightedSum", "terms": {"bce": 1.0, "dice": 1.0}},
        "optimizer": {"target": "torch.optim.SGD", "lr": 1.0},
        "metrics": {
            "iou": {"target": "lab.metrics.IoU", "average": "set"},
            "dice": "lab.metrics.Dice",
            "first": {"target": "lab.metrics.IoU", "average": "set", "class_index": 0},
        },
        "monitor": {"metric": "val_iou", "mode": "max", "returns": "last"},
        "epochs": 20,
        "batch_size": 3,
        "device": "cpu",
        "trackers": [],
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(config))
    return path


def trained(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(path.parent)
    assert main(["--run", str(path)]) == 0
    return next((path.parent / "runs").iterdir())


def answers(run: Path, facts: dict[str, Any], images: list[NDArray[np.uint8]]) -> Tensor:
    """Logits of the last epoch, computed here."""
    state = checkpoint.load(run / "checkpoints" / "final.pt")["model"]
    scaled = torch.tensor(np.stack(images) / 255, dtype=torch.float32)
    if facts.get("normalise") == "train":
        scaled = (scaled - facts["mean"][0]) / facts["std"][0]
    weight, bias = (state[name].reshape(1, -1, 1, 1) for name in ("weight", "bias"))
    logits: Tensor = weight * scaled[:, None] + bias
    return logits


def theirs(predicted: Tensor, truth: Tensor, classes: int, counted: list[int]) -> tuple[float, float]:
    """Mean IoU of the set and mean Dice per image over some classes, by smp."""
    counts = smp.metrics.get_stats(predicted, truth, "multiclass", num_classes=classes)
    whole = smp.metrics.iou_score(*(each.sum(0, keepdim=True) for each in counts), reduction="none")
    each = smp.metrics.f1_score(*counts, reduction="none")
    return whole[0, counted].mean().item(), each[:, counted].mean().item()


def last_epoch(run: Path) -> dict[str, float]:
    with (run / "metrics.csv").open() as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}


STREET = {"sky": 0, "building": 1, "car": 2}


@pytest.mark.parametrize(
    ("classes", "data", "counted", "over"),
    [
        (STREET, {}, [0, 1, 2], "3 classes"),
        (STREET, {"background": None}, [0, 1, 2], "3 classes"),
        (STREET, {"background": "building"}, [0, 2], "2 classes without building"),
        ({"Background": 0, "building": 1, "car": 2}, {}, [1, 2], "2 classes without Background"),
        ({"sky": 0, "building": 1, "background": 2}, {}, [0, 1], "2 classes without background"),
        ({"background": 0, "building": 1, "car": 2}, {"background": None}, [0, 1, 2], "3 classes"),
        ({"sky": 0, "building": 1}, {}, [0, 1], "2 classes"),
        ({"background": 0, "cell": 1}, {}, [1], "1 class without background"),
        ({"cell": 0, "background": 1}, {}, [0], "1 class without background"),
    ],
)
def test_from_files_to_tables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    classes: dict[str, int],
    data: dict[str, Any],
    counted: list[int],
    over: str,
) -> None:
    run = trained(write_config(tmp_path, classes, **data), monkeypatch)
    content = checkpoint.load(run / "checkpoints" / "final.pt")
    images, truths = zip(*(scene(number, len(classes)) for number in (3, 4, 5)), strict=True)
    logits = answers(run, content["data"], list(images))
    predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    truth = torch.tensor(np.stack(truths)).long()
    iou, dice = theirs(predicted, truth, len(classes), counted)
    values = last_epoch(run)
    assert (values["val_iou"], values["val_dice"]) == pytest.approx((iou, dice), abs=1e-5)
    assert values["val_first"] == pytest.approx(theirs(predicted, truth, len(classes), [0])[0], abs=1e-5)

    (run / "checkpoints" / "best.pt").unlink()  # judge the last epoch, too
    printed = capsys.readouterr().out
    assert (f"means over classes are over {over}" in printed) == (len(classes) > 2 or len(counted) == 2)
    assert main(["--evaluate", str(run)]) == 0
    text = capsys.readouterr().out
    found = json.loads(next(run.rglob("metrics.json")).read_text())
    names = list(classes)
    several = len(counted) > 1
    listed = names if several or len(classes) > 2 else [names[counted[0]]]
    assert list(found["scores"]) == [*(["mean"] if several else []), *listed]
    assert found["mean_over"] == over and (f"mean of {over}, all pixels" in text) == several
    first = found["scores"]["mean" if several else names[counted[0]]]
    assert first["iou"]["whole"] == pytest.approx(iou, abs=1e-5)
    assert first["dice"]["mean"] == pytest.approx(dice, abs=1e-5)

    (tmp_path / "new").mkdir()
    (tmp_path / "5.png").rename(tmp_path / "new" / "5.png")
    assert main(["--predict", str(run), "--input", "new", "--output", "out"]) == 0
    with (tmp_path / "out" / "objects.csv").open() as file:
        objects = {row["class"] for row in csv.DictReader(file)}
    assert objects == {names[k] for k in counted if (predicted[2] == k).any()}


@pytest.mark.parametrize(
    ("facts", "counted"),
    [
        ({}, [0, 1, 2]),
        ({"classes": ["sky", "building", "car"]}, [0, 1, 2]),
        ({"classes": ["void", "building", "car"], "background": "void"}, [1, 2]),
        ({"classes": ["background", "building", "car"]}, [1, 2]),
    ],
)
def test_a_dataset_of_ones_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    facts: dict[str, Any],
    counted: list[int],
) -> None:
    path = write_run(tmp_path, {"target": f"{HERE}.unnamed", "facts": facts}, 3)
    text = path.read_text()
    if not facts:
        path.write_text(text.replace('"classes": "auto", ', ""))
    run = trained(path, monkeypatch)
    images, truths = zip(*(scene(number, 3) for number in range(4)), strict=True)
    predicted = answers(run, {}, list(images)).argmax(1)
    iou, dice = theirs(predicted, torch.tensor(np.stack(truths)).long(), 3, counted)
    values = last_epoch(run)
    assert (values["val_iou"], values["val_dice"]) == pytest.approx((iou, dice), abs=1e-5)
    printed = capsys.readouterr().out
    assert ("the data names no classes, so means are over all of them" in printed) == (not facts)
    record = json.loads((run / "summary.json").read_text())
    assert record["definitions"]["iou"] == (2 if 0 in counted else 1)


def test_a_background_that_is_no_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, STREET, background="ski")
    monkeypatch.chdir(tmp_path)
    assert main(["--run", str(path)]) == 2
    error = capsys.readouterr().err
    assert "background: there is no class 'ski' among sky, building, car" in error
    assert "Traceback" not in error
