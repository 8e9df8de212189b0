"""A study's sampler and pruner, made from its config so that processes and restarts agree.

A sampler is made for one trial: its random stream comes from (seed, number), and what else it knows it reads
from the storage. So a resumed study proposes what the uninterrupted one would have, and two processes never
draw from the same stream.
"""

import copy
import inspect
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, cast

import optuna
from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lab.config.component_spec import Spec
from lab.hpo.optuna_internals import StorageView, storage_of, study_id
from lab.hpo.pfl import PredictedFinalLoss
from lab.hpo.trial_history import UNFINISHED, TrialHistory
from lab.report.trial_attributes import TrialAttributes
from lab.rng.keys import derive_seed

if TYPE_CHECKING:
    from lab.config.optimize_config import OptimizeConfig

MOST_LEARNED = 1_000  # finished trials that TPE models
_EVIDENCE = (TrialState.COMPLETE, TrialState.PRUNED)


def create_sampler(config: "OptimizeConfig", number: int, attempt: int = 0) -> BaseSampler:
    """The sampler of trial `number`.

    Grid and quasi-random sequences are the same for all trials, which take their places in them from the
    storage; all others draw from a stream of the trial's own. CMA-ES is ours, which stores no pickles.

    Args:
        attempt: how many of its proposals for this trial have been turned down; each has a stream of its own.

    Raises:
        ConfigError: it can't be built, or the space is no grid and the sampler needs one.
    """
    own = derive_seed(config.seed, number, attempt) if attempt else derive_seed(config.seed, number)
    return _sampler(config, config.sampler, own % 2**32)


def _sampler(config: "OptimizeConfig", spec: Spec, own: int) -> BaseSampler:
    target = spec.resolve()
    if target is CmaEsSampler:
        spec = spec.model_copy(update={"target": "lab.hpo.cma.SafeCmaEs"})
    shared = derive_seed(config.seed) % 2**32
    given: dict[str, Any] = {
        name: _sampler(config, below, own) for name, below in _parts(spec, BaseSampler).items()
    }
    if "seed" in inspect.signature(target).parameters:
        given["seed"] = shared if _is(target, GridSampler, QMCSampler) else own
    if _is(target, GridSampler):
        given["search_space"] = config.space.grid()
    if _is(target, QMCSampler) and spec.arguments.get("independent_sampler") is None:
        given["independent_sampler"] = RandomSampler(seed=own)  # with the sequence's it would repeat itself
    return cast(BaseSampler, spec.build(**given))


def remembered(sampler: BaseSampler, study: Study) -> Callable[[list[FrozenTrial]], list[FrozenTrial]]:
    """The part of a study's trials that a sampler learns from: all of them, but at most 1,000 for TPE.

    Its time grows with them, and it models the few best ones and the rest: the best tenth and the newest of
    the others do. It is so with a single objective; with several, the best are no few.
    """
    if not isinstance(sampler, TPESampler) or len(study.directions) > 1:
        return list
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0

    def chosen(trials: list[FrozenTrial]) -> list[FrozenTrial]:
        learned = [trial for trial in trials if trial.state in _EVIDENCE]
        if len(learned) <= MOST_LEARNED:
            return trials
        complete = [trial for trial in learned if trial.state == TrialState.COMPLETE]
        best = {t.number for t in nsmallest(MOST_LEARNED // 10, complete, key=lambda t: sign * t.values[0])}
        others = [trial.number for trial in learned if trial.number not in best]
        kept = best.union(others[len(best) - MOST_LEARNED :])
        return [trial for trial in trials if trial.number in kept or trial.state not in _EVIDENCE]

    return chosen


def with_sampler(study: Study, config: "OptimizeConfig", number: int) -> Study:
    """The study with the sampler of one trial; a new object, for the old one remembers the trials it read."""
    sampler = create_sampler(config, number)
    result = optuna.load_study(study_name=study.study_name, storage=storage_of(study), sampler=sampler)
    result.stop = lambda: None  # type: ignore[method-assign]  # grid samplers call it at their last point
    return result


def takes_whole_points(config: "OptimizeConfig") -> bool:
    """Return whether the sampler refuses a point of which only a part is given."""
    return _is(config.sampler.resolve(), GridSampler)


def ignores_infeasible(config: "OptimizeConfig") -> str:
    """The name of the study's sampler if it learns nothing from infeasible trials; empty if it does, or may.

    Of Optuna's samplers TPE alone reads constraints of pruned trials.
    """
    target = config.sampler.resolve()
    parts = _parts(config.sampler, BaseSampler).values()
    if any(_is(part.resolve(), TPESampler) for part in parts) or _is(target, TPESampler):
        return ""
    known = target.__module__.partition(".")[0] in ("optuna", "lab")
    return config.sampler.target.rpartition(".")[2] if known else ""


def create_pruner(config: "OptimizeConfig") -> BasePruner:
    """The study's pruner; what the base run decides needn't be repeated.

    The number of steps is that of all seeds or folds. Successive halving gets the smallest resource that
    Optuna would guess from the first finished trial, so that it doesn't depend on who asks when.

    Raises:
        ConfigError: it can't be built.
    """
    return NopPruner() if config.pruner is None else _pruner(config, config.pruner)


def _pruner(config: "OptimizeConfig", spec: Spec) -> BasePruner:
    target, base = spec.resolve(), config.base
    steps = base.epochs * len(base.repeats)
    known: dict[str, Any] = {}
    if _is(target, HyperbandPruner):
        known = {"max_resource": steps}
    elif _is(target, SuccessiveHalvingPruner):
        known = {"min_resource": max(steps // 100, 1)}
    elif _is(target, PredictedFinalLoss):
        known = {"epochs": base.epochs, "seeds": len(base.repeats), "returns": base.monitor.returns}
    known = {name: value for name, value in known.items() if name not in spec.arguments}
    below = {name: _pruner(config, part) for name, part in _parts(spec, BasePruner).items()}
    return cast(BasePruner, spec.build(**known, **below))


def _is(target: Any, *kinds: type) -> bool:
    return inspect.isclass(target) and issubclass(target, kinds)


def _parts(spec: Spec, kind: type) -> dict[str, Spec]:
    """The components directly below that are samplers, or pruners, themselves."""
    parts = {
        name: Spec.model_validate(value)
        for name, value in spec.arguments.items()
        if isinstance(value, Mapping) and isinstance(value.get("target"), str)
    }
    return {name: part for name, part in parts.items() if _is(part.resolve(), kind)}


def should_prune(study: Study, config: "OptimizeConfig", number: int) -> bool:
    """The pruner's verdict on a trial; with several objectives, too, where Optuna refuses to ask for it."""
    view = pruning_view(study, config)
    storage = storage_of(view)
    own = storage.get_trial_id_from_study_id_trial_number(study_id(study), number)
    return view.pruner.prune(view, storage.get_trial(own))


def pruning_view(study: Study, config: "OptimizeConfig") -> Study:
    """The study as a pruner can read it: at one moment, and with several objectives the one that prunes.

    There a trial's value is that objective's, and its reports are what its attribute `curve` holds. What a
    pruner writes goes to the study's storage. Reading once is for speed, as pruners ask again and again; and
    what runs is read only for those that ask for it.
    """
    index = None
    if len(study.directions) > 1:
        metrics = [monitor.metric for monitor in config.monitors]
        index = 0 if config.prune_on is None else metrics.index(config.prune_on)
    by_rung = type(study.pruner) in (SuccessiveHalvingPruner, HyperbandPruner)
    storage = cast(BaseStorage, _Moment(storage_of(study), study_id(study), index, by_rung))
    return optuna.Study(study.study_name, storage, study.sampler, study.pruner)


class _Moment(StorageView):
    """A storage that reads one study's trials once, and hands everything else through.

    Args:
        index: of the objective to show; None where there is only one.
        by_rung: what is asked about running trials is their system attributes alone.
    """

    def __init__(self, storage: BaseStorage, study_id: int, index: int | None, by_rung: bool) -> None:
        super().__init__(storage)
        self._study_id, self._index, self._by_rung = study_id, index, by_rung

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return that of the one study."""
        return self._study_id

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """The one objective's direction."""
        return [self._storage.get_study_directions(study_id)[self._index or 0]]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial, with the objective's value and curve."""
        return self._shown([self._storage.get_trial(trial_id)])[0]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials so, or those in the states."""
        ended = states is not None and not any(state in states for state in UNFINISHED)
        read = self._finished if ended else self._trials
        trials = [trial for trial in read if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    @cached_property
    def _finished(self) -> list[FrozenTrial]:
        states = [state for state in TrialState if state.is_finished()]
        return self._shown(self._storage.get_all_trials(self._study_id, deepcopy=False, states=states))

    @cached_property
    def _trials(self) -> list[FrozenTrial]:
        if self._by_rung and isinstance(self._storage, TrialHistory):
            return self._shown(self._storage.get_outlines(self._study_id))
        return self._shown(self._storage.get_all_trials(self._study_id, deepcopy=False))

    def _shown(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        index = self._index
        return trials if index is None else [_narrowed(trial, index) for trial in trials]


def _narrowed(trial: FrozenTrial, index: int) -> FrozenTrial:
    """The trial as it would be in a study of the one objective."""
    narrowed = copy.copy(trial)
    narrowed.values = None if trial.values is None else [trial.values[index]]
    narrowed.intermediate_values = dict(TrialAttributes.of(trial).curve or {})
    return narrowed
