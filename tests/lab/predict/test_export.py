"""Exported networks in the programs that load them: onnxruntime, torch.jit, safetensors."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from lab.checkpoint import save
from lab.predict.export import KINDS, METADATA, ExportError, Kind, export
from lab.predict.segmentation_run import Segmenter, load_segmenter
from tests.inference_tools import PLAIN, loaded, make_run, spots, write

RNG = np.random.default_rng(0)
FACTS = {**PLAIN, "normalise": "train", "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
FILM = {
    "target": "model.FiLMSegmenter",
    "architecture": "DeepLabV3Plus",
    "encoder": "resnet18",
    "sequences": "auto",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three, of other sizes than the networks are traced with."""
    for name, size in {"a": (40, 60, 3), "b": (130, 97, 3), "c": (1, 1, 3)}.items():
        write(tmp_path / "in" / f"{name}.png", RNG.integers(0, 256, size, np.uint8))
    return tmp_path / "in"


def real_run(folder: Path, net: dict[str, Any], facts: dict[str, Any]) -> Segmenter:
    """A run of one of the project's networks with random weights, its normalisation layers moved a little."""
    run = make_run(folder, net)
    config = load_config(run)
    torch.manual_seed(0)
    model = config.create_model(facts)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
    save(run / "checkpoints" / "best.pt", {"model": model.state_dict(), "data": facts})
    return load_segmenter(run)


def load_config(run: Path) -> Any:
    from lab.config import RunConfig

    return RunConfig.from_yaml(run / "config.yaml")


def answer(path: Path, kind: Kind, *inputs: torch.Tensor) -> torch.Tensor:
    if kind == "torchscript":
        return torch.jit.load(path)(*inputs)  # type: ignore[no-any-return]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    assert names == ["image", "sequence"][: len(inputs)]
    fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(["logits"], fed)[0])


def known(path: Path, kind: Kind) -> dict[str, str]:
    """The metadata, as each of the programs reads it."""
    match kind:
        case "onnx":
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            return dict(session.get_modelmeta().custom_metadata_map)
        case "torchscript":
            files = {METADATA: ""}
            torch.jit.load(path, _extra_files=files)
            return dict(json.loads(files[METADATA]))
        case "safetensors":
            with safe_open(path, "pt") as file:
                return dict(file.metadata())


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_answers_as_the_network_and_knows_what_belongs_to_it(
    tmp_path: Path, images: Path, kind: Kind
) -> None:
    run = loaded(tmp_path, facts=FACTS, **{"task.threshold": 0.3})
    done = export(run, kind, images=images)
    assert done.path.parent == tmp_path / "run" / "export" and done.kind == kind
    assert (done.images, done.checked_on, done.notes) == (3, str(images), ()) and done.difference < 1e-5
    assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]
    found = known(done.path, kind)
    assert {key: json.loads(found[key]) for key in ("classes", "threshold", "mean", "std", "channels")} == {
        "classes": ["background", "spot"],
        "threshold": 0.3,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.6, 0.7],
        "channels": 3,
    }
    assert (found["normalise"], found["activation"]) == ("(scaled - mean) / std, per channel", "sigmoid")
    assert (found["scaling"], found["divisor"], found["run"]) == (
        "8 bits are divided by 255, 16 bits by 65535", "32", "run",
    )  # fmt: skip
    if kind == "safetensors":
        with safe_open(done.path, "pt") as file:
            assert {name: float(file.get_tensor(name)) for name in file.keys()} == {"weight": 40.0}  # noqa: SIM118
    else:
        for size in ((1, 3, 32, 32), (3, 3, 96, 160)):
            image = torch.rand(size)
            assert torch.allclose(answer(done.path, kind, image), run.model(image), atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_network_with_two_inputs(tmp_path: Path, images: Path, kind: Kind) -> None:
    run = loaded(tmp_path, "Conditioned", facts={**PLAIN, "sequences": {"north": 0, "south": 1}})
    done = export(run, kind, tmp_path / f"conditioned.{kind}", images=images)
    image, ids = torch.rand(3, 3, 64, 32), torch.tensor([0, 1, -1])
    found = answer(done.path, kind, image, ids)
    assert torch.allclose(found, run.model(image, ids), atol=1e-4) and (found[2] < -900).all()
    assert json.loads(known(done.path, kind)["sequences"]) == {"north": 0, "south": 1}
    assert known(done.path, kind)["inputs"] == "image float32 (N, C, H, W), sequence int64 (N,)"


def test_it_is_checked_on_the_runs_own_validation_images(tmp_path: Path) -> None:
    for number in range(6):
        for folder in ("images", "masks"):
            write(tmp_path / "set" / folder / f"{number}.png", spots((40, 50), (number, 5, 9, 9)))
    run = loaded(tmp_path, **{"data.root": str(tmp_path / "set"), "data.val_share": 0.4})
    done = export(run, "torchscript")
    assert (done.images, done.checked_on) == (2, "validation images of the run")
    assert "on 2 images: validation images of the run" in done.as_text()


def test_without_images_to_check_on_nothing_is_exported(tmp_path: Path) -> None:
    run = loaded(tmp_path, **{"data.root": str(tmp_path / "gone")})
    with pytest.raises(
        ValueError, match=r"can't be read; name others with --input\. Cause: .*\n.*gone/images: no"
    ):
        export(run, "torchscript")
    assert not (tmp_path / "run" / "export").exists()


class Fickle(torch.nn.Module):
    """Its answer hangs on a branch, which tracing takes for good."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        sign = 1.0 if image.shape[-1] > 32 else -1.0
        return sign * self.weight * image[:, :1]


def test_a_file_that_answers_otherwise_is_not_left_behind(tmp_path: Path, images: Path) -> None:
    run = loaded(tmp_path)
    fickle = Segmenter(**{**vars(run), "model": Fickle()})
    with pytest.raises(
        ExportError, match=r"output differs by .* from the run's, on images of shape \(2, 3, 20, 30\)"
    ):
        export(fickle, "torchscript", tmp_path / "a.pt", images=images)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_file_that_is_there_is_kept(tmp_path: Path, images: Path) -> None:
    run, path = loaded(tmp_path), tmp_path / "a.pt"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"a\.pt already exists"):
        export(run, "torchscript", path, images=images)
    assert path.read_text() == "precious"
    export(run, "torchscript", path, images=images, force=True)
    assert known(path, "torchscript")["run"] == "run"


def test_a_missing_package_is_named(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"onnxruntime: .* -m pip install onnx onnxscript onnxruntime"):
        export(loaded(tmp_path), "onnx", images=images)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus", "FiLM"])
def test_real_networks(tmp_path: Path, images: Path, architecture: str, kind: Kind) -> None:
    net = {"target": "model.segmenter", "architecture": architecture, "encoder": "resnet18"}
    facts = {**FACTS, "sequences": {"a": 0, "b": 1}} if architecture == "FiLM" else FACTS
    run = real_run(tmp_path / "run", FILM if architecture == "FiLM" else net, facts)
    done = export(run, kind, images=images)
    assert done.difference < 1e-4 and done.notes == ()
    if kind != "safetensors":
        inputs = [torch.rand(2, 3, 96, 160)] + ([torch.tensor([1, -1])] if architecture == "FiLM" else [])
        with torch.no_grad():
            assert torch.allclose(answer(done.path, kind, *inputs), run.model(*inputs), atol=1e-4)
