"""New points: the sampler's, as long as they are feasible and have not been tried; else drawn from the rest.

All of it is a function of the study's seed, the trial's number and what the storage holds, so that a resumed
study proposes what the uninterrupted one would have. It happens under the study's lock, before there is a
trial.
"""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from lab.config import ConfigError, Problem
from lab.config.constraints import DRAWS, FEW, none_meets
from lab.config.enqueued_trials import is_complete, stored
from lab.config.optimize_config import OptimizeConfig
from lab.config.search_points import Key, can_be_listed, draw, every, key
from lab.hpo.optuna_internals import trial_id
from lab.hpo.samplers import create_sampler, remembered, takes_whole_points
from lab.hpo.trial_draft import FIXED, NOT_STORED, new_draft, study_of
from lab.report.trial_attributes import TrialAttributes
from lab.rng.keys import derive_seed
from lab.store.error_text import kind_and_text

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
    """Proposes the points of one study's trials.

    Args:
        on_message: gets a line about each enqueued point that can't be tried.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        on_message: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._config, self._study, self._on_message = config, study, on_message
        self._left_out: set[str] = set()
        self._ended: set[int] = set()  # the numbers of the finished trials whose points are known
        self._points: set[Key] = set()
        self._full = False  # there are as many trials as asked for
        self.exhausted: Exhausted | None = None  # why there are no more points, before the last trial

    def next_point(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """Return a draft of the next trial; None where there are enough of them, or no point is left.

        Raises:
            ConfigError: the sampler can't propose one, or a constraint can't be computed.
        """
        if self.exhausted is not None:
            return None
        # Trials that a fork has brought along don't count.
        if sum(TrialAttributes.of(trial).forked_from is None for trial in trials) >= self._config.total:
            if not self._full:  # it is asked again and again until the last trial has ended
                self._full = True
                for marker, _ in self._enqueued(trials):
                    self._leave_out(marker, f"the study has its {self._config.total} trials; raise n_trials")
            return None
        for marker, fixed in [*self._enqueued(trials), ("", {})]:
            draft = new_draft(len(trials), fixed, TrialAttributes(enqueued=marker or None).stored())
            try:
                return self.propose(draft, trials)
            except Exhausted as reason:
                if not marker:
                    self.exhausted = reason
                else:
                    self._leave_out(marker, str(reason))
        return None

    def propose(self, draft: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """Return the draft with a point.

        Raises:
            Exhausted: there is none left.
            ConfigError: the sampler can't propose one, or a constraint can't be computed.
        """
        stored_already = trial_id(draft) != NOT_STORED
        try:
            if stored_already and FIXED in draft.system_attrs:  # by another program
                return self._sampled(draft, 0)  # the sampler adds what is missing
            return self.complete(draft, trials)
        except (SQLAlchemyError, StorageInternalError, Exhausted, ConfigError):
            raise
        except Exception as error:
            message = f"can't propose trial {draft.number}: {kind_and_text(error)}"
            raise ConfigError([Problem(("sampler",), message)]) from error

    def _enqueued(self, trials: Sequence[FrozenTrial]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The points of the file that are still to be tried first: (what distinguishes them, as stored)."""
        if not self._config.enqueue:
            return
        space, tried = self._config.space, self._tried(trials)
        begun = {TrialAttributes.of(trial).enqueued for trial in trials}
        for point in self._config.enqueue:
            params = stored(space, point)
            marker = json.dumps(params, sort_keys=True)
            if marker not in begun and not (is_complete(space, params) and key(space, params) in tried):
                yield marker, params

    def _leave_out(self, marker: str, reason: str) -> None:
        """Report once that an enqueued point is not tried."""
        if marker not in self._left_out:
            self._left_out.add(marker)
            self._on_message(f"the enqueued point {marker} is left out: {reason}")

    def complete(self, draft: FrozenTrial, others: Sequence[FrozenTrial]) -> FrozenTrial:
        """A copy of the draft with a value for each parameter: a feasible point that no other trial has.

        Args:
            others: the study's other trials.

        Raises:
            Exhausted: there is none, or none was found.
            ConfigError: a constraint can't be computed, or the sampler can't be built.
        """
        space, tried = self._config.space, self._tried(others)
        rejected: Counter[Key] = Counter()
        partly = FIXED in draft.system_attrs and not is_complete(space, draft.system_attrs[FIXED])
        for attempt in range(0 if partly and takes_whole_points(self._config) else TRIES):
            found = self._sampled(draft, attempt)
            point = key(space, found.params)
            violated = self._config.feasibility.violated
            if point not in tried and violated(space.from_params(found.params)) is None:
                return found
            rejected[point] += 1
            if rejected[point] >= _STUCK:
                break
        fixed = {**draft.system_attrs.get(FIXED, {}), **draft.params}
        left = self._left(draft.number, fixed, tried)
        chosen = copy.deepcopy(draft)
        chosen.system_attrs[FIXED] = {**fixed, **left}
        return self._sampled(chosen, TRIES)

    def _tried(self, trials: Sequence[FrozenTrial]) -> set[Key]:
        """The points of trials; those of finished ones are computed once."""
        current: set[Key] = set()
        for trial in trials:
            if trial.number in self._ended or (self._config.space.order and not trial.params):
                continue
            point = key(self._config.space, trial.params)
            if trial.state.is_finished():
                self._ended.add(trial.number)
                self._points.add(point)
            else:
                current.add(point)
        return self._points | current

    def _sampled(self, draft: FrozenTrial, attempt: int) -> FrozenTrial:
        """Ask the sampler for the proposal of this attempt; fixed parameters keep their values."""
        found = copy.deepcopy(draft)
        sampler = create_sampler(self._config, draft.number, attempt)
        study = study_of(found, self._study, sampler, remembered(sampler, self._study))
        self._config.space.suggest(optuna.Trial(study, trial_id(found)))
        return found

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
