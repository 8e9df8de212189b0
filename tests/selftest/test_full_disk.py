"""That the judges of a full disk see what was lost, what was not said, and what did not go on."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selftest.bench import Bench
from selftest.full_disk import EPOCHS, POINTS, State, judge_end, judge_kept, judge_said
from selftest.small_disk import FILLER, NoSmallDisk, SmallDisk, fill, fill_at_opening, free

ROWS = [{"epoch": float(epoch), "val_loss": 1 / epoch} for epoch in range(1, EPOCHS + 1)]
WELL = State({"runs/a": EPOCHS}, {"runs/a": ROWS}, {"runs/a": "completed"}, {"0": 0.5}, ["metrics.json"])


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, ""),
        ({"epochs": {"runs/a": 3}}, "runs/a: a checkpoint of epoch 4 expected, found 3"),
        ({"epochs": {}}, "runs/a: a checkpoint of epoch 4 expected, found None"),
        ({"rows": {"runs/a": ROWS[:-1]}}, "runs/a: 4 rows expected, found 3"),
        ({"rows": {"runs/a": [*ROWS[:-1], {"epoch": 4.0}]}}, "runs/a: 4 rows expected, found 4"),
        ({"trials": {}}, "trial 0: 0.5 expected, found None"),
        ({"trials": {"0": 0.6}}, "trial 0: 0.5 expected, found 0.6"),
        ({"fault": "studies.db: malformed"}, "studies.db: malformed"),
    ],
)
def test_what_is_lost_is_seen(changes: dict[str, Any], lost: str) -> None:
    assert list(judge_kept(WELL, replace(WELL, **changes))) == ([lost] if lost else [])


def test_more_than_before_is_no_loss() -> None:
    assert list(judge_kept(State({}, {}, {}, {}, []), WELL)) == []


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("main.py: the disk is full: x: No space left on device", ""),
        ("database or disk is full", ""),
        ("Traceback (most recent call last):\nOSError: No space left on device", "no traceback expected"),
        ("", "that the disk is full expected, found code 1 and: ''"),
    ],
)
def test_what_is_said_is_judged(said: str, wrong: str) -> None:
    found = judge_said(1, said)
    assert len(found) == bool(wrong) and "".join(found).startswith(wrong)


@pytest.mark.parametrize(
    ("changes", "stuck"),
    [
        ({}, ""),
        ({"outcomes": {"runs/a": "failed"}}, "one completed run expected"),
        ({"outcomes": {"runs/a": "completed", "runs/b": "completed"}}, "one completed run expected"),
        ({"epochs": {"runs/a": 3}}, "a checkpoint of epoch 4 expected"),
        ({"rows": {"runs/a": ROWS[::-1]}}, "the rows of a run without a fault expected, found others"),
        ({"files": []}, "metrics.json expected in the end, found none"),
        ({"fault": "torn"}, "torn"),
    ],
)
def test_the_end_is_judged(changes: dict[str, Any], stuck: str) -> None:
    found = list(judge_end("evaluate", replace(WELL, **changes), ROWS))
    assert len(found) == bool(stuck) and "".join(found).startswith(stuck)


@pytest.mark.parametrize(
    ("trials", "right"), [({"0": 1.0, "1": 2.0, "2": 3.0}, True), ({"0": 1.0, "1": 2.0}, False)]
)
def test_the_end_of_a_study_is_judged(trials: dict[str, float], right: bool) -> None:
    state = State({}, {}, {}, trials, ["leaderboard.csv", "report.html"])
    assert (list(judge_end("study", state, [])) == []) == right


def test_points_differ() -> None:
    assert len({(point.kind, point.file, point.time) for point in POINTS}) == len(POINTS) == 20


def test_files_are_noticed_as_they_are_opened(tmp_path: Path) -> None:
    opened: list[int] = []
    fill_at_opening("part.txt", 2, lambda: opened.append(len(list(tmp_path.iterdir()))))
    for name in ("other.txt", "part.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "part.txt").read_text()
    assert opened == []
    os.close(os.open(tmp_path / "a-part.txt", os.O_WRONLY | os.O_CREAT))
    (tmp_path / "part.txt").write_text("")
    assert opened == [2], "the second, before it is there, and only once"


@pytest.mark.slow
def test_a_small_disk_is_filled_and_freed(bench: Bench) -> None:
    folder = bench.folder("small")
    try:
        with SmallDisk(bench, folder) as disk:
            process = disk.fork(folder, _try_it, disk.place)
            done = process.done()
            assert done.code == 0, done.output
            assert list(disk.place.iterdir()) == [], "others don't see it"
    except NoSmallDisk as error:
        pytest.skip(str(error))


def _try_it(place: Path) -> None:
    fill(place, room=1)
    (place / "fits").write_bytes(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        (place / "too much").write_bytes(bytes(4096))
    free(place)
    assert not (place / FILLER).exists()
    (place / "too much").write_bytes(bytes(4096))
