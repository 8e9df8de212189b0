"""A finished run as something that predicts: its network with the weights, and all that belongs to it."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lab import rundir
from lab.checkpoint import CheckpointError, network_state
from lab.checkpoint import load as load_checkpoint
from lab.config import ConfigError, RunConfig
from lab.config.validation import validate
from lab.data.masks import BINARY
from lab.runtime import Runtime
from lab.tasks import Segmentation

THRESHOLD = "threshold.json"
"""What the validation set says the threshold should be: `{"threshold": 0.42, "split": "val", ...}`."""


@dataclass(frozen=True)
class Loaded:
    """A run's network in eval mode on its device, and what its data said of itself.

    Args:
        weights: the checkpoint that they come from.
        facts: `Splits.facts` of the training; empty for a checkpoint from before there were any.
        threshold: above this probability a pixel is foreground; where there are classes it has no effect.
        notes: what the user should know.
    """

    folder: Path
    weights: Path
    epoch: int
    config: RunConfig
    model: nn.Module
    task: Segmentation
    runtime: Runtime
    facts: Mapping[str, Any]
    threshold: float
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """Names by index, background first."""
        return [str(name) for name in self.facts.get("classes") or BINARY]

    @property
    def channels(self) -> int:
        """How many the network's images have."""
        net, data = self.config.net.arguments, self.config.data.arguments
        known = (self.facts.get("in_channels"), net.get("in_channels"), 1 if data.get("grayscale") else 3)
        return next(int(value) for value in known if isinstance(value, int))

    @property
    def sequences(self) -> dict[str, int] | None:
        """Index by sequence id, where the network takes one beside the image."""
        found = self.facts.get("sequences")
        return None if found is None else {str(name): int(index) for name, index in found.items()}


def load(folder: Path | str, *, device: str | None = None) -> Loaded:
    """Read a run's folder, that of a trial, or a study's `best/`; downloads nothing.

    Args:
        device: other than the config says. Without one, a device that this machine doesn't have is replaced
            by the best there is.

    Raises:
        CheckpointError: there are no weights, they are damaged, or they belong to another network.
        ConfigError: the config can't be read, or its network can't be built.
        ValueError: the folder is no run, several seeds or folds, or its task is not segmentation.
    """
    folder = Path(folder)
    notes: list[str] = []
    _require_one_run(folder)
    path = _weights(folder, notes)
    content = load_checkpoint(path)
    # The weights' own config: a study's best/ may be one fold of what its file describes.
    own = content.get("config")
    config = RunConfig.from_yaml(folder / rundir.CONFIG) if own is None else validate(RunConfig, own)
    config = _without_downloads(config)
    task = config.create_task()
    if not isinstance(task, Segmentation):
        raise ValueError(
            f"{folder}: prediction is for lab.tasks.Segmentation, and this run's task is {config.task.target}"
        )
    runtime = _runtime(config, device, notes)
    facts = content.get("data") or {}
    model = config.create_model(facts)
    try:
        model.load_state_dict(network_state(content))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: doesn't fit the network of {folder / rundir.CONFIG}: {error}"
        ) from error
    if not facts:
        notes.append(
            "the run is from before checkpoints kept what the data was like: images are scaled to [0, 1], "
            "and not normalised otherwise"
        )
    model = runtime.place(model.eval().requires_grad_(False))
    epoch = int((content.get("course") or {}).get("epoch", 0))
    threshold = _threshold(folder, task, epoch, notes)
    return Loaded(folder, path, epoch, config, model, task, runtime, facts, threshold, tuple(notes))


def _require_one_run(folder: Path) -> None:
    if not (folder / rundir.CONFIG).is_file():
        raise ValueError(f"{folder}: is no run: it holds no {rundir.CONFIG}")
    below = rundir.repeats(folder)
    if below and not (folder / rundir.CHECKPOINTS).is_dir():
        each = "\n".join(f"  {path}" for path in below)
        raise ValueError(f"{folder}: consists of {len(below)} runs; name one of them:\n{each}")


def transform_names(config: RunConfig) -> list[str]:
    """The classes of the transforms of validation images."""
    transforms = config.data.arguments.get("val_transforms")
    targets = [
        str(each.get("target") if isinstance(each, Mapping) else each)
        for each in (transforms if isinstance(transforms, list) else [])
    ]
    return [target.rpartition(".")[2] for target in targets]


def left_out(config: RunConfig) -> list[str]:
    """What validation did to images and prediction doesn't; cutting and padding make no difference."""
    names = transform_names(config)
    changing = [
        name
        for name in names
        if "Resize" in name or not any(word in name for word in ("Crop", "Pad", "ToTensor"))
    ]
    if not changing:
        return []
    return [
        f"data.val_transforms are not applied: {', '.join(changing)}; prepare the images so, or train without"
    ]


def _weights(folder: Path, notes: list[str]) -> Path:
    """The best checkpoint; the last one of a finished run where that is all there is."""
    checkpoints = folder / rundir.CHECKPOINTS
    for path in (checkpoints / "best.pt", folder / "best.pt"):
        if path.is_file():
            return path
    final = checkpoints / "final.pt"
    if final.is_file():
        notes.append(f"there is no best.pt: the weights are those of the last epoch, {final}")
        return final
    raise CheckpointError(f"{checkpoints}: holds neither best.pt nor final.pt, so there are no weights")


def _without_downloads(config: RunConfig) -> RunConfig:
    """Pretrained weights would be fetched and then replaced: the same network without them."""
    try:
        parameters = inspect.signature(config.net.resolve()).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    if "encoder_weights" in parameters or "encoder_weights" in config.net.arguments:
        return config.with_values({"net.encoder_weights": None})
    return config


def _runtime(config: RunConfig, device: str | None, notes: list[str]) -> Runtime:
    config = config.with_values({"compile": False, **({} if device is None else {"device": device})})
    try:
        return Runtime.from_config(config)
    except ConfigError:
        if device is not None:
            raise
    runtime = Runtime.from_config(config.with_values({"device": "auto"}))
    notes.append(f"the run's device {config.device} is not there; computing on {runtime.device}")
    return runtime


def _threshold(folder: Path, task: Segmentation, epoch: int, notes: list[str]) -> float:
    """The one tuned on validation with these weights, or the task's own.

    Raises:
        ValueError: the file can't be read.
    """
    path = folder / THRESHOLD
    try:
        record = json.loads(path.read_bytes())
        value = record["threshold"]
    except FileNotFoundError:
        return task.threshold
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: holds no threshold that can be read: {error!r}") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{path}: threshold must be a number in [0, 1), found {value!r}")
    if record.get("epoch", epoch) != epoch:
        notes.append(
            f"{path} was tuned with the weights of epoch {record['epoch']}, and these are of epoch {epoch}: "
            "it is not used; --evaluate RUN --tune-threshold tunes it anew"
        )
        return task.threshold
    return float(value)
