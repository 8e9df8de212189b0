"""Verdicts on names that lead out of the working folder."""

from pathlib import Path

import pytest

from selftest import path_escapes

CASE = path_escapes.Case("a run named 'x'", lambda work: (), (0, 2), "leads out")
THERE = {"outside/mine.jsonl": "1"}


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (path_escapes.Ended(CASE, 2, "leads out", THERE, THERE), []),
        (
            path_escapes.Ended(CASE, 2, "leads out", THERE, {**THERE, "e": "2"}),
            ["nothing outside expected, found e made"],
        ),
        (
            path_escapes.Ended(CASE, 2, "leads out", THERE, {"outside/mine.jsonl": "2"}),
            ["nothing outside expected, found outside/mine.jsonl changed"],
        ),
        (
            path_escapes.Ended(CASE, 2, "leads out", THERE, {}),
            ["nothing outside expected, found outside/mine.jsonl removed"],
        ),
        (
            path_escapes.Ended(CASE, 1, "leads out", THERE, THERE),
            ["exit code 0 or 2 expected, found 1: leads out"],
        ),
        (path_escapes.Ended(CASE, 0, "fine", THERE, THERE), ["'leads out' expected, found fine"]),
        (
            path_escapes.Ended(CASE, 0, "leads out\nTraceback", THERE, THERE),
            ["no traceback expected, found leads out\nTraceback"],
        ),
    ],
)
def test_judging(ended: path_escapes.Ended, said: list[str]) -> None:
    assert list(path_escapes.judge(ended)) == [f"a run named 'x': {line}" for line in said]


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
