"""Everything that `--evaluate` prints and writes for each task, word for word, beside `tests/snapshots`.

The networks keep the weights they begin with, so that the values are those of the data. A change that is
meant is written by `UPDATE_SNAPSHOTS=1 python -m pytest -n 0 tests/test_evaluations.py`, and read in the
diff.
"""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.evaluate import classification as classified
from lab.evaluate.efficiency import Efficiency, Speed
from main import main
from tests import classified_tools, graph_tools
from tests.lab.evaluate import test_generic, test_segmentation

SNAPSHOTS = Path(__file__).parent / "snapshots" / "evaluate"
HERE = "tests.test_evaluations"
STILL = {"epochs": 1, "optimizer": {"target": "torch.optim.SGD", "lr": 0.0}}
SEEDS: dict[str, Any] = {"seeds": [0, 1]}
FOLDS: dict[str, Any] = {"folds": 2, "data.test_share": 0.0}
COST = Efficiency(9, 36, 2**21, 3_628, (3, 8, 8), "cpu (x)", (Speed(1, 0.002, 0.003, 100),))


class Levels(nn.Module):
    """Each class has a brightness: pixels of 60 are background, those of 150 and 240 objects."""

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.weight = nn.Parameter(torch.tensor(40.0))

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(1, keepdim=True)
        if self.classes == 1:
            return self.weight * (grey - 0.4111)
        levels = torch.tensor([60.0, 150.0, 240.0]).reshape(1, 3, 1, 1) / 255
        return -self.weight * (grey - levels) ** 2


class Line(nn.Module):
    """y = 2 x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def segmentation(folder: Path, objects: int = 1, **values: Any) -> Path:
    root = test_segmentation.make_images(folder / "data", 12, objects)
    net = f"{HERE}.Levels" if objects == 1 else {"target": f"{HERE}.Levels", "classes": 3}
    several = {} if objects == 1 else {"data.classes": {"none": 0, "cell": 1, "debris": 2}}
    still = {**STILL, "net": net, "data.normalise": "none"}
    return test_segmentation.train(
        folder / "run", test_segmentation.config(root, **still, **several, **values)
    )


def classification(folder: Path, **values: Any) -> Path:
    root = classified_tools.make_images(folder / "data", 40, noise=70)
    return classified_tools.train_levels(folder / "run", root, **values)


def scene_graph(folder: Path, **values: Any) -> Path:
    return graph_tools.train(folder / "run", **STILL, **values)


def generic(folder: Path, **values: Any) -> Path:
    return test_generic.train(folder / "run", net=f"{HERE}.Line", **STILL, **values)


Made = Callable[[Path], Path]
CASES: dict[str, tuple[Made, list[str]]] = {
    "segmentation": (segmentation, ["--tune-threshold", "--pixel-size", "0.5", "--split", "val"]),
    "segmentation_seeds": (lambda folder: segmentation(folder, **SEEDS), ["--threshold", "0.4", "--flips"]),
    "segmentation_folds": (lambda folder: segmentation(folder, 2, **FOLDS), []),
    "classification": (classification, []),
    "classification_seeds": (lambda folder: classification(folder, **SEEDS), []),
    "classification_folds": (lambda folder: classification(folder, **FOLDS), []),
    "scene_graph": (scene_graph, []),
    "scene_graph_seeds": (lambda folder: scene_graph(folder, **SEEDS), ["--split", "val"]),
    "generic": (generic, []),
}


def rounded(text: str) -> str:
    """Plain data with five digits, which all machines agree on."""
    return json.dumps(json.loads(text, parse_float=lambda value: float(f"{float(value):.5g}")), indent=1)


def stable(text: str, home: Path) -> str:
    """The text without the place, the time, pictures, styles and scripts."""
    for pattern, put in (
        (re.escape(str(home)), "HOME"),
        (r"data:image/png;base64,[\w+/=]+", "PNG"),
        (r"(?s)<style>.*?</style>|<script>.*?</script>|<svg xmlns.*?</svg>|sha256-[\w+/=]+", "…"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", "NOW"),
    ):
        text = re.sub(pattern, put, text)
    return text


@pytest.mark.parametrize("name", CASES)
def test_what_an_evaluation_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    make, options = CASES[name]
    run = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classified, "measure", lambda *_: COST)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    capsys.readouterr()
    assert main(["--evaluate", str(run), "--output", str(tmp_path / "out"), *options]) == 0
    printed = capsys.readouterr()
    assert main(["--evaluate", str(run), "--output", str(tmp_path / "json"), "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "metrics.json").read_text())
    texts = {"printed": printed.out, "errors": printed.err}
    for path in sorted((tmp_path / "out").iterdir()):
        content = "" if path.suffix == ".png" else path.read_text(encoding="utf-8")
        texts[path.name] = rounded(content) if path.suffix == ".json" else content
    found = stable("".join(f"===== {part}\n{text}\n" for part, text in texts.items()), tmp_path)
    snapshot = SNAPSHOTS / f"{name}.txt"
    if "UPDATE_SNAPSHOTS" in os.environ:
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(found, encoding="utf-8")
    assert found == snapshot.read_text(encoding="utf-8")
