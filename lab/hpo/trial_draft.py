"""A trial before it exists: samplers write to it, and the database gets it once its point is accepted."""

import copy
from collections.abc import Callable, Container, Mapping
from datetime import datetime
from typing import Any, cast

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.hpo.optuna_internals import StorageView, set_trial_id, storage_of
from lab.hpo.optuna_internals import trial_id as key_of

NOT_STORED = -1  # the id of a trial that the database doesn't have
Remembered = Callable[[list[FrozenTrial]], list[FrozenTrial]]
FIXED = "fixed_params"  # Optuna's system attribute: parameters whose value is given, as stored


def new_draft(number: int, fixed: Mapping[str, Any], about: Mapping[str, Any]) -> FrozenTrial:
    """A trial with nothing chosen yet.

    Args:
        fixed: parameters whose value is given, as stored.
        about: its user attributes.
    """
    attributes = {FIXED: dict(fixed)} if fixed else {}
    trial = create_trial(state=TrialState.RUNNING, system_attrs=attributes, user_attrs=dict(about))
    trial.number = number
    set_trial_id(trial, NOT_STORED)
    return trial


def as_running(draft: FrozenTrial, started: datetime) -> FrozenTrial:
    """The draft as a trial to be added to the study; `started` is local time without a time zone."""
    running = copy.copy(draft)
    running.state, running.datetime_start = TrialState.RUNNING, started
    return running


def study_of(draft: FrozenTrial, study: Study, sampler: BaseSampler, remembered: Remembered = list) -> Study:
    """The study as the sampler of a draft sees it; what is written to the trial stays in the draft.

    Args:
        remembered: of the study's trials, those that the sampler is shown.
    """
    storage = cast(BaseStorage, _Desk(storage_of(study), draft, remembered))
    result = optuna.Study(study.study_name, storage, sampler=sampler)
    result.stop = lambda: None  # type: ignore[method-assign]  # grid samplers call it at their last point
    return result


class _Desk(StorageView):
    """A storage that keeps what is written to one trial, and hands everything else through."""

    def __init__(self, storage: BaseStorage, draft: FrozenTrial, remembered: Remembered) -> None:
        super().__init__(storage)
        self._draft, self._remembered = draft, remembered

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The draft itself, or a trial of the database."""
        return self._draft if self._is_draft(trial_id) else self._storage.get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials that the sampler remembers, the draft as one that runs."""
        found = self._storage.get_all_trials(study_id, deepcopy=False, states=cast(Any, states))
        trials = self._remembered(found)
        trials = copy.deepcopy(trials) if deepcopy else trials
        others = [trial for trial in trials if not self._is_draft(key_of(trial))]
        if states is not None and TrialState.RUNNING not in states:
            return others
        return [*others, copy.deepcopy(self._draft) if deepcopy else self._draft]

    def set_trial_param(
        self, trial_id: int, name: str, internal: float, distribution: BaseDistribution
    ) -> None:
        """Note a parameter."""
        if not self._is_draft(trial_id):
            self._storage.set_trial_param(trial_id, name, internal, distribution)
            return
        self._draft.params[name] = distribution.to_external_repr(internal)
        self._draft.distributions[name] = distribution

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note a user attribute."""
        if self._is_draft(trial_id):
            self._draft.user_attrs[key] = value
        else:
            self._storage.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note a system attribute."""
        if self._is_draft(trial_id):
            self._draft.system_attrs[key] = value
        else:
            self._storage.set_trial_system_attr(trial_id, key, value)

    def _is_draft(self, trial_id: int) -> bool:
        return trial_id == key_of(self._draft)
