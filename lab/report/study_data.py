"""The data of a study's report: trials, search space and the winner's files, as frozen values.

Read once from Optuna's storage and the study's folder. Texts are redacted here, so that no later step can
leak a secret.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, TypeAdapter

from lab.console.formatting import format_number
from lab.events import RUNNING, WAITING, Outcome
from lab.report import trial_ranking
from lab.report.trial_attributes import TrialAttributes, or_nan
from lab.store import run_folder
from lab.store.definitions import FIRST, of_value
from lab.store.redact import redact_text

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from lab.config.optimize_config import OptimizeConfig
    from lab.config.search_space import Space

OrNaN = Annotated[float, BeforeValidator(or_nan)]
BEST, CONFIRM = "best", "confirm.json"
MOST_DRAWN = 1_000  # trials in a figure
# In the order of the tables: results, stopped trials, failures, trials that have not ended.
WRONG = tuple(outcome for outcome in Outcome if outcome.went_wrong)
ENDED = tuple(outcome for outcome in Outcome if outcome.is_final)
OUTCOMES = (*ENDED, Outcome.INTERRUPTED, WAITING, RUNNING)


@dataclass(frozen=True)
class Objective:
    """A metric that the study minimizes or maximizes."""

    metric: str
    maximize: bool

    @property
    def mode(self) -> str:
        return "max" if self.maximize else "min"

    @property
    def sign(self) -> float:
        """The factor that turns a value into a cost, of which smaller is better."""
        return -1.0 if self.maximize else 1.0


@dataclass(frozen=True)
class Dimension:
    """One parameter of the space, as the study file has it now; `choices` are texts."""

    path: str
    kind: Literal["float", "int", "categorical"]
    low: float = 0.0
    high: float = 1.0
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()
    in_space: bool = True  # False: only older trials have it

    def position(self, value: object) -> float | None:
        """Return the position of a number between the bounds on the parameter's own scale: 0 low, 1 high."""
        if self.kind == "categorical" or isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if self.high <= self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else 0.0
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Trial:
    """One trial of the study. Numbers are as Optuna keeps them; a categorical's value is a text."""

    number: int
    outcome: str
    cause: str = ""
    values: tuple[float, ...] = ()  # as Optuna stores them, infinities included
    params: Mapping[str, str | float] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()  # (step, value), in order; values may be NaN or infinite
    epochs: int = 0
    epochs_planned: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    repeats: Mapping[str, float] = field(default_factory=dict)  # `seed 0`, `fold 0`: where several
    forked_from: str = ""
    folder: Path | None = None
    traceback: Path | None = None
    rank: int | None = None  # from 1; only of trials that finished well
    on_front: bool = False  # no other trial is better in everything; only with several objectives
    quarantined: bool = False  # it killed its process each time; its point is not run again
    definitions: Mapping[str, int] | None = None  # of what it logged; None where it recorded none

    @property
    def good(self) -> bool:
        return self.rank is not None

    @property
    def last(self) -> float | None:
        """The last finite value that was reported."""
        return next((value for _, value in reversed(self.curve) if math.isfinite(value)), None)


@dataclass(frozen=True)
class Candidate:
    """One of the best trials, rerun on fresh seeds; NaN where there is no result.

    Reruns that `diverged`, or ran out of memory, are infinitely bad, and so is the mean then.
    """

    trial: int
    values: tuple[OrNaN, ...]
    mean: OrNaN
    low: OrNaN
    high: OrNaN
    diverged: int = 0


@dataclass(frozen=True)
class Confirmation:
    """Results of the best trials on fresh seeds."""

    seeds: int
    metric: str
    maximize: bool
    candidates: tuple[Candidate, ...]
    verdict: str

    @property
    def best(self) -> Candidate | None:
        """The candidate with the best mean."""
        known = [each for each in self.candidates if math.isfinite(each.mean)]
        return min(known, key=lambda each: -each.mean if self.maximize else each.mean, default=None)


@dataclass(frozen=True)
class Study:
    """The content of a study's report, as data."""

    name: str
    folder: Path
    objectives: tuple[Objective, ...]
    reported: Objective  # what the trials' curves show
    dimensions: tuple[Dimension, ...]
    trials: tuple[Trial, ...]  # by number
    total: int | None  # how many trials there are to be
    epochs_per_repeat: int | None
    confirmation: Confirmation | None = None
    remarks: tuple[str, ...] = ()  # parts that couldn't be read

    @cached_property
    def ranked(self) -> tuple[Trial, ...]:
        """The trials that finished well, best first."""
        return tuple(
            sorted((trial for trial in self.trials if trial.good), key=lambda trial: trial.rank or 0)
        )

    @cached_property
    def drawn(self) -> frozenset[int]:
        """The numbers of the trials that figures show: of many, the best and others at even intervals."""
        if len(self.trials) <= MOST_DRAWN:
            return frozenset(trial.number for trial in self.trials)
        best = [trial.number for trial in self.ranked[: MOST_DRAWN // 10]]
        known = set(best)
        others = [trial.number for trial in self.trials if trial.number not in known]
        left = MOST_DRAWN - len(best)
        return frozenset(known).union(others[n * len(others) // left] for n in range(left))

    @property
    def winner(self) -> Trial | None:
        return self.ranked[0] if self.ranked else None

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.ranked if trial.on_front)

    @cached_property
    def own(self) -> tuple[Trial, ...]:
        """The trials that were run in this study, without those imported by a fork."""
        return tuple(trial for trial in self.trials if not trial.forked_from)

    @cached_property
    def repeats(self) -> tuple[str, ...]:
        """Names of the seeds or folds; empty where all trials have the same one, as its value is theirs."""
        names = tuple(dict.fromkeys(name for trial in self.trials for name in trial.repeats))
        return names if len(names) > 1 else ()

    @cached_property
    def older(self) -> Mapping[str, Mapping[int, int]]:
        """metric -> trial that recorded no definitions -> its definition, where others have a newer one."""
        found: dict[str, dict[int, int]] = {}
        for metric in (objective.metric for objective in self.objectives):
            valued = [trial for trial in self.trials if trial.values]
            newest = max((of_value(metric, trial.definitions or {}) for trial in valued), default=FIRST)
            if newest > FIRST:
                old = {trial.number: FIRST for trial in valued if trial.definitions is None}
                found |= {metric: old} if old else {}
        return found

    @property
    def unsettled(self) -> tuple[Trial, ...]:
        """The trials that have not ended."""
        return tuple(trial for trial in self.trials if trial.outcome not in ENDED)


def read(folder: Path, study: "optuna.Study", config: "OptimizeConfig") -> Study:
    """Read a study from its storage, its folder and its file."""
    frozen = study.get_trials(deepcopy=False)
    order = trial_ranking.ranked(frozen, study.directions)
    ranks = {trial.number: rank for rank, trial in enumerate(order, start=1)}
    # Only with several objectives: with one, rank 1 is the front.
    best = trial_ranking.front(order, study.directions) if len(study.directions) > 1 else []
    front = {trial.number for trial in best}
    objectives = _objectives(study, config)
    confirmation, remarks = None, []
    try:
        confirmation = _confirmation(folder / CONFIRM)
    except ValueError as error:  # a report without this part is better than none
        remarks.append(str(error))
    return Study(
        name=study.study_name,
        folder=folder,
        objectives=objectives,
        reported=next((each for each in objectives if each.metric == config.prune_on), objectives[0]),
        dimensions=_dimensions(config.space, frozen),
        trials=tuple(
            _trial(each, folder, ranks.get(each.number), each.number in front, config.space)
            for each in frozen
        ),
        total=config.total,
        epochs_per_repeat=config.base.epochs,
        confirmation=confirmation,
        remarks=tuple(remarks),
    )


def shown(value: object) -> str:
    """Format a choice as YAML would."""
    return redact_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def amount(value: object) -> str:
    """Format a number; a large whole one, such as a parameter count, without decimals."""
    if isinstance(value, float) and value.is_integer() and abs(value) >= 100:
        return format_number(int(value))
    return format_number(value)


def _objectives(study: "optuna.Study", config: "OptimizeConfig") -> tuple[Objective, ...]:
    """The monitors' names with the directions that the storage has."""
    names = [monitor.metric for monitor in config.monitors]
    # The file may have changed since the study was created; the storage decides.
    if len(names) != len(study.directions):
        names = [f"objective {number}" for number in range(1, len(study.directions) + 1)]
    return tuple(
        Objective(name, direction.name == "MAXIMIZE")
        for name, direction in zip(names, study.directions, strict=True)
    )


def _dimensions(space: "Space", trials: "Sequence[FrozenTrial]") -> tuple[Dimension, ...]:
    """Return the dimensions of the study file's space, followed by those that only trials have."""
    found = {
        path: _dimension(path, parameter.distribution(), getattr(parameter, "names", ()))
        for path, parameter in space.parameters.items()
    }
    # Newest first: their distributions are the closest to the current file.
    for trial in reversed(trials):
        for path, distribution in trial.distributions.items():
            if path not in found:
                found[path] = _dimension(path, distribution, in_space=False)
    for path, dimension in found.items():
        if dimension.kind == "categorical":
            used = (shown(space.shown(trial.params)[path]) for trial in trials if path in trial.params)
            choices = tuple(dict.fromkeys([*dimension.choices, *used]))
            found[path] = replace(dimension, choices=choices)
    return tuple(found.values())


def _dimension(
    path: str, distribution: "BaseDistribution", names: Sequence[object] = (), in_space: bool = True
) -> Dimension:
    """Return a dimension; `names` are the choices as reports show them, by default as they are stored."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        choices = tuple(map(shown, names or distribution.choices))
        return Dimension(path, "categorical", choices=choices, in_space=in_space)
    assert isinstance(distribution, (FloatDistribution, IntDistribution)), "Optuna has three kinds"
    kind: Literal["int", "float"] = "int" if isinstance(distribution, IntDistribution) else "float"
    low, high = float(distribution.low), float(distribution.high)
    return Dimension(path, kind, low, high, distribution.step, distribution.log, in_space=in_space)


def _trial(
    trial: "FrozenTrial", study_folder: Path, rank: int | None, on_front: bool, space: "Space"
) -> Trial:
    known = TrialAttributes.of(trial)
    forked = known.forked_from or ""
    # A trial imported by a fork has its folder in the other study.
    folder = study_folder / f"trial_{trial.number:05d}"
    there = not forked and folder.is_dir()
    reported = known.curve or trial.intermediate_values
    curve = tuple(sorted((step, or_nan(value)) for step, value in reported.items()))
    numeric = {path for path, each in trial.distributions.items() if not hasattr(each, "choices")}
    outcome = _outcome(trial, known, bool(curve))
    seconds = known.seconds
    if seconds is None and trial.duration is not None and not forked:
        seconds = trial.duration.total_seconds()
    return Trial(
        number=trial.number,
        outcome=outcome,
        cause=redact_text(" ".join((known.cause or "").split())),
        values=tuple(trial.values) if trial.state.name == "COMPLETE" and trial.values else (),
        params={
            path: value if path in numeric and isinstance(value, (int, float)) else shown(value)
            for path, value in space.shown(trial.params).items()
        },
        curve=curve,
        epochs=known.epochs or len(curve),
        epochs_planned=known.epochs_planned,
        best_epoch=known.best_epoch,
        seconds=seconds,
        repeats={name.replace("_", " "): value for name, value in (known.repeats or {}).items()},
        forked_from=redact_text(forked),
        folder=folder if there else None,
        traceback=_traceback(folder) if there and outcome in WRONG else None,
        rank=rank,
        on_front=on_front,
        quarantined=known.quarantined or False,
        definitions=known.definitions,
    )


def _outcome(trial: "FrozenTrial", known: TrialAttributes, begun: bool) -> str:
    """Return the stored outcome if it agrees with Optuna's state, else one that follows from the state."""
    stored = known.outcome if isinstance(known.outcome, Outcome) else None
    wrong = stored if stored is not None and stored.went_wrong else None
    match trial.state.name:
        case "COMPLETE":
            if not all(math.isfinite(value) for value in trial.values):
                return wrong or Outcome.DIVERGED
            return stored if stored is not None and (stored.is_result or wrong) else Outcome.COMPLETED
        case "PRUNED":
            return Outcome.INFEASIBLE if stored is Outcome.INFEASIBLE else Outcome.PRUNED
        case "FAIL":
            return wrong or Outcome.FAILED
        case "RUNNING":
            return RUNNING
        case _:
            return Outcome.INTERRUPTED if begun or stored is Outcome.INTERRUPTED else WAITING


def _traceback(folder: Path) -> Path | None:
    """Of the trial itself, or of the first of its seeds that left one."""
    places = (place / run_folder.TRACEBACK for place in (folder, *run_folder.repeats(folder)))
    return next((path for path in places if path.is_file()), None)


def _confirmation(path: Path) -> Confirmation | None:
    """Read `confirm.json`; None where there is none.

    Raises:
        ValueError: it can't be read; the error names the problem.
    """
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        candidates = TypeAdapter(tuple[Candidate, ...]).validate_python(about["candidates"])
        return Confirmation(
            len(about["seeds"]), about["metric"], about["mode"] == "max", candidates, str(about["verdict"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a confirmation as a study writes it: {error!r}") from error
