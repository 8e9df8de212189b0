"""Leases on trials, with fencing tokens, in the study's own database.

A trial keeps its row and number for life. It is WAITING until a process claims it, RUNNING while a lease says
whose it is, and finished once. Each claim raises the trial's token, and every write to a trial is one
transaction that first touches the lease by owner and token: who has lost it can't write. Recovery is the
same claim made on a lease that ran out, so nothing is copied and nothing can be lost between two steps.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import UpdateBase

from lab.hpo import queries
from lab.hpo.clock import REAL, Clock
from lab.hpo.optuna_internals import TrialWriter, insert_trial
from lab.hpo.storage import Database, is_dead, process_identity, unless_unavailable
from lab.hpo.trial_draft import as_running
from lab.report.trial_attributes import TrialAttributes


class LeaseLost(RuntimeError):
    """The trial is another process's by now: stop working on it, and write nothing."""


class AlreadyFinished(LeaseLost):
    """The trial was finished under this very lease: the transaction was committed, and its answer lost."""


class Previous(Enum):
    """The owner of a claimed trial before."""

    NOBODY = auto()
    SELF = auto()  # an outage broke its claim off: the transaction was committed, and the answer lost
    DEAD = auto()  # its process is proven to be gone
    SILENT = auto()  # it has not renewed its lease: suspended, on a machine that is gone, or a clock jumped

    @property
    def is_gone(self) -> bool:
        """True where the work of another process on the trial has ended without a result."""
        return self in (Previous.DEAD, Previous.SILENT)


class Stalled(NamedTuple):
    """A running trial that no process works on any more."""

    trial_id: int
    number: int
    previous: Previous


@dataclass(frozen=True)
class Lease:
    """The right to write to one trial."""

    trial_id: int
    number: int
    owner: str
    token: int
    previous: Previous = Previous.NOBODY


class Leases:
    """The leases of one study's trials, as one process sees them.

    Args:
        study_id: Optuna's.
        seconds: how long a lease holds without being renewed.
        owner: who claims; by default this process.
        clock: of this machine; a database server has its own.
        is_dead: returns whether an owner is known to be gone.
    """

    def __init__(
        self,
        database: Database,
        study_id: int,
        seconds: float,
        owner: str | None = None,
        *,
        clock: Clock = REAL,
        is_dead: Callable[[str], bool] = is_dead,
    ) -> None:
        self._database, self._study_id, self.seconds = database, study_id, seconds
        self._clock, self._is_dead = clock, is_dead
        self.owner = owner or process_identity()
        with database.exclusive("leases"):
            queries.LEASES.metadata.create_all(database.engine)

    def claim_waiting(self) -> Lease | None:
        """Claim the first waiting trial; None where there is none. Call it under the study's lock."""
        with Session(self._database.engine) as session:
            row = session.execute(queries.first_waiting(self._study_id)).first()
        if row is None:
            return None
        with Session(self._database.engine) as session, session.begin():
            if not _changes_one(session, queries.start(row.trial_id, self._utc_now())):
                return None
            return self._take(session, row.trial_id, row.number, Previous.NOBODY)

    def create(self, draft: FrozenTrial) -> Lease | None:
        """Add a trial that runs, and claim it; None where another process has taken its number meanwhile.

        All of it is one transaction, and the count is checked within it. Where the answer to its COMMIT is
        lost the trial is found as a stalled one of this process, so that there is never one too many.
        """
        running = as_running(draft, datetime.fromtimestamp(self._clock.now()))
        with Session(self._database.engine) as session, session.begin() as transaction:
            trial_id, number = insert_trial(self._database.backend, session, self._study_id, running)
            if number != draft.number:
                transaction.rollback()
                return None
            return self._take(session, trial_id, number, Previous.NOBODY)

    def stalled(self, held: Collection[int] | None = None) -> list[Stalled]:
        """Return the running trials whose owner is dead or has not renewed its lease.

        A running trial without a lease counts from its start.

        Args:
            held: the trials that this process is at work on; others of its own were claimed when the database
                went away, and nobody works on them.
        """
        with Session(self._database.engine) as session:
            now = self._now(session)
            rows = session.execute(queries.running(self._study_id)).all()
        found = []
        for row in rows:
            if row.owner == self.owner:
                gone, previous = held is not None and row.trial_id not in held, Previous.SELF
            elif row.owner is None:
                started = row.datetime_start or datetime.min
                silent = (self._utc_now() - started).total_seconds()
                gone, previous = silent > self.seconds, Previous.SILENT
            elif self._is_dead(row.owner):
                gone, previous = True, Previous.DEAD
            else:
                gone, previous = row.expires < now, Previous.SILENT
            if gone:
                found.append(Stalled(row.trial_id, row.number, previous))
        return found

    def take_over(self, stalled: Stalled, held: Collection[int] | None = None) -> Lease | None:
        """Claim a stalled trial; None where another process was faster. Call it under the study's lock."""
        if stalled not in self.stalled(held):
            return None
        try:
            with Session(self._database.engine) as session, session.begin():
                return self._take(session, *stalled)
        except IntegrityError:
            return None

    @contextmanager
    def writing(self, lease: Lease) -> Iterator["Writer"]:
        """One transaction that writes to a trial, and renews its lease first.

        Raises:
            AlreadyFinished: the trial was finished under this lease; nothing is written.
            LeaseLost: the lease is another's; nothing is written.
        """
        with Session(self._database.engine) as session, session.begin():
            # The fence comes first: its row lock keeps the lease until the transaction ends.
            key = (lease.trial_id, lease.owner, lease.token)
            if not _changes_one(session, queries.renew(*key, self._now(session) + self.seconds)):
                if session.execute(queries.finished_under(*key)).first() is not None:
                    raise AlreadyFinished(f"trial {lease.number} is finished")
                raise LeaseLost(f"trial {lease.number} belongs to another process by now")
            yield Writer(self._database, session, lease, self._utc_now)

    def _take(self, session: Session, trial_id: int, number: int, previous: Previous) -> Lease:
        row = session.execute(queries.lease(trial_id)).first()
        token = 1 if row is None else row.token + 1
        write = queries.first_lease if row is None else queries.next_lease
        session.execute(write(trial_id, self.owner, token, self._now(session) + self.seconds))
        return Lease(trial_id, number, self.owner, token, previous)

    def _now(self, session: Session) -> float:
        """Seconds since 1970: by the server's clock where there is one, for machines' clocks differ."""
        if self._database.file is not None:
            return self._clock.now()
        return float(session.execute(queries.SERVER_TIME).scalar_one())

    def _utc_now(self) -> datetime:
        """Now, as Optuna stores it: UTC without a time zone."""
        return datetime.fromtimestamp(self._clock.now(), UTC).replace(tzinfo=None)


class Writer(TrialWriter):
    """Writes to one trial within one transaction."""

    def __init__(
        self, database: Database, session: Session, lease: Lease, utc_now: Callable[[], datetime]
    ) -> None:
        super().__init__(database.backend, session, lease.trial_id)
        self._utc_now = utc_now

    def set_attributes(self, attributes: TrialAttributes) -> None:
        """Store user attributes."""
        for name, value in attributes.stored().items():
            self.user_attribute(name, value)

    def delete_reports(self) -> None:
        """Delete the intermediate values: the trial starts again from scratch."""
        self._session.execute(queries.delete_reports(self._id))

    def finish(self, state: TrialState, values: Sequence[float] | None = None) -> None:
        """End the trial. Owner and token stay, by which its owner knows that the result is its own."""
        for objective, value in enumerate(values or ()):
            self.value(objective, value)
        self._session.execute(queries.finish(self._id, state, self._utc_now()))

    def release(self) -> None:
        """Leave the trial waiting, for whoever comes next."""
        self._session.execute(queries.requeue(self._id))
        self._session.execute(queries.end_lease(self._id))


def _changes_one(session: Session, statement: UpdateBase) -> bool:
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined, no-any-return]


@contextmanager
def heartbeat(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Context in which a thread calls a function at regular intervals.

    Args:
        action: renews leases. A lease that is lost while the database is away is noticed at the next write.
        seconds: between two calls.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            unless_unavailable(action, None)

    thread = threading.Thread(target=beat, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5.0)
