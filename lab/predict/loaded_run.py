"""A finished run as something that can be asked: its network with the weights, and all that belongs to it."""

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
from lab.store import run_folder
from lab.store.redact import hidden, learn, restored
from lab.tasks import Task
from lab.train.runtime import Runtime

T = TypeVar("T")
# Arguments by which networks fetch weights, and their values that fetch none.
_DOWNLOADING: Mapping[str, object] = {"encoder_weights": None, "pretrained": False}


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run's network in eval mode on its device, and what its data said of itself.

    Args:
        weights: the checkpoint that they come from.
        facts: `Splits.facts` of the training; empty for a checkpoint from before there were any.
        group_rule: the rule by which its data was cut.
        state: what the checkpoint keeps of the loss and of attributes.
        notes: what the user should know.
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
    def info(self) -> DatasetInfo:
        """The facts that the program knows, typed."""
        return DatasetInfo.from_facts(self.facts)

    @property
    def classes(self) -> list[str]:
        """Names by index; empty where the data has none."""
        return [str(name) for name in self.info.classes or ()]

    @property
    def channels(self) -> int:
        """How many the network's images have."""
        net, data = self.config.net.arguments, self.config.data.arguments
        known = (self.info.in_channels, net.get("in_channels"), 1 if data.get("grayscale") else 3)
        return next(int(value) for value in known if isinstance(value, int))

    def image_reader(self, value_range: Sequence[float] | None = None) -> ImageReader:
        """Reads images as those of the training were read.

        Args:
            value_range: as for `ImageReader`; by default that of the training.
        Raises:
            ValueError: the network's channels are neither 1 nor 3, or the range is none.
        """
        return ImageReader(self.channels, value_range or self.info.value_range)

    @property
    def ignored(self) -> tuple[int, ...]:
        """Values of the target that the run's loss leaves out, and so every figure; builds the loss."""
        left_out = None
        with suppress(ConfigError):  # a loss whose code is gone: the network can be judged all the same
            left_out = ignored_by(self.config.create_criterion(self.facts))
        return self.task.ignored if left_out is None else left_out

    def create_criterion(self) -> tuple[Any, list[str]]:
        """The run's loss on its device, with what it has learnt; and what the user should know.

        Raises:
            CheckpointError: it doesn't fit.
            ConfigError: it can't be built.
        """
        criterion = self.runtime.place(self.config.create_criterion(self.facts))
        return criterion, restore_loss(self.state, self.weights, criterion, self.runtime.device)

    def predicted(self, *inputs: Any) -> Any:
        """The task's predictions of a batch that lies anywhere, on the network's device."""
        with torch.no_grad(), self.runtime.autocast():
            return self.task.predict(self.task.infer(self.model, *self.runtime.move(inputs)))

    def create_splits(self) -> Splits:
        """The run's data, made anew as the run made it.

        Raises:
            ConfigError: it can't be built any more.
            ValueError: it can't be without a secret, which isn't kept.
        """
        if lacking := [".".join(path) for path in hidden(self.config.as_data()["data"], ("data",))]:
            raise ValueError(
                f"{self.folder}: its data needs {', '.join(lacking)}, which the record doesn't keep; "
                f"write it into {self.folder / run_folder.CONFIG} for as long as it is needed"
            )
        seed_all(self.config.seeds[0])
        try:
            with applied(self.group_rule):
                splits = splits_of(self.config.create_data(), self.config.data.target)
        except ConfigError as error:
            note = "\n".join(filter(None, [error.note, moved_data.hint(self.config)]))
            raise ConfigError(error.problems, note) from error
        except (ValueError, OSError) as error:
            advice = moved_data.hint(self.config)
            raise ValueError(f"{error}\n{advice}" if advice else str(error)) from error
        return splits._replace(val=None) if self.config.val is None else splits


def load(
    folder: Path | str, *, device: str | None = None, data: Mapping[str, object] | None = None
) -> LoadedRun:
    """Read a run's folder, that of a trial, or a study's `best/`; downloads nothing.

    Args:
        data: where the run's data lies now, by path: `{"data.root": "elsewhere"}`; by default as in the
            folder's `config.yaml`.
        device: other than the config says. Without one, a device that this machine doesn't have is replaced
            by the best there is.

    Raises:
        CheckpointError: there are no weights, they are damaged, or they belong to another network.
        ConfigError: the config can't be read, or its network can't be built.
        ValueError: the folder is no run, or several seeds or folds.
    """
    folder = Path(folder)
    notes: list[str] = []
    _require_one_run(folder)
    path = _weights(folder, notes)
    content = load_checkpoint(path)
    # The weights' own config: a study's best/ may be one fold of what its file describes.
    own = content.get("config")
    config = RunConfig.from_yaml(folder / run_folder.CONFIG) if own is None else _config_of(folder, own)
    places = {**moved_data.of_file(folder, config), **(data or {})}
    for name, value in places.items():
        if name not in (data or {}):
            notes.append(f"{name} is {value}, as {folder / run_folder.CONFIG} has it now")
    config = _without_downloads(config).with_values(places)
    runtime = _runtime(config, device, notes)
    facts = content.get("data") or {}
    model = config.create_model(facts)
    try:
        model.load_state_dict(network_state(content))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: doesn't fit the network of {folder / run_folder.CONFIG}: {error}"
        ) from error
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
    """The run's task, which must be of this class.

    Raises:
        ValueError: it is another.
    """
    if not isinstance(loaded.task, kind):
        raise ValueError(
            f"{loaded.folder}: this is for lab.tasks.{kind.__name__}, "
            f"and this run's task is {loaded.config.task.target}"
        )
    return loaded.task


def task_of(folder: Path) -> type | None:
    """The class of a run's task, None where it is made by a function; builds nothing.

    Raises:
        ConfigError: the config can't be read, or names no such task.
    """
    kind = RunConfig.from_yaml(folder / run_folder.CONFIG).task.resolve()
    return kind if isinstance(kind, type) else None


def parts_of(folder: Path) -> list[tuple[Path, str]]:
    """The runs that a folder consists of, each with its name: seeds or folds, or itself under the name ""."""
    below = [] if (folder / run_folder.CHECKPOINTS).is_dir() else run_folder.repeats(folder)
    return [(path, path.name) for path in below] or [(folder, "")]


def missing_parts(folder: Path) -> list[str]:
    """A note where seeds or folds of a run are yet to be trained: without them its mean is of fewer.

    Raises:
        ConfigError: the config can't be read.
    """
    there = {name for _, name in parts_of(folder)}
    if there == {""}:
        return []
    wanted = RunConfig.from_yaml(folder / run_folder.CONFIG).repeats
    missing = [name for name in wanted if name not in there]
    return [f"{len(missing)} of {len(wanted)} are not there yet: {', '.join(missing)}"] if missing else []


def _require_one_run(folder: Path) -> None:
    if not (folder / run_folder.CONFIG).is_file():
        raise ValueError(f"{folder}: is no run: it holds no {run_folder.CONFIG}")
    below = run_folder.repeats(folder)
    if below and not (folder / run_folder.CHECKPOINTS).is_dir():
        each = "\n".join(f"  {path}" for path in below)
        raise ValueError(f"{folder}: consists of {len(below)} runs; name one of them:\n{each}")


def _weights(folder: Path, notes: list[str]) -> Path:
    """The best checkpoint; the last one of a finished run where that is all there is."""
    checkpoints = folder / run_folder.CHECKPOINTS
    for path in (checkpoints / "best.pt", folder / "best.pt"):
        if path.is_file():
            return path
    final = checkpoints / "final.pt"
    if final.is_file():
        notes.append(f"there is no best.pt: the weights are those of the last epoch, {final}")
        return final
    raise CheckpointError(f"{checkpoints}: holds neither best.pt nor final.pt, so there are no weights")


def _config_of(folder: Path, own: Mapping[str, Any]) -> RunConfig:
    """What the weights were trained by; a secret that it hides is taken from the folder's file, if any.

    A file that was copied here from elsewhere need not be like it.
    """
    if any(hidden(own)):
        with suppress(ConfigError):
            own = restored(own, RunConfig.from_yaml(folder / run_folder.CONFIG).as_data())
    learn(own)
    return validate(RunConfig, own)


def _without_downloads(config: RunConfig) -> RunConfig:
    """Pretrained weights would be fetched and then replaced: the same network without them."""
    try:
        parameters = signature_of(config.net.resolve()).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    named = [name for name in _DOWNLOADING if name in parameters or name in config.net.arguments]
    return config.with_values({f"net.{name}": _DOWNLOADING[name] for name in named})


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
