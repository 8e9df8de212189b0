"""Verdicts on names that lead out of the working folder."""

from pathlib import Path

import pytest

from selftest import path_escapes
from selftest.bench import Done

CASE = path_escapes.Case("a run named 'x'", (), codes=(0, 2), words="leads out")


@pytest.mark.parametrize(
    ("done", "changed", "said"),
    [
        (Done(2, "leads out", ""), [], []),
        (Done(2, "leads out", ""), ["e made"], ["nothing outside expected, found e made"]),
        (Done(1, "leads out", ""), [], ["exit code 0 or 2 expected, found 1: leads out"]),
        (Done(0, "fine", ""), [], ["'leads out' expected, found fine"]),
        (Done(0, "leads out\nTraceback", ""), [], ["no traceback expected, found Traceback"]),
    ],
)
def test_judging(done: Done, changed: list[str], said: list[str]) -> None:
    assert list(path_escapes.judge(CASE, done, changed)) == said


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ({"a": "1", "e": "2"}, ["e made"]),
        ({"a": "2"}, ["a changed"]),
        ({}, ["a removed"]),
    ],
)
def test_changes_are_named(after: dict[str, str], changed: list[str]) -> None:
    assert path_escapes.changes({"a": "1"}, after) == changed


def test_a_listing_sees_files_folders_and_links_but_not_the_working_folder(tmp_path: Path) -> None:
    work = tmp_path / "a" / "work"
    work.mkdir(parents=True)
    (work / "mine").touch()
    before = path_escapes.listing(tmp_path, work)
    assert list(before) == ["a"]
    (tmp_path / "a" / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    after = path_escapes.listing(tmp_path, work)
    assert path_escapes.changes(before, after) == ["a/file made", "folder made", "link made"]
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    assert path_escapes.changes(after, path_escapes.listing(tmp_path, work)) == [
        "a/file changed",
        "link changed",
    ]
