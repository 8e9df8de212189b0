"""CMA-ES without pickles: Optuna's keeps its optimizer in the database as one, and reading that runs code."""

import copy
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from lab.hpo.optuna_internals import OpenCmaEs, SearchSpaceTransform, parameters_of, storage_of, trial_id
from lab.hpo.trial_draft import FIXED

_X_FOR_TELL = "x_for_tell"
_FAR = 1e6  # points lie in the unit cube, and not much outside of it where bounds were changed


class SafeCmaEs(OpenCmaEs):
    """`optuna.samplers.CmaEsSampler`, whose optimizer is rebuilt for each trial from the finished ones.

    Same arguments. A trial carries the number of its generation; the first `popsize` trials of a generation
    to finish are reported to the optimizer, generation by generation. What they hold are numbers, and
    nothing is stored besides. Replaying costs about 0.1 ms a trial, and a process keeps what it has replayed.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point of the present generation; {} leaves the trial to the independent sampler.

        Raises:
            ValueError: the study has several objectives.
        """
        finished = self.finished_trials(study)
        if not search_space or len(finished) < self.startup_trials:
            return {}
        space = SearchSpaceTransform(search_space, transform_step=not self.with_margin, transform_0_1=True)
        optimizer = self._replayed(study, finished, space)
        point = optimizer.ask()
        if self.with_margin:
            point, raw = point
            storage_of(study).set_trial_system_attr(trial_id(trial), _X_FOR_TELL, raw.tolist())
        storage_of(study).set_trial_system_attr(trial_id(trial), self.generation_key, optimizer.generation)
        return space.untransform(point)

    def _replayed(self, study: Study, finished: list[FrozenTrial], space: SearchSpaceTransform) -> Any:
        """The optimizer of `cmaes` as the finished generations left it; its random stream is new."""
        fresh = self.new_optimizer(space, study.direction)
        trials = self._whole_generations(finished, space, fresh.population_size)
        known = _replays.get(study.study_name)
        if known is None or not known.is_begun(fresh, trials):
            known = _replays[study.study_name] = _Replay(copy.deepcopy(fresh), copy.deepcopy(fresh), [])
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        for start in range(len(known.replayed), len(trials), fresh.population_size):
            generation = trials[start : start + fresh.population_size]
            known.optimizer.tell([(self._point(t, space), sign * t.values[0]) for t in generation])
            known.replayed += generation
        return _with_stream_of(fresh, copy.deepcopy(known.optimizer))

    def _whole_generations(
        self, finished: list[FrozenTrial], space: SearchSpaceTransform, size: int
    ) -> list[FrozenTrial]:
        """The trials of whole generations, in the order in which the optimizer gets them."""
        generations: dict[int, list[FrozenTrial]] = {}
        for trial in sorted(finished, key=_finished_at):
            generation = trial.system_attrs.get(self.generation_key)
            given = FIXED in trial.system_attrs  # its point isn't one that the optimizer has asked for
            if isinstance(generation, int) and self._has_point(trial, space) and trial.values and not given:
                generations.setdefault(generation, []).append(trial)
        found: list[FrozenTrial] = []
        while len(ended := generations.get(len(found) // size, [])) >= size:
            found += ended[:size]
        return found

    def _has_point(self, trial: FrozenTrial, space: SearchSpaceTransform) -> bool:
        """Return whether a trial has a point that the optimizer can learn from."""
        names = parameters_of(space)
        if not set(names) <= trial.params.keys():
            return False
        if not self.with_margin:
            return True
        raw = trial.system_attrs.get(_X_FOR_TELL)
        if not isinstance(raw, list) or len(raw) != len(names):
            return False
        return all(isinstance(x, (int, float)) and math.isfinite(x) and abs(x) < _FAR for x in raw)

    def _point(self, trial: FrozenTrial, space: SearchSpaceTransform) -> NDArray[np.float64]:
        """Return a trial's point in the unit cube."""
        if self.with_margin:
            return np.array(trial.system_attrs[_X_FOR_TELL], dtype=float)
        return space.transform({name: trial.params[name] for name in parameters_of(space)})


@dataclass
class _Replay:
    """An optimizer as some trials have left it, so that the next proposal adds the new ones alone."""

    fresh: Any
    optimizer: Any
    replayed: list[FrozenTrial]

    def is_begun(self, fresh: Any, trials: list[FrozenTrial]) -> bool:
        """Return whether a fresh optimizer would be the same after so many of these very trials."""
        known = len(self.replayed)
        the_same = known <= len(trials) and all(map(operator.is_, self.replayed, trials))
        return the_same and _same(_state(self.fresh), _state(fresh))


_replays: dict[str, _Replay] = {}  # by study
_NO_STATE = ("_rng", "_cma", "_funhist_values")  # the last are read once written, and begin as any memory


def _state(optimizer: Any) -> dict[str, Any]:
    """The optimizer's numbers, without its random stream; one with a margin has them in an inner one."""
    inner = vars(optimizer).get("_cma")
    own = {name: value for name, value in vars(optimizer).items() if name not in _NO_STATE}
    return own | ({} if inner is None else {f"inner {name}": v for name, v in _state(inner).items()})


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _with_stream_of(fresh: Any, optimizer: Any) -> Any:
    """Give an optimizer the random stream of a fresh one."""
    source, target = (getattr(each, "_cma", each) for each in (fresh, optimizer))
    target._rng = source._rng
    return optimizer


def _finished_at(trial: FrozenTrial) -> tuple[float, int]:
    """Order trials by their end: a straggler never changes a generation that the optimizer has."""
    return trial.datetime_complete.timestamp() if trial.datetime_complete else math.inf, trial.number
