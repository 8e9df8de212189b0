"""A finished segmentation run: its network with classes, threshold and sequences."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.config import RunConfig
from lab.config.mask_values import BINARY, background_index
from lab.console import shell_commands
from lab.predict.loaded_run import LoadedRun, load, require_task
from lab.store import paths
from lab.tasks import Segmentation

THRESHOLD = "threshold.json"
"""The file of the threshold tuned on the validation set: `{"threshold": 0.42, "split": "val", ...}`."""


@dataclass(frozen=True, kw_only=True)
class Segmenter(LoadedRun):
    """A segmentation network.

    Args:
        threshold: above this probability a pixel is foreground; with more than two classes it has no effect.
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
        """The index of the background class, if there is one."""
        return background_index(self.classes, self.info.background)

    @property
    def sequences(self) -> dict[str, int] | None:
        """Index by sequence id, where the network takes one beside the image."""
        found = self.info.sequences
        return None if found is None else {str(name): int(index) for name, index in found.items()}

    def require_binary(self) -> None:
        """Refuse a threshold for a network of several classes.

        Raises:
            ValueError: it has more than two classes.
        """
        if len(self.classes) > 2:
            raise ValueError(
                f"a threshold has no effect on {len(self.classes)} classes: the most probable one is taken"
            )


def load_segmenter(
    folder: Path | str, *, device: str | None = None, data: Mapping[str, object] | None = None
) -> Segmenter:
    """Load a segmentation run, like `load`.

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
            "the checkpoint is of an older version and has no data facts: images are scaled to [0, 1], "
            "and not normalised otherwise"
        )
    threshold = _threshold(loaded.folder, task, loaded.epoch, notes)
    known = {**vars(loaded), "task": task, "notes": tuple(notes)}
    return Segmenter(**known, threshold=threshold)


def require_in_range(*, threshold: float | None = None, pixel_size: float | None = None) -> None:
    """Refuse a threshold or a pixel size that makes no sense; None is not set.

    Raises:
        ValueError: it is out of its range.
    """
    if threshold is not None and not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), found {threshold}")
    if pixel_size is not None and not 0 < pixel_size < math.inf:
        raise ValueError(f"pixel_size must be above 0 µm, found {pixel_size}")


def transform_names(config: RunConfig) -> list[str]:
    """Return the class names of the validation transforms."""
    transforms = config.data.arguments.get("val_transforms")
    targets = [
        str(each.get("target") if isinstance(each, Mapping) else each)
        for each in (transforms if isinstance(transforms, list) else [])
    ]
    return [target.rpartition(".")[2] for target in targets]


def left_out(config: RunConfig) -> list[str]:
    """Return a note on validation transforms that prediction doesn't apply, except cropping and padding."""
    names = transform_names(config)
    changing = [
        name
        for name in names
        if "Resize" in name or not any(word in name for word in ("Crop", "Pad", "ToTensor"))
    ]
    if not changing:
        return []
    return [
        f"data.val_transforms are not applied: {', '.join(changing)}; apply them to the images beforehand, "
        "or train without them"
    ]


def _threshold(folder: Path, task: Segmentation, epoch: int, notes: list[str]) -> float:
    """Return the threshold tuned with these weights, or the task's.

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
        raise ValueError(f"{paths.shown(path)}: cannot read a threshold: {error!r}") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{paths.shown(path)}: threshold must be a number in [0, 1), found {value!r}")
    # A resumed run may have other best weights, for which the threshold wasn't tuned.
    if record.get("epoch", epoch) != epoch:
        notes.append(
            f"{paths.shown(path)} is ignored: it was tuned with the weights of epoch {record['epoch']}, and "
            f"these are of epoch {epoch}; to tune it again: "
            + shell_commands.main("--evaluate", folder, "--tune-threshold")
        )
        return task.threshold
    return float(value)
