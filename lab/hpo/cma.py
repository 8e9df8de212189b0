"""CMA-ES without pickles: Optuna's keeps its optimizer in the database as one, and reading that runs code."""

import math
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
    to finish are told to the optimizer, generation by generation. What they hold are numbers, and nothing is
    stored besides. Replaying costs about 0.1 ms a trial.
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
        optimizer = self.new_optimizer(space, study.direction)
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        generations: dict[int, list[tuple[NDArray[np.float64], float]]] = {}
        for trial in sorted(finished, key=_finished_at):
            point = self._point(trial, space)
            generation = trial.system_attrs.get(self.generation_key)
            given = FIXED in trial.system_attrs  # its point isn't one that the optimizer has asked for
            if isinstance(generation, int) and point is not None and trial.value is not None and not given:
                generations.setdefault(generation, []).append((point, sign * trial.value))
        while len(told := generations.get(optimizer.generation, [])) >= optimizer.population_size:
            optimizer.tell(told[: optimizer.population_size])
        return optimizer

    def _point(self, trial: FrozenTrial, space: SearchSpaceTransform) -> NDArray[np.float64] | None:
        """Return a trial's point in the unit cube; None where it has none, or an invalid one."""
        names = parameters_of(space)
        if not set(names) <= trial.params.keys():
            return None
        if not self.with_margin:
            return space.transform({name: trial.params[name] for name in names})
        raw = trial.system_attrs.get(_X_FOR_TELL)
        if not isinstance(raw, list) or len(raw) != len(names):
            return None
        if not all(isinstance(x, (int, float)) and math.isfinite(x) and abs(x) < _FAR for x in raw):
            return None
        return np.array(raw, dtype=float)


def _finished_at(trial: FrozenTrial) -> tuple[float, int]:
    """Order trials by their end: a straggler never changes a generation that the optimizer has."""
    return trial.datetime_complete.timestamp() if trial.datetime_complete else math.inf, trial.number
