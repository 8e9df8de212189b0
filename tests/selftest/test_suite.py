"""The table of faults: it is what the docs say, and every promise holds when it is tried a few times."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selftest import suite
from selftest.bench import Bench
from selftest.suite import FAULTS, Fault, try_faults
from selftest.verdict import Verdict
from tests.conftest import ROOT

ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.number}_{fault.attempt.__name__}")
def test_the_promise_holds(bench: Bench, fault: Fault) -> None:
    (tried,) = try_faults(bench, only=[fault.number])
    assert tried.verdict.held, tried.as_text()
    if tried.verdict.untried and not any(tried.verdict.figures.values()):
        pytest.skip(f"can't be tried here: {', '.join(tried.verdict.untried)}")
    assert any(tried.verdict.figures.values()), "what was counted is told"
    if "TEST_DB_URL" not in os.environ:  # a server that is somebody else's isn't stopped
        assert list(tried.verdict.untried) == [], "requirements-dev.txt brings a PostgreSQL"


def test_the_page_has_each_promise_with_a_figure() -> None:
    rows = {int(number): rest for number, *rest in ROW.findall((ROOT / "docs" / "guarantees.md").read_text())}
    assert sorted(rows) == [fault.number for fault in FAULTS] == list(range(1, 27))
    for fault in FAULTS:
        title, promise, figure = rows[fault.number]
        assert (title, promise) == (fault.title, fault.promise)
        assert re.search(r"\d", figure), f"line {fault.number} has no figure"


def broken_one() -> Fault:
    """A fault that was tried, and whose promise was not kept."""
    figures = {"lost": 1, "kills": 1200, "longest": "3.2 s", "seconds": 1.23456}
    return dataclasses.replace(
        FAULTS[0], attempt=lambda bench, count: Verdict(figures, ["trial 3 is lost"], ["PostgreSQL"])
    )


def raising(bench: Bench, count: int) -> Verdict:
    raise KeyError("nothing there")


def test_a_verdict_is_told_with_what_is_broken_and_what_was_not_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "FAULTS", (broken_one(),))
    (tried,) = try_faults(bench, full=True)
    assert tried.count == FAULTS[0].full == 200
    text = tried.as_text().splitlines()
    assert text[0].startswith(" 1  FAILED") and FAULTS[0].title in text[0]
    assert [line.strip() for line in text[1:]] == [
        "1 lost, 1,200 kills, longest 3.2 s, 1.23 seconds", "! trial 3 is lost", "not tried: PostgreSQL",
    ]  # fmt: skip
    assert tried.as_data() | {"seconds": 0} == {
        "number": 1, "fault": FAULTS[0].title, "promise": FAULTS[0].promise, "count": 200, "held": False,
        "figures": {"lost": 1, "kills": 1200, "longest": "3.2 s", "seconds": 1.23456},
        "broken": ["trial 3 is lost"], "untried": ["PostgreSQL"], "seconds": 0,
    }  # fmt: skip
    took = suite.format_duration(tried.seconds)
    assert suite.summary([tried]) == f"0 of 1 faults passed in {took}; failed: 1"


def test_an_attempt_that_fails_itself_costs_its_own_line_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = dataclasses.replace(FAULTS[1], attempt=lambda bench, count: Verdict({"tried": count}))
    monkeypatch.setattr(suite, "FAULTS", (dataclasses.replace(FAULTS[0], attempt=raising), good))
    first, second = try_faults(bench)
    assert not first.verdict.held and second.verdict.held
    assert "KeyError: 'nothing there' (test_suite.py:" in first.verdict.broken[0]
    assert second.verdict.figures == {"tried": FAULTS[1].quick}


def selftest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command."""
    command = [sys.executable, str(ROOT / "main.py"), "--selftest", "faults", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_command_prints_a_line_for_each_fault_and_leaves_nothing(tmp_path: Path) -> None:
    done = selftest(tmp_path, "--only", "14,23", "--json", "--output", "there")
    assert (done.returncode, done.stderr) == (0, ""), done
    damaged, servers = map(json.loads, done.stdout.splitlines())
    assert (damaged["number"], damaged["held"], damaged["count"]) == (14, True, FAULTS[13].quick)
    assert (servers["number"], servers["held"], servers["count"]) == (23, True, FAULTS[22].quick)
    assert list((tmp_path / "there").iterdir()) == [], "its folder is gone"


def test_a_line_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = selftest(tmp_path, "--only", "1,27")
    assert done.returncode == 2 and "--only: there is no line 27; expected 1 to 26" in done.stderr
    assert list(tmp_path.iterdir()) == []
