"""Import paths of earlier versions, which keep working: one table for configs and for Python's imports.

In a config an old path stands for the new one. An import of an old module returns the module that took its
place, never a second copy of it, and issues a `DeprecationWarning` at the line that imports it.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MOVED: dict[str, str] = {
    "lab.data.action_genome:action_genome": "lab.data.sources.action_genome:action_genome",
    "lab.data.class_folder:class_folder": "lab.data.sources.class_folder:class_folder",
    "lab.data.class_table:class_table": "lab.data.sources.class_table:class_table",
    "lab.data.containers": "lab.data.image_containers",
    "lab.data.depths": "lab.data.bit_depths",
    "lab.data.detections": "lab.data.sources.detection_folder",
    "lab.data.discovery": "lab.data.file_discovery",
    "lab.data.easg:easg": "lab.data.sources.easg:easg",
    "lab.data.files": "lab.data.segmentation_files",
    "lab.data.finite": "lab.data.nan_check",
    "lab.data.functions": "lab.data.sources.function",
    "lab.data.grouping": "lab.data.grouped_split",
    "lab.data.handwriting": "lab.data.sources.digits",
    "lab.data.header": "lab.data.image_header",
    "lab.data.images": "lab.data.sources.image_folder",
    "lab.data.inventory": "lab.data.file_inventory",
    "lab.data.labelled": "lab.data.classification_sets",
    "lab.data.labelled_files": "lab.data.classification_files",
    "lab.data.manifest:manifest": "lab.data.sources.manifest:manifest",
    "lab.data.moving_boxes:moving_boxes": "lab.data.sources.moving_boxes:moving_boxes",
    "lab.data.normalise": "lab.data.normalization",
    "lab.data.order": "lab.data.sample_order",
    "lab.data.pairs": "lab.data.image_mask_pairs",
    "lab.data.part_names": "lab.data.split_names",
    "lab.data.plates": "lab.data.sources.spheroid_plates",
    "lab.data.problems": "lab.data.file_problems",
    "lab.data.reading": "lab.data.image_reader",
    "lab.data.seeded": "lab.data.seeded_dataset",
    "lab.data.sequences": "lab.data.sources.conditioned_discs",
    "lab.data.sets": "lab.data.segmentation_sets",
    "lab.data.shapes:shapes": "lab.data.sources.shapes:shapes",
    "lab.data.state": "lab.data.loader_state",
    "lab.data.store": "lab.data.pair_cache",
    "lab.data.stratified": "lab.data.stratified_split",
    "lab.data.tables": "lab.data.csv_tables",
    "lab.data.wells": "lab.data.sources.spheroids",
    "lab.data.workers": "lab.data.loader_workers",
    "lab.epoch_loader": "lab.data.epoch_loader",
    "lab.events:Listeners": "lab.events:CallbackList",
    "lab.graph_loss": "lab.losses.scene_graph",
    "lab.graphs:Said": "lab.graphs:SceneGraphPrediction",
    "lab.graphs:Scenes": "lab.graphs:SceneGraphBatch",
    "lab.graphs:Truth": "lab.graphs:SceneGraphTarget",
    "lab.infeasible": "lab.errors",
    "lab.inference": "lab.predict",
    "lab.inference.loaded": "lab.predict.loaded_run",
    "lab.inference.segmenter": "lab.predict.segmentation_run",
    "lab.labels": "lab.config.mask_values",
    "lab.labels:IGNORE": "lab.config.mask_values:IGNORE_INDEX",
    "lab.metrics.gathered": "lab.metrics.metric_state",
    "lab.metrics.scores": "lab.metrics.image_scores",
    "lab.smp_terms": "lab.losses.smp_losses",
    "lab.targets": "lab.losses.targets",
    "lab.tasks.outputs": "lab.tasks.network_outputs",
    "lab.tasks.size": "lab.tasks.sample_count",
    "lab.terms": "lab.losses.terms",
    "lab.tiling": "lab.tasks.tiling",
    "lab.torch_losses": "lab.losses.torch_losses",
}
"""Old path -> new path: of a module with all it holds, or of one name in a module, as `module:name`."""


def current(path: str) -> str:
    """Return the present path of what a dotted path names."""
    # From the whole path to its first part, so that the longest entry counts.
    module, rest = path, ""
    while module:
        if (new := MOVED.get(module)) is not None:
            return new + rest
        module, _, name = module.rpartition(".")
        if (new := MOVED.get(f"{module}:{name}")) is not None:
            return new.replace(":", ".") + rest
        rest = f".{name}{rest}"
    return path


def notes(paths: Iterable[str]) -> list[str]:
    """Return a message for each path that is an old one, once."""
    return [_message(path, new) for path in dict.fromkeys(paths) if (new := current(path)) != path]


def install() -> None:
    """Let Python find modules by their old paths, and names that have changed in their modules."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _message(old: str, new: str) -> str:
    return f"{old} is deprecated and will be removed: it is {new} now"


class _Finder:
    """Finds what has moved; it comes first, for a moved package would find its modules by their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("lab."):
            return None
        if (new := current(name)) != name:
            return ModuleSpec(name, _Moved(new))
        names = {
            old.partition(":")[2]: new
            for old, new in MOVED.items()
            if ":" in old and current(old.partition(":")[0]) == name
        }
        spec = PathFinder.find_spec(name, path, target) if names else None
        if spec is not None and spec.loader is not None:
            _add_names(spec.loader, names)
        return spec


class _Moved(Loader):
    """Loads a module by its old path: the module itself takes the place of the one that Python has made."""

    def __init__(self, new: str) -> None:
        self._new = new

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is at the new path at the old one."""
        old = module.__name__
        warnings.warn(_message(old, self._new), DeprecationWarning, stacklevel=2)
        # Python returns what stands here after the import, so both paths lead to one module.
        sys.modules[old] = import_module(self._new)


def _add_names(loader: Any, names: dict[str, str]) -> None:
    """Have a loader add old names to its module, as a `__getattr__` that is asked for what isn't there."""
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        def find(name: str) -> Any:
            if name not in names:
                raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
            home, _, new = names[name].partition(":")
            message = _message(f"{module.__name__}.{name}", f"{home}.{new}")
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(import_module(home), new)

        execute(module)
        vars(module)["__getattr__"] = find

    loader.exec_module = exec_module
