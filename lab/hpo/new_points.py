"""New points: the sampler's, as long as they are feasible and have not been tried; else drawn from the rest.

All of it is a function of the study's seed, the trial's number and what the storage holds, so that a resumed
study proposes what the uninterrupted one would have. It happens under the study's lock, before there is a
trial.
"""

import copy
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.config.constraints import DRAWS, FEW, none_meets
from lab.config.enqueued_trials import is_complete
from lab.config.optimize_config import OptimizeConfig
from lab.config.search_points import Key, can_be_listed, draw, every, key
from lab.hpo.optuna_internals import trial_id
from lab.hpo.samplers import create_sampler, takes_whole_points
from lab.hpo.trial_draft import FIXED, study_of
from lab.rng.keys import derive_seed

TRIES = 20  # proposals of the sampler for one trial
_STUCK = 3  # times that it may propose the same point


class Exhausted(Exception):
    """There is no point left to try; the message gives the reason.

    Args:
        infeasible: no point meets the constraints, tried or not.
    """

    def __init__(self, message: str, infeasible: bool) -> None:
        super().__init__(message)
        self.infeasible = infeasible


class Proposals:
    """Proposes the points of one study's trials."""

    def __init__(self, config: OptimizeConfig, study: optuna.Study) -> None:
        self._config, self._study = config, study

    def as_given(self, draft: FrozenTrial) -> FrozenTrial:
        """A copy of a draft whose point another program has given; the sampler adds what is missing."""
        return self._sampled(draft, 0)

    def complete(self, draft: FrozenTrial, others: Sequence[FrozenTrial]) -> FrozenTrial:
        """A copy of the draft with a value for each parameter: a feasible point that no other trial has.

        Args:
            others: the study's other trials.

        Raises:
            Exhausted: there is none, or none was found.
            ConfigError: a constraint can't be computed, or the sampler can't be built.
        """
        space = self._config.space
        tried = {key(space, trial.params) for trial in others if trial.params or not space.order}
        rejected: Counter[Key] = Counter()
        partly = FIXED in draft.system_attrs and not is_complete(space, draft.system_attrs[FIXED])
        for attempt in range(0 if partly and takes_whole_points(self._config) else TRIES):
            found = self._sampled(draft, attempt)
            point = key(space, found.params)
            if point not in tried and self._broken(found) is None:
                return found
            rejected[point] += 1
            if rejected[point] >= _STUCK:
                break
        fixed = {**draft.system_attrs.get(FIXED, {}), **draft.params}
        left = self._left(draft.number, fixed, tried)
        chosen = copy.deepcopy(draft)
        chosen.system_attrs[FIXED] = {**fixed, **left}
        return self._sampled(chosen, TRIES)

    def _sampled(self, draft: FrozenTrial, attempt: int) -> FrozenTrial:
        """Ask the sampler for the proposal of this attempt; fixed parameters keep their values."""
        found = copy.deepcopy(draft)
        sampler = create_sampler(self._config, draft.number, attempt)
        study = study_of(found, self._study, sampler)
        self._config.space.suggest(optuna.Trial(study, trial_id(found)))
        return found

    def _broken(self, trial: FrozenTrial) -> str | None:
        return self._config.feasibility.violated(self._config.space.from_params(trial.params))

    def _left(self, number: int, fixed: dict[str, Any], tried: set[Key]) -> dict[str, Any]:
        """A random one of the untried points that meet the constraints, as stored.

        Raises:
            Exhausted: there is none, or none was found.
        """
        space, rng = self._config.space, random.Random(derive_seed(self._config.seed, number, TRIES))
        listed = can_be_listed(space)
        violations: Counter[str] = Counter()
        repeated = 0

        def untried(points: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            nonlocal repeated
            for point in points:
                params = space.to_params(point)
                broken = self._config.feasibility.violated(point)
                if broken is not None:
                    violations[broken] += 1
                elif key(space, params) in tried:
                    repeated += 1
                else:
                    yield params

        drawn = (draw(space, rng, fixed) for _ in range(FEW if listed else DRAWS))
        found = next(untried(drawn), None)
        if found is not None:
            return found
        if listed:
            violations.clear()
            repeated = 0
            points = list(untried(every(space, fixed)))
            if points:
                return points[rng.randrange(len(points))]
        raise Exhausted(_why(listed, repeated, violations), infeasible=not repeated)


def _why(listed: bool, repeated: int, violations: Counter[str]) -> str:
    if not repeated:
        return none_meets(violations, listed)
    total = repeated + violations.total()
    if not listed:
        return f"{total:,} random points were tried before or violate the constraints: no other was found"
    meeting = f" that meet the constraints (of {total:,})" if violations else " of the space"
    return f"all {repeated:,} points{meeting} have been tried"
