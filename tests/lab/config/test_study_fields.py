"""Durations, storages and names as a study's file has them."""

from typing import Any

import pytest

from lab.config import ConfigError
from lab.config.base import Frozen
from lab.config.study_fields import Device, Duration, Storage, StudyName
from lab.config.validation import validate


class Fields(Frozen):
    duration: Duration = 1.0
    storage: Storage = "sqlite:///studies.db"
    name: StudyName = "a"
    device: Device = "cpu"


def said(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(Fields, values)
    (problem,) = caught.value.problems
    assert problem.path == tuple(values)
    return problem.message


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0), (0.5, 0.5), ("90s", 90.0), ("1.5s", 1.5), ("30m", 1800.0), ("2h", 7200.0),
        ("1d", 86400.0), ("1h30m", 5400.0), ("1d2h3m4s", 93784.0),
    ],
)  # fmt: skip
def test_durations(written: Any, seconds: float) -> None:
    assert validate(Fields, {"duration": written}).duration == seconds


@pytest.mark.parametrize(
    "written", ["", "5x", "1.5h", "h", "30m1h", "-5s", "10", "1 h", "9" * 40 + "s", None, [1]]
)
def test_what_is_no_duration(written: Any) -> None:
    assert said(duration=written).startswith("found ")
    assert "expected seconds, or a text such as 90s, 30m, 2h, 1d or 1h30m" in said(duration=written)


@pytest.mark.parametrize("written", [0, -1, "0s", True, float("inf"), float("nan")])
def test_a_duration_is_more_than_nothing(written: Any) -> None:
    assert said(duration=written).endswith("more than 0")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///studies.db",
        "sqlite:////abs/studies.db",
        "postgresql://user:secret@host/db",
        "postgresql+psycopg://host/db",
    ],
)
def test_storages(url: str) -> None:
    assert validate(Fields, {"storage": url}).storage == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("studies.db", "found 'studies.db' (text), expected sqlite:///FILE or postgresql://...;"
                       " did you mean 'sqlite:///studies.db'?"),
        ("", "found '' (text), expected sqlite:///FILE or postgresql://..."),
        ("sqlite://studies.db", "found 'sqlite://studies.db' (text); a file has three slashes:"
                                " did you mean 'sqlite:///studies.db'?"),
        ("sqlite://", "a database in memory is gone with its process; give a file: sqlite:///studies.db"),
        ("sqlite:///", "a database in memory is gone with its process; give a file: sqlite:///studies.db"),
        ("sqlite:///:memory:", "a database in memory is gone with its process; give a file: sqlite:///studies.db"),
        ("sqlite:///file:x?mode=memory", "a database in memory is gone with its process;"
                                         " give a file: sqlite:///studies.db"),
        ("postgres://host/db", "the name is postgresql; did you mean 'postgresql://...'?"),
        ("postgresql://", "found 'postgresql' (text), expected sqlite:///FILE or postgresql://..."
                          "; did you mean 'postgresql'?"),
        ("mysql+pymysql://h/d", "found 'mysql+pymysql' (text); only SQLite and PostgreSQL can claim a trial"
                                " safely here"),
        ("studies.log", "a journal can't be repaired after a torn write; use sqlite:///FILE or postgresql://..."),
        ("sqlit:///x.db", "found 'sqlit' (text), expected sqlite:///FILE or postgresql://...;"
                          " did you mean 'sqlite'?"),
    ],
)  # fmt: skip
def test_storages_that_are_refused(url: str, says: str) -> None:
    assert said(storage=url) == says


@pytest.mark.parametrize("name", ["a", "unet-2.1_x", "_", "0", "a" * 100])
def test_names(name: str) -> None:
    assert validate(Fields, {"name": name}).name == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "ä", "-x", "a\n", "a" * 101])
def test_what_is_no_folder_name(name: str) -> None:
    assert said(name=name).endswith("expected a name for a folder: letters, digits, _ . and -")


@pytest.mark.parametrize("device", ["auto", "gpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_what_is_no_device(device: str) -> None:
    assert said(device=device).endswith("expected cpu, cuda, cuda:1 or mps")
