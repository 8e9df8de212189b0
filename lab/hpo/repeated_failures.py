"""Notices that it is not the trials that fail, but the code; and what not to begin again."""

from collections import Counter
from datetime import datetime

import optuna

from lab.events import Outcome
from lab.hpo.clock import REAL, Clock
from lab.report.trial_attributes import TrialAttributes

_HOPELESS = 20  # infeasible trials without a feasible one
DIED = "its process died"  # the fault of a trial that kills whatever it runs in
LOST = "its process was lost without a new checkpoint"  # nor whatever takes its machine down


class Failures:
    """The same failure so many times in a row, since this process began, is a mistake in the code.

    Args:
        limit: how many in a row are too many.
    """

    def __init__(self, study: optuna.Study, limit: int, clock: Clock = REAL) -> None:
        self._study, self._limit = study, limit
        self._since = datetime.fromtimestamp(clock.now())

    def repeated(self) -> str:
        """Return the failure that has occurred too often, or nothing. Trials of other processes count."""
        finished = [
            (trial.datetime_complete, trial)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.datetime_complete is not None
            and trial.datetime_complete >= self._since
            and TrialAttributes.of(trial).outcome != Outcome.INFEASIBLE
        ]
        last = [trial for _, trial in sorted(finished, key=lambda item: (item[0], item[1].number))]
        last = last[-self._limit :]
        known = [TrialAttributes.of(trial) for trial in last]
        faults = {each.fault for each in known}
        if len(last) < self._limit or len(faults) > 1 or not faults.pop():
            return ""
        if any(each.outcome != Outcome.FAILED for each in known):
            return ""
        numbers = ", ".join(str(trial.number) for trial in last)
        return f"trials {numbers} failed alike: {known[-1].cause}"

    def hopeless(self) -> str:
        """The reason to stop with a space none of whose points can be built; else an empty text."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        known = map(TrialAttributes.of, trials)
        causes = Counter(str(each.cause) for each in known if each.outcome == Outcome.INFEASIBLE)
        if causes.total() < max(_HOPELESS, self._limit) or causes.total() < len(trials):
            return ""
        cause, count = causes.most_common(1)[0]
        return f"none of {len(trials)} trials was feasible; the most frequent cause ({count} times): {cause}"

    def quarantined(self, number: int) -> int | None:
        """The trial that was given up with the very values of this one; None where there is none."""
        trials = self._study.get_trials(deepcopy=False)
        own = next(trial.params for trial in trials if trial.number == number)
        return next(
            (
                trial.number
                for trial in trials
                if trial.params == own and trial.number != number and TrialAttributes.of(trial).quarantined
            ),
            None,
        )
