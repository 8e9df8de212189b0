"""A finished run of segmentation: what a network's masks need beside the network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.config import RunConfig
from lab.config.mask_values import BINARY, background_index
from lab.console import shell_commands
from lab.predict.loaded_run import LoadedRun, load, require_task
from lab.tasks import Segmentation

THRESHOLD = "threshold.json"
"""What the validation set says the threshold should be: `{"threshold": 0.42, "split": "val", ...}`."""


@dataclass(frozen=True, kw_only=True)
class Segmenter(LoadedRun):
    """A network that makes masks.

    Args:
        threshold: above this probability a pixel is foreground; where there are classes it has no effect.
    """

    task: Segmentation
    threshold: float

    @property
    def classes(self) -> list[str]:
        """Names by index; of data without names those of a single foreground, or numbers."""
        if named := super().classes:
            return named
        count = self.config.net.arguments.get("classes")
        if isinstance(count, int) and count > 1:
            return [f"class {index}" for index in range(count)]
        return list(BINARY)

    @property
    def background(self) -> int | None:
        """The index of the class that is no object, if there is one."""
        return background_index(self.classes, self.info.background)

    @property
    def sequences(self) -> dict[str, int] | None:
        """Index by sequence id, where the network takes one beside the image."""
        found = self.info.sequences
        return None if found is None else {str(name): int(index) for name, index in found.items()}


def load_segmenter(
    folder: Path | str, *, device: str | None = None, data: Mapping[str, object] | None = None
) -> Segmenter:
    """As `load`, for a run whose task is segmentation.

    Raises:
        CheckpointError: there are no weights, they are damaged, or they belong to another network.
        ConfigError: the config can't be read, or its network can't be built.
        ValueError: the folder is no run, several seeds or folds, or its task is not segmentation.
    """
    loaded = load(folder, device=device, data=data)
    task = require_task(loaded, Segmentation)
    notes = list(loaded.notes)
    if not loaded.facts:
        notes.append(
            "the run is from before checkpoints kept what the data was like: images are scaled to [0, 1], "
            "and not normalised otherwise"
        )
    threshold = _threshold(loaded.folder, task, loaded.epoch, notes)
    known = {**vars(loaded), "task": task, "notes": tuple(notes)}
    return Segmenter(**known, threshold=threshold)


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
            f"it is not used; {shell_commands.main('--evaluate', folder, '--tune-threshold')} tunes it again"
        )
        return task.threshold
    return float(value)
