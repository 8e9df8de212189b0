"""The settings of one run."""

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lab.config import config_file, no_validation
from lab.config.base import Count, Flag, Number
from lab.config.build_components import build, filled, named, size
from lab.config.component_spec import Look, Spec
from lab.config.dataset_info import Facts
from lab.config.facts import arguments_of
from lab.config.file_config import FileConfig
from lab.config.import_policy import closed_in
from lab.config.import_target import resolve
from lab.config.optimizer_groups import build_optimizer, option_problems, require_own_rate
from lab.config.problems import ConfigError, Path, Problem, did_you_mean
from lab.config.sections import (
    AUTO,
    OF_A_WHOLE_RUN,
    CheckpointConfig,
    DiagnosticsConfig,
    EarlyStoppingConfig,
    EMAConfig,
    LoaderConfig,
    Monitor,
    MonitorOrName,
    PicturesConfig,
    SchedulerSpec,
    Seeds,
    Tracker,
)
from lab.config.tracker_config import TrackerConfig
from lab.config.validation import validate
from lab.config.yaml_writer import plain

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_LATER = "Fix these first; the arguments of components are checked afterwards."
MORE = "Fix these first; component-specific checks run afterwards."


class RunConfig(FileConfig):
    """One experiment: `from_yaml` reads it, `util.run` runs it."""

    project: str = Field("lab", min_length=1, description="the project that the run belongs to")
    name: str = Field("run", min_length=1, description="part of the run folder's name")
    seeds: Seeds = Field((0,), min_length=1, description="a run for each; the result is their mean")
    folds: Annotated[int, Field(strict=True, ge=2)] | None = Field(
        None,
        description="cross-validation: a run for each fold; as many as images, or groups, is leave-one-out",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto, cpu, cuda, cuda:1 or mps; auto: the best there is",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the forward pass; fp16 comes with a gradient scaler"
    )
    epochs: Count = Field(10, description="passes over the training data, at most")
    batch_size: Count = Field(32, description="samples in a batch")
    task: Spec = Field(Spec(target="lab.tasks.Regression"), description="what a batch means")
    data: Spec = Field(description="the data source: a function that returns (train, val) or more")
    val: Literal["auto", None] = Field("auto", description="null: no validation; monitor is then train_loss")
    net: Spec = Field(description="the network, a torch.nn.Module")
    criterion: Spec = Field(
        Spec(target="torch.nn.MSELoss"), description="the loss: a class, or a function (prediction, target)"
    )
    metrics: dict[str, Spec] = Field(
        default_factory=dict, description="name -> component; logged as val_<name>"
    )
    optimizer: Spec = Field(
        default_factory=lambda: Spec.model_validate({"target": "torch.optim.AdamW", "lr": 1e-3}),
        description="gets the parameters from the run; default: torch.optim.AdamW with lr 1e-3",
    )
    criterion_optimizer: dict[str, Any] = Field(
        default_factory=dict,
        description="optimizer options that differ for the loss's own parameters, such as lr",
    )
    scheduler: SchedulerSpec | None = Field(
        None, description="moves the learning rate; gets the optimizer from the run"
    )
    early_stopping_config: EarlyStoppingConfig | None = Field(None, description="null: never stop early")
    monitor: MonitorOrName = Field(Monitor(), description="the metric that decides which epoch is best")
    checkpoint: CheckpointConfig = Field(
        CheckpointConfig(), description="checkpoints to keep besides last and best"
    )
    trackers: tuple[Tracker, ...] = Field((), description="experiment trackers, besides the local record")
    loader: LoaderConfig = Field(LoaderConfig(), description="how batches are read")
    gradient_clip_norm: Number | None = Field(None, gt=0, description="largest norm of all gradients")
    steps_per_epoch: Count | None = Field(
        None, description="training batches of an epoch, for a stream (IterableDataset) without __len__"
    )
    accumulate_grad_batches: Count = Field(1, description="batches that make one optimizer step")
    check_gradients: Flag = Field(False, description="stop at a gradient that is not finite, too")
    ema: EMAConfig | None = Field(None, description="null: no average of the weights is kept")
    compile: Flag | str = Field(False, description="torch.compile; a text names its backend")
    channels_last: Flag = Field(False, description="memory layout of images; often faster for convolutions")
    deterministic: Flag = Field(False, description="avoid kernels whose result varies from run to run")
    threads: Count | None = Field(None, description="CPU threads that compute; null: torch's choice")
    log_every_steps: Count = Field(10, description="how often the progress line reads the loss")
    diagnostics: DiagnosticsConfig = Field(
        DiagnosticsConfig(), description="thresholds for warnings about the training"
    )
    pictures: PicturesConfig = Field(PicturesConfig(), description="panels of predictions")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("the same seed is listed twice")
        return value

    @model_validator(mode="after")
    def _meaningful(self) -> "RunConfig":
        if self.check_gradients and self.precision == "fp16":
            message = "does nothing with precision: fp16, whose scaler skips such steps; remove one of them"
            raise ConfigError([Problem(("check_gradients",), message)])
        if self.folds is not None and len(self.seeds) > 1:
            message = f"doesn't go with {len(self.seeds)} seeds; keep one seed, or set folds to null"
            raise ConfigError([Problem(("folds",), message)])
        if self.val is None:
            no_validation.with_training_defaults(self)
            ConfigError.raise_if(no_validation.problems_without_validation(self))
        return self

    @property
    def main_loss(self) -> str:
        """The loss that sums up an epoch: validation's where there is one."""
        return no_validation.TRAIN_LOSS if self.val is None else no_validation.VAL_LOSS

    @field_validator("trackers")
    @classmethod
    def _one_of_each(cls, value: tuple[Tracker, ...]) -> tuple[Tracker, ...]:
        kinds = [tracker.type for tracker in value if not isinstance(tracker, Spec)]
        if len(set(kinds)) < len(kinds):
            raise ValueError("the same tracker is listed twice")
        return value

    @field_validator("metrics")
    @classmethod
    def _metric_names(cls, value: dict[str, Spec]) -> dict[str, Spec]:
        message = "can't name a metric; use letters, digits and _, and not 'loss'"
        wrong = [name for name in value if not re.fullmatch(r"[A-Za-z]\w*", name) or name == "loss"]
        ConfigError.raise_if(Problem((name,), message) for name in wrong)
        return value

    @classmethod
    def from_yaml(cls, path: str | FilePath, overrides: list[str] | None = None) -> "RunConfig":
        """Read and validate; `overrides` are `path=value` texts.

        Raises:
            ConfigError: with every problem, each with file, line and dotted path.
        """
        return cls.from_document(config_file.read(path), overrides)

    @classmethod
    def from_document(cls, document: config_file.Document, overrides: list[str] | None = None) -> "RunConfig":
        """The same, from a document that is read already."""
        document = config_file.override(document, overrides or [], cls.defaults())
        with document.locating():
            problems = list(document.problems)
            with ConfigError.collected(problems):
                config = validate(cls, document.data)
            ConfigError.raise_if(problems, _LATER)
        return config

    def with_values(self, values: Mapping[str, object]) -> "RunConfig":
        """A copy with some dotted paths set, validated again.

        Raises:
            ConfigError: a path doesn't exist, or the result isn't valid.
        """
        # Without defaults, which may depend on what is set.
        data: dict[str, object] = plain(self.model_dump(exclude_unset=True))
        defaults, problems = self.defaults(), list[Problem]()
        for name, value in values.items():
            path = config_file.split(name)
            if not path:
                problems.append(Problem((), f"'{name}' is no path such as optimizer.lr"))
                continue
            with ConfigError.collected(problems):
                config_file.set_value(data, path, plain(value), defaults)
        ConfigError.raise_if(problems)
        return validate(type(self), data)

    @property
    def repeats(self) -> dict[str, dict[str, object]]:
        """The single runs in this one, a seed or a fold each: folder name -> what is set in it."""
        if self.folds is None:
            return {f"seed_{seed}": {"seeds": [seed]} for seed in self.seeds}
        whole: dict[str, object] = {"folds": None, "data.folds": self.folds}
        return {f"fold_{fold}": {**whole, "data.fold": fold} for fold in range(self.folds)}

    def check(self) -> None:
        """Check every component's import path and arguments against its real signature; builds nothing.

        Raises:
            ConfigError: with every problem found.
        """
        ConfigError.raise_if(self.early_problems(), MORE)
        problems = [*self._check_components(resolve), *self._check_closure(), *self._check_monitored()]
        ConfigError.raise_if(problems)

    def early_problems(self) -> list[Problem]:
        """Problems found before anything is imported: closed import paths, and what the sources show."""
        if problems := list(closed_in(self.as_data())):
            return problems
        if "torch" in sys.modules:  # then the check of the real signatures is as fast
            return []
        from lab.config.signature_stubs import look

        problems = self._check_components(look)
        return [*problems, *self._check_monitored()]

    def _check_components(self, look: Look) -> list[Problem]:
        problems: list[Problem] = []
        # With folds, the data gets arguments that the file doesn't have.
        data = self.data if self.folds is None else self.with_values(self.repeats["fold_0"]).data
        components: list[tuple[Path, Spec, tuple[str, ...], str | None]] = [
            (("task",), self.task, (), AUTO),
            (("data",), data, (), None),
            (("net",), self.net, (), AUTO),
            (("optimizer",), self.optimizer, ("params",), None),
            *((("metrics", name), spec, (), AUTO) for name, spec in self.metrics.items()),
            *((("trackers", i), t, (), None) for i, t in enumerate(self.trackers) if isinstance(t, Spec)),
        ]
        if self.scheduler is not None:
            components.append((("scheduler",), self.scheduler, ("optimizer",), AUTO))
        for path, spec, runtime, wildcard in components:
            found = spec.check(*runtime, wildcard=wildcard, look=look)
            problems += [problem.below(path) for problem in found]
        options = option_problems(self.optimizer, self.criterion_optimizer, look)
        return [*problems, *self._check_criterion(look), *options]

    def _check_criterion(self, look: Look) -> list[Problem]:
        with ConfigError.collected() as found:
            is_class = isinstance(look(self.criterion.target), type)
            runtime = () if is_class else ("prediction", "target")
            found += self.criterion.check(*runtime, wildcard=AUTO, look=look)
        return [problem.below(("criterion",)) for problem in found]

    def _check_closure(self) -> list[Problem]:
        """Refuse an optimizer such as LBFGS, whose steps need a closure: the loop has none."""
        try:
            step = inspect.signature(self.optimizer.resolve().step)  # type: ignore[attr-defined]
        except (ConfigError, AttributeError, ValueError):
            return []  # reported already, or a function that makes an optimizer
        closure = step.parameters.get("closure")
        if closure is None or closure.default is not closure.empty:
            return []
        message = f"{self.optimizer.target} needs a closure, and the loop gives none; take another"
        return [Problem(("optimizer", "target"), message)]

    def _check_monitored(self) -> list[Problem]:
        """Check the names of watched values; those of a task's named losses are known later."""
        known = {"lr", *(f"{phase}_{name}" for phase in ("train", "val") for name in ("loss", *self.metrics))}
        return [
            Problem(path, f"no epoch logs '{name}'; only a study's further objectives may be this")
            if name in OF_A_WHOLE_RUN
            else Problem(path, f"nothing is logged as '{name}'{did_you_mean(name, known)}")
            for path, name in no_validation.watched(self)
            if name not in (known if "also" not in path else known.union(OF_A_WHOLE_RUN))
            and not name.startswith(("train_loss_", "val_loss_"))
        ]

    def create_model(self, facts: Facts | None = None) -> "nn.Module":
        """Build the network.

        Args:
            facts: metadata of the dataset: `net.classes: auto` becomes the number of its classes (1 where
                the task separates two by one logit), `in_channels` and `sequences` likewise.
        """
        model: nn.Module = build(self.net, ("net",), **named(self.net, ("net",), self._sizes(facts or {})))
        return model

    def _sizes(self, facts: Facts) -> dict[str, Any]:
        """The sizes of the data's facts, for a network's `auto` arguments: how many there are of each."""
        sizes = {name: size(value) for name, value in facts.items()}
        if sizes.get("classes") == 2 and getattr(self.task.resolve(), "one_logit", False):
            sizes["classes"] = 1
        return {name: size for name, size in sizes.items() if size is not None}

    def create_optimizer(
        self, model: "nn.Module", criterion: object = None, task: object = None
    ) -> "Optimizer":
        """Build the optimizer over the parameters of the network, and in another group those of the loss."""
        from lab.config.held_modules import trained_in

        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise ConfigError([Problem(("net",), "the network has no parameters to train")])
        loss = trained_in(model.parameters(), criterion=criterion, task=task)
        return build_optimizer(self.optimizer, parameters, loss, self.criterion_optimizer)

    def create_scheduler(
        self, optimizer: "Optimizer", *, steps_per_epoch: int | None = None
    ) -> "LRScheduler | None":
        """Build the scheduler, or None; `auto` becomes the run's number of epochs, or of steps."""
        if self.scheduler is None:
            return None
        length = self.epochs
        if self.scheduler.interval == "step":
            length = self.epochs * (steps_per_epoch or 1)
        arguments = filled(self.scheduler.arguments, length)
        scheduler: LRScheduler = build(self.scheduler, ("scheduler",), optimizer, **arguments)
        require_own_rate(optimizer, self.scheduler.target, self.criterion_optimizer)
        return scheduler

    def create_criterion(self, facts: Facts | None = None) -> Any:
        """Build the loss, `criterion(prediction, target) -> scalar tensor`; a function is used as it is.

        Args:
            facts: metadata of the dataset: `criterion.class_weights: auto` becomes the value there.
        """
        known = named(self.criterion, ("criterion",), arguments_of(facts))
        with ConfigError.within(("criterion",)):
            return self.criterion.as_function(**known)

    def create_metrics(self, facts: Facts | None = None) -> dict[str, Any]:
        """Build a fresh set of metrics by name; `auto` as in the loss."""
        paths = {name: ("metrics", name) for name in self.metrics}
        known = arguments_of(facts)
        return {
            name: build(spec, paths[name], **named(spec, paths[name], known))
            for name, spec in self.metrics.items()
        }

    def create_task(self, facts: Facts | None = None) -> Any:
        """Build the task, which knows what a batch means; `auto` as in the loss."""
        return build(self.task, ("task",), **named(self.task, ("task",), arguments_of(facts)))

    def create_data(self) -> Any:
        """Build the data: `(train, val)` or `(train, val, test)` datasets."""
        return build(self.data, ("data",))

    @property
    def shipped_trackers(self) -> list[TrackerConfig]:
        """The trackers that are ours; `lab.trackers` builds them."""
        return [tracker for tracker in self.trackers if not isinstance(tracker, Spec)]

    def create_trackers(self) -> list[Any]:
        """Build the user's own trackers; the shipped ones are built from their config by `lab.trackers`."""
        own = [(i, t) for i, t in enumerate(self.trackers) if isinstance(t, Spec)]
        return [build(spec, ("trackers", index)) for index, spec in own]
