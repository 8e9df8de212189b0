"""A finished run, loaded for inference: its network with weights, config, task and data facts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from lab.checkpoint import CheckpointError, network_state
from lab.checkpoint import load as load_checkpoint
from lab.config import ConfigError, RunConfig
from lab.config.dataset_info import DatasetInfo, Facts
from lab.config.group_split_rule import GroupRule, applied, recorded
from lab.config.held_modules import modules_in
from lab.config.signatures import signature_of
from lab.config.validation import validate
from lab.data.image_reader import ImageReader
from lab.data.splits import Splits, splits_of
from lab.losses.terms import ignored_by
from lab.predict import moved_data
from lab.predict.restored_state import restore_attributes, restore_loss
from lab.rng.seeding import seed_all
from lab.store import paths, run_folder
from lab.store.redact import hidden, learn, restored
from lab.tasks import Task
from lab.train.runtime import Runtime

T = TypeVar("T")
# Arguments by which networks fetch weights, and their values that fetch none.
_DOWNLOADING: Mapping[str, object] = {"encoder_weights": None, "pretrained": False}


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run's network in eval mode on its device, and the facts of its training data.

    Args:
        weights: the checkpoint that they come from.
        facts: `Splits.facts` of the training; empty for a checkpoint from before there were any.
        group_rule: the rule by which its data was cut.
        state: what the checkpoint keeps of the loss and of attributes.
        notes: warnings for the user.
    """

    folder: Path
    weights: Path
    epoch: int
    config: RunConfig
    model: nn.Module
    task: Task
    runtime: Runtime
    facts: Facts
    group_rule: GroupRule
    state: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The run's folder, as messages show it."""
        return paths.shown(self.folder)

    @property
    def info(self) -> DatasetInfo:
        """The facts that the program uses, typed."""
        return DatasetInfo.from_facts(self.facts)

    @property
    def classes(self) -> list[str]:
        """Names by index; empty where the data has none."""
        return [str(name) for name in self.info.classes or ()]

    @property
    def channels(self) -> int:
        """The number of channels of the network's images."""
        net, data = self.config.net.arguments, self.config.data.arguments
        known = (self.info.in_channels, net.get("in_channels"), 1 if data.get("grayscale") else 3)
        return next(int(value) for value in known if isinstance(value, int))

    def image_reader(self, value_range: Sequence[float] | None = None) -> ImageReader:
        """Return a reader that reads images like those of the training.

        Args:
            value_range: as for `ImageReader`; by default that of the training.
        Raises:
            ValueError: the network's channels are neither 1 nor 3, or the range is invalid.
        """
        return ImageReader(self.channels, value_range or self.info.value_range)

    @property
    def ignored(self) -> tuple[int, ...]:
        """Values of the target that the run's loss ignores, and so every metric; builds the loss."""
        left_out = None
        with suppress(ConfigError):  # a loss whose code is gone: the network can still be evaluated
            left_out = ignored_by(self.config.create_criterion(self.facts))
        return self.task.ignored if left_out is None else left_out

    def create_criterion(self) -> tuple[Any, list[str]]:
        """Return the run's loss on its device, with its trained state, and notes for the user.

        Raises:
            CheckpointError: it doesn't fit.
            ConfigError: it can't be built.
        """
        criterion = self.runtime.place(self.config.create_criterion(self.facts))
        return criterion, restore_loss(self.state, self.weights, criterion, self.runtime.device)

    def predicted(self, *inputs: Any) -> Any:
        """Return the task's predictions for a batch on any device; they are on the network's device."""
        with torch.no_grad(), self.runtime.autocast():
            return self.task.predict(self.task.infer(self.model, *self.runtime.move(inputs)))

    def create_splits(self) -> Splits:
        """Rebuild the run's data.

        Raises:
            ConfigError: it can't be built any more.
            ValueError: it needs a secret, which isn't stored.
        """
        if lacking := [".".join(path) for path in hidden(self.config.as_data()["data"], ("data",))]:
            raise ValueError(
                f"{self.place}: its data needs {', '.join(lacking)}, which is a secret and not stored; "
                f"write it into {paths.shown(self.folder / run_folder.CONFIG)} while it is needed"
            )
        # Sources may split or generate by the global generators, as they did in the training.
        seed_all(self.config.seeds[0])
        try:
            with applied(self.group_rule):
                splits = splits_of(self.config.create_data(), self.config.data.target)
        except ConfigError as error:
            note = "\n".join(filter(None, [error.note, moved_data.hint(self.config)]))
            raise ConfigError(error.problems, note) from error
        except (ValueError, OSError) as error:
            raise ValueError("\n".join(filter(None, [str(error), moved_data.hint(self.config)]))) from error
        return splits._replace(val=None) if self.config.val is None else splits


def load(
    folder: Path | str, *, device: str | None = None, data: Mapping[str, object] | None = None
) -> LoadedRun:
    """Read a run's folder, that of a trial, or a study's `best/`; downloads nothing.

    Args:
        data: new locations of the run's data, by path: `{"data.root": "elsewhere"}`; by default as in the
            folder's `config.yaml`.
        device: overrides the config's. By default a device that this machine doesn't have is replaced by the
            best available one.

    Raises:
        CheckpointError: there are no weights, they are damaged, or they belong to another network.
        ConfigError: the config can't be read, or its network can't be built.
        ValueError: the folder is no run, or several seeds or folds.
    """
    folder = paths.absolute(folder)
    notes: list[str] = []
    _require_one_run(folder)
    path = _weights(folder, notes)
    content = load_checkpoint(path)
    # The weights' own config: a study's best/ may be one fold of what its file describes.
    own = content.get("config")
    config = RunConfig.from_yaml(folder / run_folder.CONFIG) if own is None else _config_of(folder, own)
    # Only the location of the data may differ from the training: first the folder's file, then the caller.
    places = {**moved_data.of_file(folder, config), **(data or {})}
    for name, value in places.items():
        if name not in (data or {}):
            notes.append(f"{name} is {value}, as currently set in {paths.shown(folder / run_folder.CONFIG)}")
    # The checkpoint replaces all weights, so pretrained ones need no download.
    config = _without_downloads(config).with_values(places)
    runtime = _runtime(config, device, notes)
    facts = content.get("data") or {}
    model = config.create_model(facts)
    try:
        model.load_state_dict(network_state(content))
    except RuntimeError as error:
        raise CheckpointError(
            f"{paths.shown(path)}: doesn't fit the network of {paths.shown(folder / run_folder.CONFIG)}: "
            f"{error}"
        ) from error
    # A task may hold modules too, such as a teacher: they predict in eval mode like the network.
    task = runtime.place(config.create_task(facts))
    for module in modules_in(task):
        module.eval()
    notes += restore_attributes(content, model, task, runtime.device)
    return LoadedRun(
        folder=folder,
        weights=path,
        epoch=int((content.get("course") or {}).get("epoch", 0)),
        config=config,
        model=runtime.place_network(model.eval().requires_grad_(False)),
        task=task,
        runtime=runtime,
        facts=facts,
        group_rule=recorded(content),
        state={name: content[name] for name in ("criterion", "components") if name in content},
        notes=tuple(notes),
    )


def require_task(loaded: LoadedRun, kind: type[T]) -> T:
    """Return the run's task, which must be of this class.

    Raises:
        ValueError: it is of another class.
    """
    if not isinstance(loaded.task, kind):
        raise ValueError(
            f"{loaded.place}: expected a run with the task lab.tasks.{kind.__name__}, "
            f"found {loaded.config.task.target}"
        )
    return loaded.task


def task_of(folder: Path) -> type | None:
    """Return the class of a run's task, None where a function creates it; builds nothing.

    Raises:
        ConfigError: the config can't be read, or names no such task.
    """
    kind = RunConfig.from_yaml(folder / run_folder.CONFIG).task.resolve()
    return kind if isinstance(kind, type) else None


def parts_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the runs of a folder with their names: seeds or folds, or itself with the name ""."""
    below = [] if (folder / run_folder.CHECKPOINTS).is_dir() else run_folder.repeats(folder)
    return [(path, path.name) for path in below] or [(folder, "")]


def missing_parts(folder: Path) -> list[str]:
    """Return a note if seeds or folds of a run are not trained yet, so that its mean is over fewer.

    Raises:
        ConfigError: the config can't be read.
    """
    there = {name for _, name in parts_of(folder)}
    if there == {""}:
        return []
    wanted = RunConfig.from_yaml(folder / run_folder.CONFIG).repeats
    missing = [name for name in wanted if name not in there]
    return [f"{len(missing)} of {len(wanted)} are not trained yet: {', '.join(missing)}"] if missing else []


def _require_one_run(folder: Path) -> None:
    if not (folder / run_folder.CONFIG).is_file():
        raise ValueError(f"{paths.shown(folder)}: not a run folder: it has no {run_folder.CONFIG}")
    below = run_folder.repeats(folder)
    if below and not (folder / run_folder.CHECKPOINTS).is_dir():
        each = "\n".join(f"  {paths.shown(path)}" for path in below)
        raise ValueError(f"{paths.shown(folder)}: consists of {len(below)} runs; name one of them:\n{each}")


def _weights(folder: Path, notes: list[str]) -> Path:
    """Return the best checkpoint; of a finished run without one, the last."""
    checkpoints = folder / run_folder.CHECKPOINTS
    for path in (checkpoints / "best.pt", folder / "best.pt"):
        if path.is_file():
            return path
    final = checkpoints / "final.pt"
    if final.is_file():
        notes.append(f"there is no best.pt: the weights are those of the last epoch, {paths.shown(final)}")
        return final
    raise CheckpointError(
        f"{paths.shown(checkpoints)}: no weights found: neither best.pt nor final.pt exists"
    )


def _config_of(folder: Path, own: Mapping[str, Any]) -> RunConfig:
    """Return the config that the weights were trained with; redacted secrets are read from the folder's file.

    A file that was copied here from elsewhere may differ from it.
    """
    if any(hidden(own)):
        with suppress(ConfigError):
            own = restored(own, RunConfig.from_yaml(folder / run_folder.CONFIG).as_data())
    learn(own)
    return validate(RunConfig, own)


def _without_downloads(config: RunConfig) -> RunConfig:
    """Return the config without pretrained weights: they would be downloaded and then replaced."""
    try:
        parameters = signature_of(config.net.resolve()).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    named = [name for name in _DOWNLOADING if name in parameters or name in config.net.arguments]
    return config.with_values({f"net.{name}": _DOWNLOADING[name] for name in named})


def _runtime(config: RunConfig, device: str | None, notes: list[str]) -> Runtime:
    # Compiling costs more than the few batches of an evaluation save.
    config = config.with_values({"compile": False, **({} if device is None else {"device": device})})
    try:
        return Runtime.from_config(config)
    except ConfigError:
        if device is not None:
            raise
    runtime = Runtime.from_config(config.with_values({"device": "auto"}))
    notes.append(f"the run's device {config.device} is not available; using {runtime.device}")
    return runtime
