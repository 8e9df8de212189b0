"""The ruler of edited studies sees a refusal that lacks something, and a harmless edit that is none."""

import pytest

from selftest.bench import Done
from selftest.edits import EDITS, document, judge_harmless, judge_refusal
from tests import study_tools as tools

EDIT = next(edit for edit in EDITS if edit.name == "range")
SAMPLER = next(edit for edit in EDITS if edit.name == "sampler")
WELL = Done(0, "", "")
FILE = "study_name: small\nsearch_space:\n  optimizer.lr:\n    high: 0.02\n"
SAID = (
    "1 problem with the config:\n"
    "  study.yaml:4: search_space.optimizer.lr.high: the study has 0.1, the file has 0.02: narrower\n"
    "or begin a study with those that still fit:\n  python main.py --optimize study.yaml --fork small-2\n"
)


def test_a_refusal_as_it_should_be() -> None:
    assert list(judge_refusal(EDIT, Done(2, SAID, ""), FILE)) == []


@pytest.mark.parametrize(
    ("code", "output", "what"),
    [
        (0, SAID, "exit code 2 expected, found 0"),
        (2, SAID.replace("study.yaml:4", "study.yaml"), "no line of the file"),
        (2, SAID.replace("study.yaml:4", "study.yaml:1"), "expected that of search_space.optimizer.lr.high"),
        (2, SAID.replace("the study has 0.1, the file has 0.02", "it has changed"), "no difference"),
        (2, SAID.partition("or begin")[0], "'--fork' expected, found "),
        (2, f"{SAID}Traceback\n", "no traceback expected"),
    ],
)
def test_a_refusal_that_lacks_something(code: int, output: str, what: str) -> None:
    (line,) = judge_refusal(EDIT, Done(code, output, ""), FILE)
    assert what in line


def test_a_harmless_edit_goes_on_and_is_documented() -> None:
    rows = document(tools.ROOT)
    assert list(judge_harmless(SAMPLER, WELL, ["COMPLETE"] * 4, rows)) == []
    (line,) = judge_harmless(SAMPLER, WELL, ["COMPLETE"] * 3, rows)
    assert "expected one more" in line
    (line,) = judge_harmless(SAMPLER, Done(1, "", "boom"), ["COMPLETE"] * 4, rows)
    assert "found 1" in line and "boom" in line
    (line,) = judge_harmless(SAMPLER, WELL, ["COMPLETE"] * 4, {"another `sampler`": "refused"})
    assert "does not say that it is fine" in line
