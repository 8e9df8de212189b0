"""Every SQL statement of a study that Optuna has no call for: a name and a sentence each.

Those on Optuna's tables are few: which trial to run, its state, its reports, and the distributions of its
parameters. `lab_leases` is ours. Who may execute a statement, and under which lock, is up to the caller.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from lab.hpo.optuna_internals import PARAMS, REPORTS, TRIALS

LEASES = sa.Table(
    "lab_leases",
    sa.MetaData(),
    sa.Column("trial_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(255), nullable=False),  # empty while the trial waits
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),  # seconds since 1970 by the database's clock
)

# A trial without its parts. Its state is the name: SQLAlchemy takes longer for an enum than for all the rest.
_OUTLINE = (
    *(TRIALS.c.trial_id, TRIALS.c.number, sa.type_coerce(TRIALS.c.state, sa.String).label("state")),
    *(TRIALS.c.datetime_start, TRIALS.c.datetime_complete),
)
# Sync at checkpoints instead of at every commit, which WAL makes safe against a killed process.
SYNC_AT_CHECKPOINTS = "PRAGMA synchronous=NORMAL"
# Let other processes read an SQLite file while one writes.
WRITE_AHEAD_LOG = "PRAGMA journal_mode=WAL"
# Copy the log into an SQLite file, as far as nobody has to be waited for.
CHECKPOINT = sa.text("PRAGMA wal_checkpoint(PASSIVE)")
# Whether an SQLite file knows a study of this name.
STUDY_EXISTS = "SELECT 1 FROM studies WHERE study_name = ?"
# The time by PostgreSQL's clock, in seconds since 1970: clocks of machines differ.
SERVER_TIME = sa.text("SELECT extract(epoch FROM clock_timestamp())")
# Wait for PostgreSQL's lock with this key; it is free once the connection that holds it ends.
LOCK = sa.text("SELECT pg_advisory_lock(:key)")
# Free that lock.
UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")


def first_waiting(study_id: int) -> sa.Select[Any]:
    """The waiting trial with the lowest number, as (trial_id, number)."""
    return (
        sa.select(TRIALS.c.trial_id, TRIALS.c.number)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.WAITING)
        .order_by(TRIALS.c.number)
        .limit(1)
    )


def start(trial_id: int, now: datetime) -> sa.Update:
    """Make a waiting trial running; no row changes where it waits no longer."""
    return (
        sa.update(TRIALS)
        .where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.WAITING)
        .values(state=TrialState.RUNNING, datetime_start=now)
    )


def running(study_id: int) -> sa.Select[Any]:
    """The running trials with their leases, as far as they have one."""
    trial = (TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.datetime_start)
    return (
        sa.select(*trial, LEASES.c.owner, LEASES.c.expires)
        .select_from(TRIALS.outerjoin(LEASES, TRIALS.c.trial_id == LEASES.c.trial_id))
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING)
        .order_by(TRIALS.c.number)
    )


def finish(trial_id: int, state: TrialState, now: datetime) -> sa.Update:
    """Give a trial its final state."""
    return sa.update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(state=state, datetime_complete=now)


def requeue(trial_id: int) -> sa.Update:
    """Make a trial wait again."""
    return sa.update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(state=TrialState.WAITING)


def delete_reports(trial_id: int) -> sa.Delete:
    """Delete a trial's intermediate values."""
    return sa.delete(REPORTS).where(REPORTS.c.trial_id == trial_id)


def lease(trial_id: int) -> sa.Select[Any]:
    """The lease of a trial, also one that has ended."""
    return sa.select(LEASES).where(LEASES.c.trial_id == trial_id)


def first_lease(trial_id: int, owner: str, token: int, expires: float) -> sa.Insert:
    """Create a trial's lease; it fails where another process was faster."""
    return sa.insert(LEASES).values(trial_id=trial_id, owner=owner, token=token, expires=expires)


def next_lease(trial_id: int, owner: str, token: int, expires: float) -> sa.Update:
    """Replace a trial's lease by one with a new owner and token."""
    own = sa.update(LEASES).where(LEASES.c.trial_id == trial_id)
    return own.values(owner=owner, token=token, expires=expires)


def renew(trial_id: int, owner: str, token: int, expires: float) -> sa.Update:
    """Prolong a lease of a running trial; no row changes where it is another's: the fence of every write."""
    runs = sa.exists().where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.RUNNING)
    return sa.update(LEASES).where(*_held(trial_id, owner, token), runs).values(expires=expires)


def finished_under(trial_id: int, owner: str, token: int) -> sa.Select[Any]:
    """The trial, where it was finished under this lease."""
    finished = [state for state in TrialState if state.is_finished()]
    return (
        sa.select(TRIALS.c.trial_id)
        .join(LEASES, TRIALS.c.trial_id == LEASES.c.trial_id)
        .where(*_held(trial_id, owner, token), TRIALS.c.state.in_(finished))
    )


def end_lease(trial_id: int) -> sa.Update:
    """End a lease; its row stays, so that the next token is higher."""
    return sa.update(LEASES).where(LEASES.c.trial_id == trial_id).values(expires=0.0, owner="")


def news(study_id: int, last: int, known: Collection[int]) -> sa.Select[Any]:
    """The trials with an id above the last one, and those with a known id, as rows without their parts."""
    wanted = sa.or_(TRIALS.c.trial_id > last, TRIALS.c.trial_id.in_(known))
    return sa.select(*_OUTLINE).where(TRIALS.c.study_id == study_id, wanted)


def one_trial(trial_id: int) -> sa.Select[Any]:
    """The same of one trial, whatever its study."""
    return sa.select(*_OUTLINE).where(TRIALS.c.trial_id == trial_id)


def parts(columns: Sequence[sa.Column[Any]], trial_ids: Collection[int]) -> sa.Select[Any]:
    """Columns of what a table has of these trials, in the order in which it was written."""
    table = columns[0].table
    own = sa.select(table.c.trial_id, *columns).where(table.c.trial_id.in_(trial_ids))
    return own.order_by(*table.primary_key)


def distributions(study_id: int) -> sa.Select[Any]:
    """The different distributions of each parameter in a study's trials, as (name, JSON)."""
    columns = sa.select(PARAMS.c.param_name, PARAMS.c.distribution_json)
    return columns.where(PARAMS.c.trial_id.in_(_trials_of(study_id))).distinct()


def replace_distribution(study_id: int, name: str, old: str, new: str) -> sa.Update:
    """Replace one distribution of a parameter in all of a study's trials."""
    own = (PARAMS.c.param_name == name, PARAMS.c.distribution_json == old)
    changed = sa.update(PARAMS).where(PARAMS.c.trial_id.in_(_trials_of(study_id)), *own)
    return changed.values(distribution_json=new)


def _held(trial_id: int, owner: str, token: int) -> tuple[sa.ColumnElement[bool], ...]:
    return LEASES.c.trial_id == trial_id, LEASES.c.owner == owner, LEASES.c.token == token


def _trials_of(study_id: int) -> sa.Select[Any]:
    return sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
