"""Real databases of both kinds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from lab.hpo.storage import Database

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that does not exist yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    new: Callable[[], str] = request.getfixturevalue("postgres")
    return new()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The database at `url`."""
    result = Database(url)
    yield result
    result.engine.dispose()


@pytest.fixture
def study(database: Database) -> optuna.Study:
    """A study without trials in it."""
    return optuna.create_study(storage=database.storage, study_name="s")
