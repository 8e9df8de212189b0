"""`~` is the home folder wherever a path is written, and a variable is refused by its name."""

import os
import pwd
import re
from pathlib import Path

import pytest

from lab.store import paths

ME = pwd.getpwuid(os.getuid())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and the current one elsewhere."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~", "HOME"), ("~/", "HOME"), ("~/x/y", "HOME/x/y"), (Path("~/x"), "HOME/x"),
        (f"~{ME.pw_name}/x", f"{ME.pw_dir.rstrip('/')}/x"), (f"~{ME.pw_name}", ME.pw_dir),
        ("./~/x", "~/x"), ("x/~/y", "x/~/y"), ("x~", "x~"), ("/~", "/~"), ("", "."), ("$DATA", "$DATA"),
    ],
)  # fmt: skip
def test_expanded(home: Path, text: str | Path, expected: str) -> None:
    assert paths.expanded(text) == Path(expected.replace("HOME", str(home), 1))


def test_nobodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "~nobody-here/x: there is no user 'nobody-here'; a file of this name is ./~nobody-here"
    with pytest.raises(ValueError, match=re.escape(message)):
        paths.expanded("~nobody-here/x")
    assert paths.problem_of("~nobody-here").startswith("there is no user 'nobody-here'")
    Path("~draft").touch()
    assert paths.expanded("~draft") == Path("~draft") and paths.problem_of("~draft") == ""
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ValueError, match="HOME is not set"):
        paths.expanded("~/x")
    monkeypatch.delenv("HOME")
    assert paths.expanded("~/x") == Path(ME.pw_dir) / "x"
    monkeypatch.setattr("os.path.expanduser", lambda text: text)  # a container without this user
    assert "HOME is not set" in paths.problem_of("~/x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("$HOME/x", "$HOME"), ("${HOME}/x", "${HOME}"), ("a/$B/c", "$B"), ("a/run_$USER", "$USER"),
        ("%USERPROFILE%/x", "%USERPROFILE%"), ("${env:HOME}/x", "${env:HOME}"), ("$x.png", "$x"),
        ("~/$x", "$x"), ("data$1.png", None), ("a$", None), ("100%/x", None), ("%Y%m%d", None), ("a b", None),
        ("$x$", None), ("$(pwd)/x", None), ("x/$$", None), ("\0$HOME", None),
    ],
)  # fmt: skip
def test_variables(text: str, name: str | None) -> None:
    found = paths.problem_of(text)
    assert found == "" if name is None else f"and {name} is one" in found


def test_a_file_with_a_dollar_in_its_name_is_a_file(home: Path) -> None:
    Path("$RECYCLE.BIN").mkdir()
    (home / "a$b").touch()
    assert paths.problem_of("$RECYCLE.BIN") == "" == paths.problem_of("~/a$b")
    assert paths.problem_of("$RECYCLE.BIN/x") != ""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///~/studies.db", "sqlite:///HOME/studies.db"),
        ("sqlite:///~/a/s.db?timeout=5", "sqlite:///HOME/a/s.db?timeout=5"),
        ("sqlite+pysqlite:///~/s.db", "sqlite+pysqlite:///HOME/s.db"),
        ("sqlite:///s.db", "sqlite:///s.db"),
        ("sqlite:////tmp/~/s.db", "sqlite:////tmp/~/s.db"),
        ("postgresql://u:~/@h/~db", "postgresql://u:~/@h/~db"),
    ],
)
def test_databases(home: Path, url: str, expected: str) -> None:
    assert paths.url_problem(url) == ""
    assert paths.url_expanded(url) == expected.replace("HOME", str(home))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite:///$HOME/s.db", "$HOME is one"),
        ("sqlite:///a/${USER}.db", "${USER} is one"),
        ("sqlite:///~nobody-here/s.db", "no user 'nobody-here'"),
        ("sqlite:////~/s.db", "did you mean 'sqlite:///~/s.db'?"),
        ("postgresql://$USER:x@h/db", "$USER is one"),
        ("postgresql://u:${PGPASSWORD}@h/db", "${PGPASSWORD} is one"),
        ("postgresql://u:x@$HOST/db", "$HOST is one"),
    ],
)
def test_databases_that_are_refused(url: str, named: str) -> None:
    assert named in paths.url_problem(url)


@pytest.mark.parametrize(
    "url", ["postgresql://u:pa$word@h/db", "postgresql://u:%24x@h/db", "sqlite:///a$1.db"]
)
def test_a_dollar_within_a_name_is_none(url: str) -> None:
    assert paths.url_problem(url) == ""
