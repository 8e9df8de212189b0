"""Paths among the arguments of components: found without anybody's annotations."""

from pathlib import Path
from typing import Any

import pytest

from lab.config import ConfigError
from lab.config.component_spec import Spec
from lab.config.file_paths import problems
from lab.config.validation import validate

TAKEN = "tests.lab.config.test_file_paths.taken"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def taken(**arguments: Any) -> dict[str, Any]:
    """Return what it is called with: a component of the user's own, which annotates nothing."""
    return arguments


def test_home_folders_in_any_argument(home: Path) -> None:
    others = {"separator": "~", "formula": "~ a + b", "about": "~approx", "number": 3}
    deep = {"several": ["~/a", "b~", {"deep": "~/c"}], "within": {"target": TAKEN, "file_name": "~/d"}}
    spec = validate(Spec, {"target": TAKEN, "root": "~", "weights": "~/w.pt", **deep, **others})
    assert list(spec.check()) == []
    assert spec.build() == {
        "root": str(home), "weights": f"{home}/w.pt", "several": [f"{home}/a", "b~", {"deep": f"{home}/c"}],
        "within": {"file_name": f"{home}/d"}, **others,
    }  # fmt: skip
    assert spec.arguments["root"] == "~", "the config stays as it was written"
    assert spec.as_function()() == spec.build()


@pytest.mark.parametrize(
    ("arguments", "path", "named"),
    [
        ({"root": "$DATA"}, ("root",), "$DATA"),
        ({"root": "$NOT_SET"}, ("root",), "$NOT_SET"),
        ({"cache_dir": "x${A}"}, ("cache_dir",), "${A}"),
        ({"source": "$DATA"}, ("source",), "$DATA"),
        ({"source": "$NOT_SET/x"}, ("source",), "$NOT_SET"),
        ({"parts": [{"a": "b"}, {"a": "lists/$B.txt"}]}, ("parts", 1, "a"), "$B"),
        ({"files": ["a", "$B"]}, ("files", 1), "$B"),
        ({"source": "%APPDATA%\\x"}, ("source",), "%APPDATA%"),
        ({"source": "~nobody-here/x"}, ("source",), "nobody-here"),
        ({"path": "~nobody-here"}, ("path",), "nobody-here"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], path: tuple[Any, ...], named: str) -> None:
    (problem,) = problems(arguments)
    assert problem.path == path and named in problem.message
    assert [found.path for found in validate(Spec, {"target": TAKEN, **arguments}).check()] == [path]


@pytest.mark.parametrize(
    "text",
    [
        "$x$", "a^$", "price in $USD/kg", "https://host/$x", "$NOT_SET", "costs $5/h", "{a}$",
        r"$\alpha/\beta$", "%Y/%m/%d", "50%/50%", "~a", "a ~ b/c", "$A B/c",
    ],
)  # fmt: skip
def test_what_is_no_path(text: str) -> None:
    assert list(problems({"title": text})) == []


def test_files_that_are_there(home: Path) -> None:
    (home / "data" / "raw$A").mkdir(parents=True)
    (home / "x").mkdir()
    (home / "x" / "$B").touch()
    assert list(problems({"root": "data", "images": "raw$A", "file": "x/$B"})) == []
    assert len(list(problems({"root": "data", "images": "raw/$C"}))) == 1


def test_a_component_within_another_is_reported_once_and_at_its_place() -> None:
    spec = validate(Spec, {"target": TAKEN, "inner": {"target": TAKEN, "root": "$DATA/x"}})
    assert [problem.path for problem in spec.check()] == [("inner", "root")]


def test_a_home_that_is_gone_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    spec = validate(Spec, {"target": TAKEN, "root": "~/x"})
    with pytest.raises(ConfigError, match=r"root: .*HOME is not set"):
        spec.build()
