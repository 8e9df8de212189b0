"""Everything that this program uses of Optuna and that Optuna calls private. No other file names any of it.

A new version of Optuna has to be compared with this file; docs/decisions/0001-dependencies.md bounds it.
"""

import copy
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

from optuna import Study
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import distribution_to_json
from optuna.samplers import CmaEsSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

TRIALS = cast(Table, models.TrialModel.__table__)
PARAMS = cast(Table, models.TrialParamModel.__table__)
REPORTS = cast(Table, models.TrialIntermediateValueModel.__table__)
VALUES = cast(Table, models.TrialValueModel.__table__)
USER_ATTRIBUTES = cast(Table, models.TrialUserAttributeModel.__table__)
SYSTEM_ATTRIBUTES = cast(Table, models.TrialSystemAttributeModel.__table__)
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}

SearchSpaceTransform = _SearchSpaceTransform


def study_id(study: Study) -> int:
    """Return the study's key in the database."""
    return study._study_id


def storage_of(study: Study) -> BaseStorage:
    """Return the storage that a study reads and writes."""
    return study._storage


def trial_id(trial: FrozenTrial) -> int:
    """Return the trial's key in the database; its number counts within the study."""
    return trial._trial_id


def set_trial_id(trial: FrozenTrial, value: int) -> None:
    """Give a trial that is not stored a key."""
    trial._trial_id = value


def number_of(value: float | None, kind: Enum) -> float:
    """Return a value or report as it was before it was stored: what isn't finite has a kind, and no value."""
    return _NOT_FINITE[kind.name] if value is None else value


def cached(backend: RDBStorage) -> BaseStorage:
    """Return the storage with Optuna's cache of finished trials before it."""
    return _CachedStorage(backend)


class StorageView:
    """A storage that hands everything through to another, but what a subclass overrides.

    What Optuna reads of one trial comes from `get_trial`, as in a storage of its own.
    """

    get_best_trial = BaseStorage.get_best_trial
    get_trial_params = BaseStorage.get_trial_params
    get_trial_param = BaseStorage.get_trial_param
    get_trial_number_from_id = BaseStorage.get_trial_number_from_id
    get_trial_user_attrs = BaseStorage.get_trial_user_attrs
    get_trial_system_attrs = BaseStorage.get_trial_system_attrs

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def insert_trial(backend: RDBStorage, session: Session, study_id: int, trial: FrozenTrial) -> tuple[int, int]:
    """Add a trial as part of a transaction of the caller's; returns its key and its number.

    Optuna's public call repeats its INSERT where the answer to the COMMIT was lost, and so adds it twice.
    """
    models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # for the count of trials
    bare = copy.copy(trial)
    bare.params, bare.distributions = {}, {}
    model = backend._get_prepared_new_trial(study_id, bare, session)
    session.flush()
    # Optuna adds each parameter by three statements, while others wait for the lock.
    rows = [
        {
            "trial_id": model.trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    if rows:
        session.execute(insert(PARAMS), rows)
    return cast(int, model.trial_id), cast(int, model.number)


class TrialWriter:
    """Optuna's own writes to one trial, as part of a transaction of the caller's.

    Optuna's public ones commit each by itself, which leaves room for a lease to be lost between two of them.
    """

    def __init__(self, backend: RDBStorage, session: Session, trial_id: int) -> None:
        self._backend, self._session, self._id = backend, session, trial_id

    def report(self, values: Mapping[int, float]) -> None:
        """Store intermediate values by step."""
        for step, value in values.items():
            self._backend._set_trial_intermediate_value_without_commit(self._session, self._id, step, value)

    def user_attribute(self, name: str, value: object) -> None:
        """Store a user attribute."""
        table = models.TrialUserAttributeModel
        self._backend._set_trial_attr_without_commit(self._session, table, self._id, name, value)

    def system_attribute(self, name: str, value: object) -> None:
        """Store a system attribute."""
        table = models.TrialSystemAttributeModel
        self._backend._set_trial_attr_without_commit(self._session, table, self._id, name, value)

    def value(self, objective: int, value: float) -> None:
        """Store the value of an objective."""
        trial = models.TrialModel.find_or_raise_by_id(self._id, self._session)
        self._backend._set_trial_value_without_commit(self._session, trial, objective, value)


class OpenCmaEs(CmaEsSampler):
    """`optuna.samplers.CmaEsSampler` with names for the parts that a subclass replaces or uses."""

    @property
    def startup_trials(self) -> int:
        """The number of finished trials before the optimizer is asked."""
        return self._n_startup_trials

    @property
    def with_margin(self) -> bool:
        """Integers keep a margin, for which a trial stores another point than it is run at."""
        return self._with_margin

    @property
    def generation_key(self) -> str:
        """The system attribute with the number of a trial's generation."""
        return self._attr_key_generation

    def finished_trials(self, study: Study) -> list[FrozenTrial]:
        """Return the trials that the optimizer learns from.

        Raises:
            ValueError: the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        return self._get_trials(study)

    def new_optimizer(self, space: _SearchSpaceTransform, direction: StudyDirection) -> Any:
        """Return an optimizer of `cmaes` that knows no trial."""
        return self._init_optimizer(space, direction)


def parameters_of(space: _SearchSpaceTransform) -> list[str]:
    """Return the names of a transformed space's parameters."""
    return list(space._search_space)
