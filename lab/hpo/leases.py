"""Who works on which trial: leases with fencing tokens, in the study's own database.

A trial keeps its row and number for life. It is WAITING until somebody claims it, RUNNING while a lease says
whose it is, and finished once. Each claim raises the trial's token, and every write to a trial is one
transaction that first touches the lease by owner and token: who has lost it can't write. Recovery is the
same claim made on a lease that ran out, so nothing is copied and nothing can be lost between two steps.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Column, Float, Integer, MetaData, String, Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lab.hpo.storage import Database, is_dead, process_identity
from lab.report.trial_attributes import TrialAttributes

_TABLE = Table(
    "lab_leases",
    MetaData(),
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(255), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires", Float, nullable=False),  # seconds since 1970 by the database's clock
)


class LeaseLost(RuntimeError):
    """The trial is somebody else's by now: stop working on it, and write nothing."""


@dataclass(frozen=True)
class Lease:
    """The right to write to one trial.

    Args:
        seen: when the one before was last known to be held, in seconds since 1970; 0 where there was none.
        again: the one before was this process's, too.
    """

    trial_id: int
    number: int
    owner: str
    token: int
    seen: float = 0.0
    again: bool = False


class Leases:
    """The leases of one study's trials, as one process sees them.

    Args:
        study_id: Optuna's.
        seconds: how long a lease holds without being renewed.
        owner: who claims; by default this process.
    """

    def __init__(self, database: Database, study_id: int, seconds: float, owner: str | None = None) -> None:
        self._database, self._study_id, self.seconds = database, study_id, seconds
        self.owner = owner or process_identity()
        with database.exclusive("leases"):
            _TABLE.metadata.create_all(database.engine)

    def claim_waiting(self) -> Lease | None:
        """Take the first waiting trial; None where there is none. Call it under the study's lock."""
        trials = models.TrialModel.__table__
        with Session(self._database.engine) as session:
            row = session.execute(
                sqlalchemy.select(trials.c.trial_id, trials.c.number)
                .where(trials.c.study_id == self._study_id, trials.c.state == TrialState.WAITING)
                .order_by(trials.c.number)
                .limit(1)
            ).first()
        if row is None:
            return None
        with Session(self._database.engine) as session, session.begin():
            changed = session.execute(
                sqlalchemy.update(models.TrialModel)
                .where(
                    models.TrialModel.trial_id == row.trial_id, models.TrialModel.state == TrialState.WAITING
                )
                .values(state=TrialState.RUNNING, _datetime_start_utc=_utc_now())
                .execution_options(synchronize_session=False)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                return None
            return self._take(session, row.trial_id, row.number)

    def stalled(self, held: Collection[int] | None = None) -> list[tuple[int, int]]:
        """(trial_id, number) of the running trials whose owner is dead, or has not renewed its lease.

        A running trial without a lease counts from its start.

        Args:
            held: the trials that this process is at work on; others of its own were claimed when the database
                went away, and nobody works on them.
        """
        trials = models.TrialModel.__table__
        with Session(self._database.engine) as session:
            now = self._now(session)
            rows = session.execute(
                sqlalchemy.select(
                    trials.c.trial_id,
                    trials.c.number,
                    trials.c.datetime_start,
                    _TABLE.c.owner,
                    _TABLE.c.expires,
                )
                .select_from(trials.outerjoin(_TABLE, trials.c.trial_id == _TABLE.c.trial_id))
                .where(trials.c.study_id == self._study_id, trials.c.state == TrialState.RUNNING)
                .order_by(trials.c.number)
            ).all()
        found = []
        for row in rows:
            if row.owner == self.owner:
                if held is not None and row.trial_id not in held:
                    found.append((row.trial_id, row.number))  # an outage broke its claim off
                continue
            if row.owner is None:
                started = row.datetime_start or datetime.min
                gone = (_utc_now() - started).total_seconds() > self.seconds
            else:
                gone = row.expires < now or is_dead(row.owner)
            if gone:
                found.append((row.trial_id, row.number))
        return found

    def take_over(self, trial_id: int, number: int, held: Collection[int] | None = None) -> Lease | None:
        """Claim an orphan; None where somebody was faster. Call it under the study's lock."""
        if (trial_id, number) not in self.stalled(held):
            return None
        try:
            with Session(self._database.engine) as session, session.begin():
                return self._take(session, trial_id, number)
        except IntegrityError:
            return None

    @contextmanager
    def writing(self, lease: Lease) -> Iterator["Writer"]:
        """One transaction that writes to a trial, and renews its lease first.

        Raises:
            LeaseLost: the lease is another's; nothing is written.
        """
        with Session(self._database.engine) as session, session.begin():
            self._fence(session, lease, self._now(session) + self.seconds)
            yield Writer(self._database, session, lease)

    def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        """Prolong leases; returns those that are lost."""
        lost = []
        for lease in leases:
            try:
                with self.writing(lease):
                    pass
            except LeaseLost:
                lost.append(lease)
        return lost

    def _take(self, session: Session, trial_id: int, number: int) -> Lease:
        row = session.execute(sqlalchemy.select(_TABLE).where(_TABLE.c.trial_id == trial_id)).first()
        token = 1 if row is None else row.token + 1
        seen = row.expires - self.seconds if row is not None and row.owner else 0.0
        values = {"owner": self.owner, "token": token, "expires": self._now(session) + self.seconds}
        if row is None:
            session.execute(sqlalchemy.insert(_TABLE).values(trial_id=trial_id, **values))
        else:
            session.execute(sqlalchemy.update(_TABLE).where(_TABLE.c.trial_id == trial_id).values(**values))
        return Lease(trial_id, number, self.owner, token, seen, row is not None and row.owner == self.owner)

    def _fence(self, session: Session, lease: Lease, expires: float) -> None:
        changed = session.execute(
            sqlalchemy.update(_TABLE)
            .where(
                _TABLE.c.trial_id == lease.trial_id,
                _TABLE.c.owner == lease.owner,
                _TABLE.c.token == lease.token,
            )
            .values(expires=expires)
        )
        if changed.rowcount != 1:  # type: ignore[attr-defined]
            raise LeaseLost(f"trial {lease.number} belongs to another process by now")

    def _now(self, session: Session) -> float:
        """Seconds since 1970: by the server's clock where there is one, for machines' clocks differ."""
        if self._database.file is not None:
            return time.time()
        query = sqlalchemy.text("SELECT extract(epoch FROM clock_timestamp())")
        return float(session.execute(query).scalar_one())


class Writer:
    """Writes to one trial within one transaction."""

    def __init__(self, database: Database, session: Session, lease: Lease) -> None:
        self._backend, self._session, self._id = database.backend, session, lease.trial_id

    def report(self, values: Mapping[int, float]) -> None:
        """Store intermediate values by step."""
        for step, value in values.items():
            self._backend._set_trial_intermediate_value_without_commit(self._session, self._id, step, value)

    def note(self, attributes: TrialAttributes) -> None:
        """Store user attributes."""
        for name, value in attributes.stored().items():
            self._backend._set_trial_attr_without_commit(
                self._session, models.TrialUserAttributeModel, self._id, name, value
            )

    def violate(self, name: str, by: float) -> None:
        """Store a violated constraint, as Optuna's samplers read it."""
        self._backend._set_trial_attr_without_commit(
            self._session, models.TrialSystemAttributeModel, self._id, name, by
        )

    def delete_reports(self) -> None:
        """Drop the intermediate values: the trial begins anew."""
        table = models.TrialIntermediateValueModel
        self._session.execute(sqlalchemy.delete(table).where(table.trial_id == self._id))

    def finish(self, state: TrialState, values: Sequence[float] | None = None) -> None:
        """End the trial, and its lease."""
        trial = models.TrialModel.find_or_raise_by_id(self._id, self._session)
        for objective, value in enumerate(values or ()):
            self._backend._set_trial_value_without_commit(self._session, trial, objective, value)
        trial.state = state
        trial._datetime_complete_utc = _utc_now()
        self._drop()

    def release(self) -> None:
        """Leave the trial waiting, for whoever comes next."""
        trial = models.TrialModel.find_or_raise_by_id(self._id, self._session)
        trial.state = TrialState.WAITING
        self._drop()

    def _drop(self) -> None:
        """End the lease; its row stays, so that tokens go on counting."""
        statement = sqlalchemy.update(_TABLE).where(_TABLE.c.trial_id == self._id)
        self._session.execute(statement.values(expires=0.0, owner=""))


def _utc_now() -> datetime:
    """Now, as Optuna stores it: UTC without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None)
