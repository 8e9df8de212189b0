"""A connection to a database that breaks after a COMMIT and before its answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from lab.hpo.storage import Database


@contextmanager
def lost_answers(database: Database, count: int, after: int = 0) -> Iterator[None]:
    """Context in which transactions that write to a database are committed, and raise.

    Args:
        count: how many.
        after: transactions before them, whose answers arrive.
    """
    dialect, number, writing = database.engine.dialect, 0, set[int]()
    commit = dialect.do_commit

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            writing.add(id(connection.connection.dbapi_connection))

    def do_commit(connection: Any) -> None:
        nonlocal number
        commit(connection)
        wrote = id(connection.dbapi_connection) in writing
        writing.discard(id(connection.dbapi_connection))
        number += wrote
        if wrote and after < number <= after + count:
            raise OperationalError("COMMIT", {}, ConnectionError("the answer was lost"))

    dialect.do_commit = do_commit  # type: ignore[method-assign]
    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
        dialect.do_commit = commit  # type: ignore[method-assign]
