"""What a problem says."""

from typing import Any

import pytest

from lab.config import ConfigError, Problem
from lab.config.problems import did_you_mean, dotted, nearest, shown


def test_a_problem_names_its_place_and_path() -> None:
    assert str(Problem(("a", 1, "b"), "is wrong", "f.yaml:3")) == "f.yaml:3: a.1.b: is wrong"
    assert str(Problem((), "is wrong", "f.yaml:3")) == "f.yaml:3: is wrong"
    assert str(Problem(("a",), "is wrong")) == "a: is wrong"
    assert dotted(("data", "transforms", 1, "p")) == "data.transforms.1.p"


def test_an_error_tells_all_and_its_note() -> None:
    error = ConfigError([Problem(("a",), "1"), Problem(("b",), "2")], "a note")
    assert str(error) == "a: 1\nb: 2\na note"
    below = error.below(("x", 0))
    assert [problem.path for problem in below.problems] == [("x", 0, "a"), ("x", 0, "b")]
    assert below.note == "a note"
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ("epohcs", "; did you mean 'epochs'?"),
        ("EPOCHS", "; did you mean 'epochs'?"),
        ("mse_loss", "; did you mean 'MSELoss'?"),
        ("qqq", "; known: MSELoss, epochs, seeds"),
    ],
)
def test_did_you_mean(found: str, hint: str) -> None:
    assert did_you_mean(found, ["seeds", "epochs", "MSELoss"]) == hint
    assert nearest(found, ["seeds", "epochs", "MSELoss"]) == ("" if "known" in hint else hint)
    assert did_you_mean(found, []) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing (null)"),
        (True, "true"),
        (3, "3 (whole number)"),
        (0.5, "0.5 (number)"),
        (float("inf"), ".inf"),
        (float("-inf"), "-.inf"),
        (float("nan"), ".nan"),
        ("a", "'a' (text)"),
        ([1], "[1] (list)"),
        ({"a": 1}, "{'a': 1} (mapping)"),
        ("x" * 200, f"'{'x' * 76}... (text)"),
    ],
)
def test_shown(value: Any, text: str) -> None:
    assert shown(value) == text
