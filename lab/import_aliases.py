"""Import paths of earlier versions, which keep working: one table for configs and for Python's imports.

In a config an old path stands for the new one. An import of an old module returns the module that took its
place, never a second copy of it, and issues a `DeprecationWarning` at the line that imports it. Where a data
source had the name of its module, as `lab.data.shapes`, that path is the source's, and Python can import no
module by it; `from lab.data import shapes` works as it did.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_SOURCES = ("action_genome", "class_folder", "class_table", "easg", "manifest", "moving_boxes", "shapes")


def _kept(old: str, new: str, *names: str) -> dict[str, str]:
    """Return the entries of what has another place and the name that it had."""
    return {f"{old}{name}": f"{new}{name}" for name in names}


MOVED: dict[str, str] = {
    **_kept("lab.", "lab.console.", "command_line", "signals"),
    **_kept("lab.", "lab.losses.", "targets", "terms", "torch_losses"),
    **_kept("lab.", "lab.rng.", "keys", "seeding"),
    **_kept("lab.", "lab.state.", "components", "modes"),
    **_kept("lab.", "lab.store.", "definitions", "paths", "redact"),
    **_kept("lab.", "lab.train.", "evaluation", "preflight", "rehearsal", "resume", "runtime"),
    **_kept("lab.callbacks.", "lab.train.callbacks.", "checkpointing", "diagnostics", "hparams", "tracking"),
    **_kept("lab.inference.", "lab.predict.", "export", "masks", "tables"),
    **_kept("lab.rundir:", "lab.store.file_io:", "RunInUse", "Unwritable", "append", "atomic_write", "link"),
    **_kept("lab.rundir:", "lab.store.file_io:", "printed_json", "refuse_links", "sync_folder"),
    **_kept("lab.rundir:", "lab.store.file_io:", "to_csv", "to_json"),
    **{f"lab.data.{name}:{name}": f"lab.data.sources.{name}:{name}" for name in _SOURCES},
    "lab.accumulation": "lab.train.gradient_accumulation",
    "lab.callbacks.pictures": "lab.train.callbacks.image_logger",
    "lab.callbacks.progress": "lab.train.callbacks.progress_bar",
    "lab.callbacks.shipped": "lab.train.callbacks.default_callbacks",
    "lab.callbacks.summary": "lab.train.callbacks.run_summary",
    "lab.commands": "lab.console.shell_commands",
    "lab.components:Components": "lab.state.components:ComponentStates",
    "lab.config.gate": "lab.config.import_policy",
    "lab.config.importing": "lab.config.import_target",
    "lab.config.loading": "lab.config.config_file",
    "lab.config.optimize": "lab.config.optimize_config",
    "lab.config.run": "lab.config.run_config",
    "lab.config.space": "lab.config.search_space",
    "lab.config.spec": "lab.config.component_spec",
    "lab.dashboard": "lab.hpo.dashboard",
    "lab.data.containers": "lab.data.image_containers",
    "lab.data.depths": "lab.data.bit_depths",
    "lab.data.detections": "lab.data.sources.detection_folder",
    "lab.data.discovery": "lab.data.file_discovery",
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
    "lab.data.layouts.values": "lab.data.layouts.contents",
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
    "lab.data.state": "lab.data.loader_state",
    "lab.data.store": "lab.data.pair_cache",
    "lab.data.stratified": "lab.data.stratified_split",
    "lab.data.tables": "lab.data.csv_tables",
    "lab.data.wells": "lab.data.sources.spheroids",
    "lab.data.workers": "lab.data.loader_workers",
    "lab.epoch_loader": "lab.data.epoch_loader",
    "lab.evaluation:Peek": "lab.train.evaluation:SamplePredictions",
    "lab.evaluation:Reporter": "lab.train.evaluation:ProgressReporter",
    "lab.evaluation:Tally": "lab.train.evaluation:EpochMetrics",
    "lab.events:Listeners": "lab.events:CallbackList",
    "lab.figures.graphs": "lab.figures.scene_graph",
    "lab.findings": "lab.train.preflight_report",
    "lab.first_batch": "lab.train.first_batch_errors",
    "lab.graph_loss": "lab.losses.scene_graph",
    "lab.graphs:Said": "lab.graphs:SceneGraphPrediction",
    "lab.graphs:Scenes": "lab.graphs:SceneGraphBatch",
    "lab.graphs:Truth": "lab.graphs:SceneGraphTarget",
    "lab.hints": "lab.train.data_notes",
    "lab.hpo.check": "lab.hpo.preflight",
    "lab.hpo.confirm": "lab.hpo.reevaluate",
    "lab.hpo.estimate": "lab.hpo.cost_estimate",
    "lab.hpo.opening": "lab.hpo.open_study",
    "lab.hpo.sampling": "lab.hpo.samplers",
    "lab.hpo.server": "lab.hpo.forkserver",
    "lab.hpo.supervisor": "lab.hpo.scheduler",
    "lab.infeasible": "lab.errors",
    "lab.inference.answers": "lab.predict.classification",
    "lab.inference.classified": "lab.evaluate.classification",
    "lab.inference.classify": "lab.predict.classification",
    "lab.inference.efficiency": "lab.evaluate.efficiency",
    "lab.inference.graphs": "lab.evaluate.scene_graph",
    "lab.inference.held_out": "lab.evaluate.base",
    "lab.inference.inputs": "lab.predict.input_files",
    "lab.inference.judged": "lab.evaluate.segmentation",
    "lab.inference.loaded": "lab.predict.loaded_run",
    "lab.inference.loaded:Loaded": "lab.predict.loaded_run:LoadedRun",
    "lab.inference.moved": "lab.predict.moved_data",
    "lab.inference.objects": "lab.predict.connected_objects",
    "lab.inference.operations": "lab.evaluate.operation_counts",
    "lab.inference.pictures": "lab.predict.connected_objects",
    "lab.inference.plain": "lab.evaluate.generic",
    "lab.inference.predict": "lab.predict.segmentation",
    "lab.inference.restored": "lab.predict.restored_state",
    "lab.inference.scores": "lab.predict.tables",
    "lab.inference.segmenter": "lab.predict.segmentation_run",
    "lab.inference.source": "lab.predict.masks",
    "lab.inventory": "lab.train.state_inventory",
    "lab.keys:mix": "lab.rng.keys:derive_seed",
    "lab.labels": "lab.config.mask_values",
    "lab.labels:IGNORE": "lab.config.mask_values:IGNORE_INDEX",
    "lab.metrics.calibration": "lab.metrics.class_scores",
    "lab.metrics.gathered": "lab.metrics.metric_state",
    "lab.metrics.gathered:gathered": "lab.metrics.metric_state:metric_state",
    "lab.metrics.gathered:put_back": "lab.metrics.metric_state:load_metric_state",
    "lab.metrics.scores": "lab.metrics.image_scores",
    "lab.monitoring": "lab.train.progress",
    "lab.monitoring:Best": "lab.train.progress:BestEpoch",
    "lab.monitoring:Course": "lab.train.progress:TrainerState",
    "lab.monitoring:Watch": "lab.train.progress:FiniteMonitor",
    "lab.outlet": "lab.console.streams",
    "lab.outlet:Outlet": "lab.console.streams:SafeStream",
    "lab.losses.ratios": "lab.losses.terms",
    "lab.predict.batched": "lab.predict.classification",
    "lab.predict.mask_scores": "lab.predict.tables",
    "lab.predict.overlays": "lab.predict.connected_objects",
    "lab.predict.tile_reader": "lab.predict.masks",
    "lab.ratios": "lab.losses.terms",
    "lab.reach": "lab.state.trained_parameters",
    "lab.reach:Reach": "lab.state.trained_parameters:TrainedParameters",
    "lab.record": "lab.config.saved_config",
    "lab.redact:Veil": "lab.console.redacted_output:RedactingStream",
    "lab.redact:veiled": "lab.console.redacted_output:redacted_output",
    "lab.report.evaluation": "lab.report.segmentation",
    "lab.report.evaluation_base:figure": "lab.report.evaluation_base:format_score",
    "lab.report.evaluation_figures": "lab.report.segmentation",
    "lab.report.graphs": "lab.report.scene_graph",
    "lab.report.marks": "lab.report.definition_marks",
    "lab.report.notebook": "lab.report.run_list",
    "lab.report.pages": "lab.report.html_page",
    "lab.report.plain": "lab.report.generic",
    "lab.report.ranking": "lab.report.trial_ranking",
    "lab.report.shelf": "lab.report.static_files",
    "lab.report.svg:figure": "lab.report.svg:svg_figure",
    "lab.report.table": "lab.console.table",
    "lab.rundir": "lab.store.run_folder",
    "lab.rundir:claimed": "lab.store.run_folder:acquire",
    "lab.rundir:full": "lab.store.file_io:storage_message",
    "lab.rundir:held": "lab.store.file_io:file_lock",
    "lab.rundir:is_full": "lab.store.file_io:is_storage_fault",
    "lab.rundir:locked": "lab.store.run_folder:lock",
    "lab.rundir:plain": "lab.store.file_io:as_json_values",
    "lab.rundir:whole": "lab.store.file_io:atomic_open",
    "lab.signals:Heeding": "lab.console.signals:SignalCallback",
    "lab.signals:undisturbed": "lab.console.signals:defer_signals",
    "lab.smp_terms": "lab.losses.smp_losses",
    "lab.tasks.outputs": "lab.tasks.network_outputs",
    "lab.tasks.size": "lab.tasks.sample_count",
    "lab.tiling": "lab.tasks.tiling",
    "lab.wording": "lab.console.formatting",
    "lab.wording:duration": "lab.console.formatting:format_duration",
    "lab.wording:figure": "lab.console.formatting:format_number",
    "lab.wording:some": "lab.console.formatting:format_list",
}
"""Old path -> new path: of a module with all it holds, or of one name in a module, as `module:name`.

Modules that neither a config nor a script had a reason to name have none.
"""

SPLIT = {"lab.callbacks", "lab.inference"}
"""Packages of earlier versions whose modules are in several places now."""


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
        if name in SPLIT:
            return ModuleSpec(name, None, is_package=True)  # each of its modules has an entry of its own
        if (new := current(name)) != name:
            return ModuleSpec(name, _Moved(new))
        # This runs for every module of the program: entries for whole modules are passed over at once.
        moved = ((old.partition(":"), new) for old, new in MOVED.items() if ":" in old)
        names = {old: new for (module, _, old), new in moved if MOVED.get(module, module) == name}
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
