"""The settings of one study: a base run, its search space, and how that is searched."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from lab.config import config_file
from lab.config.base import Count, Number, Whole
from lab.config.component_spec import Spec
from lab.config.constraints import Constraint, Constraints
from lab.config.enqueued_trials import enqueue_problems
from lab.config.file_config import FileConfig
from lab.config.problems import ConfigError, Path, Problem, ProblemKind, did_you_mean, dotted, shown
from lab.config.run_config import RunConfig
from lab.config.search_parameters import Parameter
from lab.config.search_points import can_be_listed, every
from lab.config.search_space import KEY, Space
from lab.config.sections import OF_A_WHOLE_RUN, Monitor, Objective
from lab.config.study_check import problems_of, shapes_of
from lab.config.study_fields import (
    ConfirmConfig,
    Device,
    Duration,
    RetentionConfig,
    Storage,
    StudyName,
    full_pruner,
    full_sampler,
)
from lab.config.study_file import StudyDocument, expand, is_study
from lab.config.validation import validate
from lab.config.yaml_writer import plain

__all__ = ["OptimizeConfig", "is_study"]
_LATER = "Fix these first; components, sampler and pruner are checked afterwards."
_GRIDS = ("GridSampler", "BruteForceSampler")
N_TRIALS = 20
# Keys of a run that a study can't search, and why.
FIXED = {
    "monitor": "is what the study optimizes, the same for all trials",
    "val": "decides what the study can optimize, the same for all trials",
    "seeds": "would find the luckiest seed; several seeds in the run make a trial's value their mean",
    "folds": "would evaluate trials on different images; folds in the run make a trial's value their mean",
    "trackers": "doesn't change what a trial is worth",
    "project": "only names a run",
    "name": "only names a run",
    "checkpoint": "doesn't change what a trial is worth",
    "pictures": "doesn't change what a trial is worth",
    "diagnostics": "doesn't change what a trial is worth",
    "log_every_steps": "doesn't change what a trial is worth",
    "device": "is assigned by the study; see devices",
    "threads": "is divided by the study among its workers",
}


def _run_data(value: object) -> object:
    """The plain data of a sound run."""
    if isinstance(value, str):
        raise ConfigError([Problem((), "is a path, and only from_yaml knows what it is relative to")])
    if not isinstance(value, Mapping):
        raise ConfigError([Problem((), f"found {shown(value)}, expected a run's file, or a run's mapping")])
    validate(RunConfig, value)
    return plain(value)


Run = Annotated[dict[Any, Any], BeforeValidator(_run_data, json_schema_input_type=str | RunConfig)]


class OptimizeConfig(FileConfig):
    """One study: `from_yaml` reads it, and it holds its base run from then on."""

    study_name: StudyName = Field(description="names the study in the storage, and its folder")
    run: Run = Field(
        description="the base run: a file, relative to this one, or a mapping; its monitor is the objective"
    )
    set: dict[str, Any] = Field(
        default_factory=dict, description="dotted path into the run -> value, for all trials"
    )
    storage: Storage = Field("sqlite:///studies.db", description="sqlite:///FILE or postgresql://...")
    n_trials: Count | None = Field(
        None, description=f"trials in total; null: {N_TRIALS}, or as many points as a grid has"
    )
    time_budget: Duration | None = Field(
        None,
        description="of work, over all calls; then trials stop after their epoch and can be resumed; 30m, 8h",
    )
    trial_timeout: Duration | None = Field(None, description="a trial that takes longer is stopped")
    seed: Whole = Field(0, description="random seed of the sampler")
    sampler: Annotated[Spec, BeforeValidator(full_sampler, json_schema_input_type=Spec)] = Field(
        Spec(target="optuna.samplers.TPESampler"), description="an optuna.samplers.BaseSampler"
    )
    pruner: Annotated[Spec, BeforeValidator(full_pruner, json_schema_input_type=Spec)] | None = Field(
        None, description="an optuna.pruners.BasePruner; null: every trial runs to its end"
    )
    prune_on: str | None = Field(None, description="the objective that prunes, of several; null: the first")
    workers: Count | None = Field(None, description="trials at a time; null: one for each of the devices")
    devices: tuple[Device, ...] = Field((), description="assigned to trials in turn; empty: the run's device")
    isolation: Literal["process", "none"] = Field(
        "process", description="process: a trial that crashes affects nothing else; none: in this process"
    )
    search_space: dict[str, Parameter] = Field(
        description="dotted path into the run -> what to try", json_schema_extra={"minProperties": 1}
    )
    constraints: tuple[Constraint, ...] = Field(
        (),
        description="conditions on a point, such as net.width % net.heads == 0, or import paths of functions",
    )
    enqueue: tuple[dict[str, Any], ...] = Field(
        (), description="points to try first, each once; parameters that one leaves out are sampled"
    )
    retention: RetentionConfig = Field(RetentionConfig(), description="trials whose weights are kept")
    preflight: Literal["cheap", "full", "off"] = Field(
        "cheap", description="checks before the first trial; full: a batch at each corner of the search space"
    )
    on_oom: Literal["infeasible", "accumulate"] = Field(
        "infeasible",
        description="out of memory: record the worst value, or retry with half the batch, accumulated",
    )
    max_consecutive_failures: Count = Field(
        3, description="stop the study after the same failure this many times in a row"
    )
    max_attempts: Count = Field(2, description="attempts for a trial whose process dies without progress")
    lease_seconds: Number = Field(
        60.0, gt=0, description="silence after which another machine's trial is taken over"
    )
    confirm: ConfirmConfig | None = Field(
        None, description="rerun the best trials on fresh seeds; null: don't"
    )
    _document: StudyDocument | None = PrivateAttr(default=None)

    @field_validator("set")
    @classmethod
    def _known_settings(cls, value: dict[str, object]) -> dict[str, object]:
        ConfigError.raise_if(problem for name in value for problem in _path_problems(name))
        return value

    @field_validator("devices")
    @classmethod
    def _distinct_devices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("the same device is listed twice; workers: N puts several trials on one")
        return value

    @field_validator(KEY)
    @classmethod
    def _known_space(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ConfigError([Problem((), "is empty; give at least one parameter to search")])
        problems = [problem for name in value for problem in _path_problems(name)]
        for name in value:
            key = str((config_file.split(name) or ("",))[0])
            if key in FIXED:
                problems.append(Problem((name,), f"can't be searched: {key} {FIXED[key]}"))
        with ConfigError.collected() as inner:
            Space(value)
        reported = {problem.path for problem in problems}
        # A path that has a problem already is reported once.
        problems += [replace(p, path=p.path[1:]) for p in inner if p.path[1:] not in reported]
        ConfigError.raise_if(problems)
        return value

    @model_validator(mode="after")
    def _meaningful(self) -> "OptimizeConfig":
        ConfigError.raise_if(self._contradictions())
        with ConfigError.collected() as problems:
            known = [o.metric for o in self.monitors if o.metric not in OF_A_WHOLE_RUN]
        ConfigError.raise_if(self.in_base(problem, sound=True) for problem in problems)
        if self.prune_on in OF_A_WHOLE_RUN:
            message = f"'{self.prune_on}' is known at a trial's end only{did_you_mean('', known)}"
            raise ConfigError([Problem(("prune_on",), message)])
        if self.prune_on is not None and self.prune_on not in known:
            hint = did_you_mean(self.prune_on, known)
            raise ConfigError([Problem(("prune_on",), f"the monitor has no '{self.prune_on}'{hint}")])
        found = self.feasibility.problems()
        ConfigError.raise_if([*found, *enqueue_problems(self, constrained=not found)])
        return self

    def _contradictions(self) -> Iterator[Problem]:
        paths = {config_file.split(name): name for name in self.search_space}
        for name in self.set:
            if config_file.split(name) in paths:
                message = f"is searched, too, as '{paths[config_file.split(name)]}'; remove one of them"
                yield Problem(("set", name), message)
        if self.pruner is not None and ("epochs",) in paths:
            message = "can't be searched with a pruner, which compares trials epoch by epoch"
            yield Problem((KEY, paths[("epochs",)]), f"{message}; remove one of them")
        if self.prune_on is not None and self.pruner is None:
            yield Problem(("prune_on",), "has no effect without a pruner")
        if self.isolation == "none" and self.n_workers > 1:
            key = "workers" if self.workers is not None else "devices"
            message = f"{self.n_workers} trials at a time need processes; remove isolation: none, or this"
            yield Problem((key,), message)

    def in_base(self, problem: Problem, sound: bool = False) -> Problem:
        """A problem with the base run, at the setting that brought it in, or in the run.

        Args:
            sound: the run alone has no problem of this kind.
        """
        paths = {name: config_file.split(name) for name in self.set}
        for name, path in paths.items():
            if problem.path[: len(path)] == path:
                return replace(problem, path=("set", name, *problem.path[len(path) :]))
        near = [name for name, path in paths.items() if path[:1] == problem.path[:1]]
        if sound and near:
            within = paths[near[-1]][: len(problem.path)] == problem.path
            about = "" if within else f"{dotted(problem.path)}: "
            return replace(problem, path=("set", near[-1]), message=f"{about}{problem.message}")
        return problem.below(("run",))

    @classmethod
    def read(cls, path: str | FilePath, overrides: Sequence[str] | None = None) -> StudyDocument:
        """A study's file with its base run inside and `--set` laid on, for `from_document`.

        Raises:
            ConfigError: it is missing, or can't be read.
        """
        return expand(config_file.read(path), overrides or [], cls.defaults())

    @classmethod
    def from_yaml(cls, path: str | FilePath, overrides: Sequence[str] | None = None) -> "OptimizeConfig":
        """Read and validate a study's file and its base run; `overrides` are `path=value` texts.

        Raises:
            ConfigError: with every problem, each with file, line and dotted path.
        """
        return cls.from_document(cls.read(path, overrides))

    @classmethod
    def from_document(
        cls, document: config_file.Document, overrides: Sequence[str] | None = None
    ) -> "OptimizeConfig":
        """The same, from a document that is read already: any, or one of `read`."""
        study = expand(document, overrides or [], cls.defaults())
        problems = list(study.problems)
        try:
            # A run that couldn't be read is reported already; that it is missing is no second problem.
            config = validate(cls, study.data)
        except ConfigError as error:
            unread = ("run",) if study.run_unread else ()
            problems += [_of_the_run(p) for p in error.problems if not unread or p.path[:1] != unread]
        if problems:
            raise study.located(ConfigError(problems, _LATER))
        config._document = study
        return config

    def check_shapes(self) -> None:
        """Check what needs no component: the import paths by their words, each corner of the space as a run.

        Raises:
            ConfigError: as `check` does.
        """
        self._refuse(*shapes_of(self))

    def check(self) -> None:
        """Check every corner of the space as a run, and the sampler and the pruner; trains nothing.

        Raises:
            ConfigError: with every problem found, each with its place where the config was read from a file.
        """
        self._refuse(*problems_of(self))

    def _refuse(self, problems: Sequence[Problem], note: str) -> None:
        if problems:
            error = ConfigError(problems, note)
            raise error if self._document is None else self._document.located(error)

    def __eq__(self, other: object) -> bool:
        """Compare what was configured, wherever it was read."""
        return isinstance(other, OptimizeConfig) and self.as_data() == other.as_data()

    __hash__ = None  # type: ignore[assignment]

    @functools.cached_property
    def base(self) -> RunConfig:
        """The run that all trials share, `set` included."""
        return validate(RunConfig, self.run).with_values(self.set)

    def with_run_values(self, values: Mapping[str, object]) -> "OptimizeConfig":
        """A copy with some values of the base run set."""
        copied = self.model_copy(update={"set": {**self.set, **values}})
        for name in ("base", "feasibility"):  # of the run as it was
            copied.__dict__.pop(name, None)
        return copied

    @functools.cached_property
    def space(self) -> Space:
        """The search space."""
        return Space(self.search_space)

    @functools.cached_property
    def feasibility(self) -> Constraints:
        """The constraints that a point has to meet."""
        return Constraints(self.constraints, self.space, self.base.as_data(), tuple(RunConfig.model_fields))

    def trial_config(self, values: Mapping[str, object]) -> RunConfig:
        """The run of a trial with these values by path.

        Raises:
            ConfigError: they don't make a valid run.
        """
        return self.base.with_values(values)

    @property
    def monitors(self) -> tuple[Monitor | Objective, ...]:
        """The objectives, the run's own monitor first."""
        return (self.base.monitor, *self.base.monitor.also)

    @property
    def n_workers(self) -> int:
        """Trials at a time."""
        return self.workers or len(self.devices) or 1

    @property
    def total(self) -> int:
        """The number of trials that the study has in the end: at most the points of a grid."""
        points = self.points if self.sampler.target.rpartition(".")[2] in _GRIDS else None
        if points is None:
            return self.n_trials or N_TRIALS
        return points if self.n_trials is None else min(self.n_trials, points)

    @functools.cached_property
    def points(self) -> int | None:
        """The number of points to try; None where they can't be counted.

        Raises:
            ConfigError: a constraint can't be computed at one of them.
        """
        if not self.feasibility or not can_be_listed(self.space):
            return self.space.size()
        return sum(self.feasibility.violated(point) is None for point in every(self.space))


def _path_problems(name: str) -> Iterator[Problem]:
    """Problems of a dotted path into a run that its first part shows."""
    path: Path = config_file.split(name)
    if not path:
        yield Problem((name,), f"'{name}' is no path such as optimizer.lr")
    elif path[0] not in RunConfig.model_fields:
        hint = did_you_mean(str(path[0]), RunConfig.model_fields)
        yield Problem((name,), f"a run has no '{path[0]}'{hint}")


def _of_the_run(problem: Problem) -> Problem:
    """Explain where a run's key belongs that was written at the top of a study."""
    name = str(problem.path[0]) if len(problem.path) == 1 else ""
    if problem.kind is ProblemKind.UNKNOWN_KEY and name in RunConfig.model_fields:
        message = f"'{name}' is a key of the run; write it below run, or below set for all trials"
        return replace(problem, message=message)
    return problem
