"""Which trial is next: an orphan, a waiting one, or a new point, until there are as many as asked for."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from lab import rundir
from lab.config import ConfigError, Problem, RunConfig
from lab.config.diff import same
from lab.config.optimize import OptimizeConfig
from lab.hpo.curve import Curve
from lab.hpo.leases import Lease, LeaseLost, Leases
from lab.hpo.sampling import create_sampler
from lab.hpo.storage import Database
from lab.hpo.trial_folder import read_trial
from lab.redact import redact

FORKED = "forked_from"


@dataclass
class Trial:
    """A claimed trial.

    Args:
        recipe: the base run with these values, or None where they fit no valid run.
        ran: the same with what this machine added to it, which reproduces the trial.
        problem: why not.
        died: whether it was claimed because its process had died.
        deaths: how often that happened without progress, `progress` being the epochs it had done by then, and
            `saved` when it had last saved its state, in seconds since 1970: within an epoch, too.
        restarts: how often it happened at all.
        spans: when it was at work, (from, to) in seconds since 1970; the present one begins at `since`.
        halvings: how often its batch was halved for lack of memory.
        earlier_seconds: of training, before this process had it.
    """

    lease: Lease
    values: dict[str, Any]
    recipe: RunConfig | None
    problem: str
    folder: Path
    resume: bool
    curve: Curve
    died: bool = False
    deaths: int = 0
    progress: int = 0
    saved: float = 0.0
    restarts: int = 0
    halvings: int = 0
    spans: list[list[float]] = field(default_factory=list)
    since: float = 0.0
    earlier_seconds: float = 0.0
    ran: RunConfig | None = None
    lost: bool = False

    @property
    def number(self) -> int:
        """Optuna's, which the folder is named for."""
        return self.lease.number


class Claims:
    """Hands out the trials of one study to this process; others may do the same at the same time.

    Args:
        folder: of the study.
    """

    def __init__(
        self, config: OptimizeConfig, study: optuna.Study, database: Database, leases: Leases, folder: Path
    ) -> None:
        self._config, self._study, self._database = config, study, database
        self._leases, self._folder = leases, folder

    def next(self, held: Collection[int] = ()) -> Trial | None:
        """Claim a trial; None where there is none to be had at the moment.

        Raises:
            ConfigError: the sampler can't propose a point; nothing is claimed.
        """
        with self._database.exclusive(self._study.study_name):
            died = False
            lease = None
            for orphan in self._leases.orphans(held):
                lease = self._leases.take_over(*orphan, held)
                died = lease is not None and not lease.again
                if lease is not None:
                    break
            lease = lease or self._leases.claim_waiting()
            if lease is None:
                if self.made() >= self._config.total:
                    return None
                self._study._storage.create_new_trial(
                    self._study._study_id, create_trial(state=TrialState.WAITING)
                )
                lease = self._leases.claim_waiting()
            if lease is None:
                return None
            try:
                return self._claimed(lease, died)
            except LeaseLost:
                return None

    def made(self) -> int:
        """How many trials there are that count."""
        return sum(FORKED not in trial.user_attrs for trial in self._study.get_trials(deepcopy=False))

    def unfinished(self) -> int:
        """How many trials are neither finished nor yet to be made."""
        return sum(not trial.state.is_finished() for trial in self._study.get_trials(deepcopy=False))

    def _claimed(self, lease: Lease, died: bool) -> Trial:
        values = self._suggest(lease)
        known = self._study._storage.get_trial(lease.trial_id).user_attrs
        spans, since = list(known.get("spans", ())), time.time()
        if died and "since" in known:  # to when its owner was last heard of
            spans.append([known["since"], max(lease.seen, known["since"])])
        with self._leases.writing(lease) as writer:
            writer.note(since=since, spans=spans)
        folder = self._folder / f"trial_{lease.number:05d}"
        recipe, problem = None, ""
        try:
            recipe = self._config.trial_config(values)
        except ValueError as error:
            problem = str(error).replace("\n", "; ")
        return Trial(
            lease=lease,
            values=values,
            recipe=recipe,
            problem=problem,
            folder=folder,
            resume=_goes_on(folder, lease.number, values, int(known.get("halvings", 0))),
            died=died,
            deaths=int(known.get("deaths", 0)),
            progress=int(known.get("progress", 0)),
            saved=float(known.get("saved", 0.0)),
            restarts=int(known.get("restarts", 0)),
            halvings=int(known.get("halvings", 0)),
            spans=spans,
            since=since,
            curve=Curve(recipe.epochs if recipe else 1),
        )

    def _suggest(self, lease: Lease) -> dict[str, Any]:
        """The trial's values: those it has, or new ones from a stream that belongs to its number alone."""
        frozen = self._study._storage.get_trial(lease.trial_id)
        try:
            return self._config.space.from_params(frozen.params)
        except (KeyError, ValueError):
            pass  # it is new, or its process died before it had all of them
        self._study.get_trials(deepcopy=False)  # one that another process has made is unknown to the cache
        try:
            study = with_sampler(self._study, self._config, lease.number)
            return self._config.space.suggest(optuna.Trial(study, lease.trial_id))
        except (SQLAlchemyError, StorageInternalError):
            raise
        except Exception as error:
            with self._leases.writing(lease) as writer:
                writer.give_back()
            message = f"can't propose trial {lease.number}: {type(error).__name__}: {error}"
            raise ConfigError([Problem(("sampler",), message)]) from error


def _goes_on(folder: Path, number: int, values: dict[str, Any], halvings: int) -> bool:
    """Whether a folder holds what this very trial has left, with a batch of this size."""
    facts = read_trial(folder)
    params = rundir.plain(redact({"params": values})["params"])  # as the folder has them
    same_point = facts.get("number") == number and same(facts.get("params"), params)
    return same_point and facts.get("halvings", 0) == halvings and (folder / rundir.CONFIG).exists()


def with_sampler(study: optuna.Study, config: OptimizeConfig, number: int) -> optuna.Study:
    """The study with the sampler of one trial; a new object, for the old one remembers the trials it read."""
    sampler = create_sampler(config, number)
    result = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=sampler)
    result.stop = lambda: None  # type: ignore[method-assign]  # grid samplers call it at their last point
    return result


def working_seconds(trials: Iterable[FrozenTrial], now: Callable[[], float] = time.time) -> float:
    """How long the study has been at work: the time in which at least one trial was running.

    Pauses between two calls don't count, and trials side by side count once. It hangs on what the storage
    holds, so that all processes agree on it.
    """
    spans: list[list[float]] = []
    for trial in trials:
        spans += trial.user_attrs.get("spans", ())
        if trial.state == TrialState.RUNNING and "since" in trial.user_attrs:
            spans.append([trial.user_attrs["since"], now()])
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
