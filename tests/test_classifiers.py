"""Trainings of classifiers, whole: shipped configs on other data, an exact resume, what a run can learn."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lab.config import RunConfig
from lab.data.loaders import create_loader
from lab.metrics import Accuracy
from lab.predict.loaded_run import load
from tests.classified_tools import make_images
from tests.conftest import ROOT
from tests.test_run import Stop, equal, final
from util import run

CLASSIFIER = ROOT / "configs" / "classifier.yaml"
SMALL = {"device": "cpu", "trackers": [], "epochs": 2, "pictures.enabled": False}


def told(path: Path, what: str) -> list[str]:
    """The `--set` texts of a config's header that name this component."""
    found = re.findall(rf'--set "((?:data|net)={{target: {what}.*?}})"', path.read_text())
    assert found, what
    return found


def test_the_header_tells_how_to_take_own_images(tmp_path: Path, workplace: Path) -> None:
    make_images(tmp_path / "IMAGES", 24, noise=5)
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in tmp_path.rglob("im*.png")]
    (tmp_path / "FILE").write_text("\n".join(["image_path,label", *rows]))
    (net,) = told(CLASSIFIER, "model.classifier")
    values = yaml.safe_load(net.removeprefix("net="))
    values |= {"pretrained": False, "network": "mobilenetv3_small_050"}  # without a download, and small
    for kind in ("class_folder", "class_table"):
        (data,) = told(CLASSIFIER, f"lab.data.{kind}")
        config = RunConfig.from_yaml(CLASSIFIER, [data, f"net={json.dumps(values)}"]).with_values(SMALL)
        config.check()
        result = run(config, console="quiet")
        facts = final(result.run_dir)["data"]
        assert facts["classes"] == ["bright", "dark", "grey"] and facts["size"] == [64, 64]
        assert facts["counts"]["train"] == {"bright": 6, "dark": 6, "grey": 6}
        assert load(result.run_dir).classes == facts["classes"]


def test_auto_class_weights_are_those_of_the_training_images(tmp_path: Path, workplace: Path) -> None:
    for path in [*(make_images(tmp_path / "set", 60) / "dark").iterdir()][:10]:
        path.unlink()
    data = {"target": "lab.data.class_folder", "root": str(tmp_path / "set"), "size": 8}
    values = {"data": data, "criterion.class_weights": "auto", **SMALL}
    config = RunConfig.from_yaml(CLASSIFIER).with_values(values)
    facts = config.create_data().facts
    counts = facts["counts"]["train"]
    assert counts == {"bright": 16, "dark": 8, "grey": 16}
    expected = torch.tensor([40 / (3 * count) for count in counts.values()])
    torch.testing.assert_close(config.create_criterion(facts).class_weights, expected)
    assert run(config, console="quiet").outcome == "completed"


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted(workplace: Path, workers: int) -> None:
    """Also what is drawn from the global stream in training: which images are mixed, and how."""
    values: dict[str, Any] = {
        "data": {
            "target": "lab.data.digits",
            "sample_size": 12,
            "transforms": [{"target": "albumentations.Affine", "rotate": [-20, 20], "p": 0.5}],
        },
        "task.mixup": 0.3,
        "task.cutmix": 1.0,
        "net.width": 4,
        **SMALL,
        "epochs": 4,
    }
    whole = RunConfig.from_yaml(CLASSIFIER).with_values(values)
    uninterrupted = run(whole, console="quiet").run_dir
    part, folder = whole.with_values({"loader.workers": workers}), workplace / "runs" / "part"
    with pytest.raises(KeyboardInterrupt):
        run(part, run_dir=folder, callbacks=[Stop(2, KeyboardInterrupt)], console="quiet")
    run(part, run_dir=folder, resume=True, console="quiet")
    one, other = final(uninterrupted), final(folder)
    assert equal(one["model"], other["model"])
    assert equal(one["course"]["history"], other["course"]["history"])
    plain = run(whole.with_values({"task.mixup": 0.0, "task.cutmix": 0.0}), console="quiet").run_dir
    assert not equal(one["model"], final(plain)["model"])


def accuracy(folder: Path) -> float:
    """The share of a run's test images that its best network gets right."""
    loaded = load(folder)
    test, metric = loaded.create_splits().test, Accuracy()
    assert test is not None
    for images, labels in create_loader(test, 64, shuffle=False):
        with torch.no_grad():
            metric.update(loaded.model(images), labels)
    return float(metric.compute())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("digits", 0.98), ("classifier", 0.95)])
def test_it_learns_what_its_header_promises(workplace: Path, name: str, least: float) -> None:
    config = RunConfig.from_yaml(ROOT / "configs" / f"{name}.yaml")
    result = run(config.with_values({"trackers": [], "threads": 1, "device": "cpu"}), console="quiet")
    assert accuracy(result.run_dir) >= least
