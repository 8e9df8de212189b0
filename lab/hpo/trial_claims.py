"""Which trial is next: an orphan, a waiting one, or a new point, until there are as many as asked for."""

import copy
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lab.config import ConfigError, Problem, RunConfig
from lab.config.config_diff import same
from lab.config.enqueued_trials import is_complete, stored
from lab.config.optimize_config import OptimizeConfig
from lab.config.search_points import key
from lab.hpo.learning_curve import Curve
from lab.hpo.leases import Lease, LeaseLost, Leases
from lab.hpo.new_points import Exhausted, Proposals
from lab.hpo.optuna_internals import storage_of, study_id, trial_id
from lab.hpo.samplers import create_sampler
from lab.hpo.storage import Database
from lab.hpo.trial_draft import FIXED, NOT_STORED, as_waiting, new_draft
from lab.hpo.trial_folder import read_trial
from lab.report.trial_attributes import Spans, TrialAttributes
from lab.store import file_io, run_folder
from lab.store.redact import redact


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
    spans: Spans = ()
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
        report: gets a line about each enqueued point that can't be tried.
    """

    def __init__(
        self,
        config: OptimizeConfig,
        study: optuna.Study,
        database: Database,
        leases: Leases,
        folder: Path,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._config, self._study, self._database = config, study, database
        self._leases, self._folder = leases, folder
        self._proposals, self._report = Proposals(config, study), report
        self._left_out: set[str] = set()
        self._full = False  # there are as many trials as asked for
        self.exhausted: Exhausted | None = None  # why there are no more trials, where that is before the last

    def next(self, held: Collection[int] = ()) -> Trial | None:
        """Claim a trial; None where there is none to be had at the moment.

        Raises:
            ConfigError: the sampler can't propose a point; nothing is claimed.
        """
        with self._database.exclusive(self._study.study_name):
            died = False
            lease = None
            for orphan in self._leases.stalled(held):
                lease = self._leases.take_over(*orphan, held)
                died = lease is not None and not lease.again
                if lease is not None:
                    break
            lease = lease or self._leases.claim_waiting()
            if lease is None and self._create():
                lease = self._leases.claim_waiting()
            if lease is None:
                return None
            try:
                return self._claimed(lease, died)
            except LeaseLost:
                return None

    def _create(self) -> bool:
        """Add a trial with its point, unless there are as many as asked for, or there is no point left."""
        trials = self._study.get_trials(deepcopy=False)
        if self.exhausted is not None:
            return False
        if _made(trials) >= self._config.total:
            if not self._full:  # it is asked again and again until the last trial has ended
                self._full = True
                for marker, _ in self._enqueued(trials):
                    self._leave_out(marker, f"the study has its {self._config.total} trials; raise n_trials")
            return False
        for marker, fixed in [*self._enqueued(trials), ("", {})]:
            draft = new_draft(len(trials), fixed, TrialAttributes(enqueued=marker or None).stored())
            try:
                found = self._proposed(draft, trials)
            except Exhausted as reason:
                if not marker:
                    self.exhausted = reason
                else:
                    self._leave_out(marker, str(reason))
                continue
            storage_of(self._study).create_new_trial(study_id(self._study), as_waiting(found))
            return True
        return False

    def _leave_out(self, marker: str, reason: str) -> None:
        """Report once that an enqueued point is not tried."""
        if marker not in self._left_out:
            self._left_out.add(marker)
            self._report(f"the enqueued point {marker} is left out: {reason}")

    def _enqueued(self, trials: Sequence[FrozenTrial]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The points of the file that are still to be tried first: (what distinguishes them, as stored)."""
        space = self._config.space
        begun = {TrialAttributes.of(trial).enqueued for trial in trials}
        tried = {key(space, trial.params) for trial in trials}
        for point in self._config.enqueue:
            params = stored(space, point)
            marker = json.dumps(params, sort_keys=True)
            if marker not in begun and not (is_complete(space, params) and key(space, params) in tried):
                yield marker, params

    def _proposed(self, draft: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """The draft with a point.

        Raises:
            Exhausted: there is none left.
            ConfigError: the sampler can't propose one, or a constraint can't be computed.
        """
        stored_already = trial_id(draft) != NOT_STORED
        try:
            if stored_already and FIXED in draft.system_attrs:  # by another program
                return self._proposals.as_given(draft)
            return self._proposals.complete(draft, trials)
        except (SQLAlchemyError, StorageInternalError, Exhausted, ConfigError):
            raise
        except Exception as error:
            message = f"can't propose trial {draft.number}: {type(error).__name__}: {error}"
            raise ConfigError([Problem(("sampler",), message)]) from error

    def made(self) -> int:
        """How many trials there are that count."""
        return _made(self._study.get_trials(deepcopy=False))

    def unfinished(self) -> int:
        """How many trials are neither finished nor yet to be made."""
        return sum(not trial.state.is_finished() for trial in self._study.get_trials(deepcopy=False))

    def _claimed(self, lease: Lease, died: bool) -> Trial:
        recipe, problem = None, ""
        try:
            values = self._values(lease)
        except Exhausted as reason:
            values, problem = {}, str(reason)
        known = TrialAttributes.of(storage_of(self._study).get_trial(lease.trial_id))
        spans, since, halvings = known.spans or (), time.time(), known.halvings or 0
        if died and known.since is not None:  # to when its owner was last heard of
            spans = (*spans, (known.since, max(lease.seen, known.since)))
        with self._leases.writing(lease) as writer:
            writer.set_attributes(TrialAttributes(since=since, spans=spans))
        folder = self._folder / f"trial_{lease.number:05d}"
        try:
            recipe = None if problem else self._config.trial_config(values)
        except ValueError as error:
            problem = str(error).replace("\n", "; ")
        return Trial(
            lease=lease,
            values=values,
            recipe=recipe,
            problem=problem,
            folder=folder,
            resume=_goes_on(folder, lease.number, values, halvings),
            died=died,
            deaths=known.deaths or 0,
            progress=known.progress or 0,
            saved=known.saved or 0.0,
            restarts=known.restarts or 0,
            halvings=halvings,
            spans=spans,
            since=since,
            curve=Curve(recipe.epochs if recipe else 1),
        )

    def _values(self, lease: Lease) -> dict[str, Any]:
        """The trial's values; new ones where its maker wrote none, such as another program.

        Raises:
            Exhausted: there is no point left for it.
        """
        storage = storage_of(self._study)
        frozen = storage.get_trial(lease.trial_id)
        try:
            return self._config.space.from_params(frozen.params)
        except (KeyError, ValueError):
            pass
        trials = self._study.get_trials(deepcopy=False)
        others = [trial for trial in trials if trial_id(trial) != lease.trial_id]
        try:
            found = self._proposed(copy.deepcopy(frozen), others)
        except ConfigError:
            with self._leases.writing(lease) as writer:
                writer.release()
            raise
        for name, value in found.params.items():
            distribution = found.distributions[name]
            storage.set_trial_param(lease.trial_id, name, distribution.to_internal_repr(value), distribution)
        for name, value in found.system_attrs.items():
            storage.set_trial_system_attr(lease.trial_id, name, value)
        return self._config.space.from_params(found.params)


def _made(trials: Sequence[FrozenTrial]) -> int:
    """The number of trials that count: those of another study don't."""
    return sum(TrialAttributes.of(trial).forked_from is None for trial in trials)


def _goes_on(folder: Path, number: int, values: dict[str, Any], halvings: int) -> bool:
    """Whether a folder holds what this very trial has left, with a batch of this size."""
    facts = read_trial(folder)
    params = file_io.as_json_values(redact({"params": values})["params"])  # as the folder has them
    same_point = facts.get("number") == number and same(facts.get("params"), params)
    return same_point and facts.get("halvings", 0) == halvings and (folder / run_folder.CONFIG).exists()


def with_sampler(study: optuna.Study, config: OptimizeConfig, number: int) -> optuna.Study:
    """The study with the sampler of one trial; a new object, for the old one remembers the trials it read."""
    sampler = create_sampler(config, number)
    result = optuna.load_study(study_name=study.study_name, storage=storage_of(study), sampler=sampler)
    result.stop = lambda: None  # type: ignore[method-assign]  # grid samplers call it at their last point
    return result


def working_seconds(trials: Iterable[FrozenTrial], now: Callable[[], float] = time.time) -> float:
    """How long the study has been at work: the time in which at least one trial was running.

    Pauses between two calls don't count, and trials side by side count once. It hangs on what the storage
    holds, so that all processes agree on it.
    """
    spans: list[tuple[float, float]] = []
    for trial in trials:
        known = TrialAttributes.of(trial)
        spans += known.spans or ()
        if trial.state == TrialState.RUNNING and known.since is not None:
            spans.append((known.since, now()))
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
