import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.store.run_folder import METRICS
from lab.trackers.csv_file import CsvTracker, read_metrics
from tests.run_events import epoch_end, run_start


def started(folder: Path, first_epoch: int = 1) -> CsvTracker:
    tracker = CsvTracker()
    tracker.start(run_start(folder, first_epoch=first_epoch))
    return tracker


def test_one_row_an_epoch_on_disk_at_once(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    assert read_metrics(tmp_path) == []
    tracker.epoch(epoch_end(1))
    assert (tmp_path / METRICS).read_text() == "epoch,train_loss,val_loss,lr,seconds\n1,1.0,2.0,0.1,0.5\n"
    tracker.epoch(epoch_end(2))
    assert (tmp_path / METRICS).read_text().splitlines()[-1] == "2,0.5,1.0,0.1,0.5"


def test_values_are_read_back_exactly_and_nan_stays_nan(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1, {"val_loss": math.nan, "a": math.inf, "b": -math.inf, "c": 0.1 + 0.2}))
    assert (tmp_path / METRICS).read_text().splitlines()[1] == "1,nan,inf,-inf,0.30000000000000004,0.5"
    (row,) = read_metrics(tmp_path)
    assert math.isnan(row.pop("val_loss"))
    assert row == {"epoch": 1, "a": math.inf, "b": -math.inf, "c": 0.1 + 0.2, "seconds": 0.5}


def test_new_names_widen_the_file_and_missing_ones_stay_empty(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1, {"val_loss": 3.0, "old": 1.0}))
    tracker.epoch(epoch_end(2, {"val_loss": 2.0, "dice, mean": 0.25}))
    assert (tmp_path / METRICS).read_text() == (
        'epoch,val_loss,old,"dice, mean",seconds\n1,3.0,1.0,,0.5\n2,2.0,,0.25,0.5\n'
    )
    assert read_metrics(tmp_path) == [
        {"epoch": 1, "val_loss": 3.0, "old": 1.0, "seconds": 0.5},
        {"epoch": 2, "val_loss": 2.0, "dice, mean": 0.25, "seconds": 0.5},
    ]


@pytest.mark.parametrize("torn", ["", "4,0.2", "4,0.25,0.5,0.1,0.5"])  # even a whole line without an end
def test_a_resumed_run_drops_the_epochs_that_it_will_redo(tmp_path: Path, torn: str) -> None:
    tracker = started(tmp_path)
    for epoch in (1, 2, 3):
        tracker.epoch(epoch_end(epoch))
    with (tmp_path / METRICS).open("a") as file:
        file.write(torn)
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    tracker = started(tmp_path, first_epoch=3)
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [1, 2]
    tracker.epoch(epoch_end(3, {"train_loss": 9.0, "val_loss": 8.0, "lr": 0.1}))
    rows = read_metrics(tmp_path)
    assert [(row["epoch"], row["train_loss"]) for row in rows] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [path.name for path in tmp_path.iterdir()] == [METRICS]


def test_a_run_begun_anew_in_its_folder_starts_empty(tmp_path: Path) -> None:
    started(tmp_path).epoch(epoch_end(1))
    started(tmp_path)
    assert read_metrics(tmp_path) == []


def test_no_file_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,a,seconds\n1,2\n3,4,5\n", "line 2: 2 values under 3 columns"),
        ("epoch,a,seconds\n1,2,3\n2,x,3\n", "line 3: expected a number for a, found 'x'"),
        ("epoch,a,seconds\n1.5,2,3\n", "line 2: expected a number for epoch, found '1.5'"),
    ],
)
def test_damage_before_the_end_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / METRICS).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_metrics(tmp_path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_kill_at_any_byte_costs_at_most_the_last_row(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("run")
    tracker = started(folder)
    for epoch in (1, 2, 3):
        tracker.epoch(epoch_end(epoch))
    path = folder / METRICS
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    assert len(read_metrics(folder)) == max(0, whole[:cut].count(b"\n") - 1)
    tracker = started(folder, first_epoch=len(read_metrics(folder)) + 1)
    for epoch in range(len(read_metrics(folder)) + 1, 4):
        tracker.epoch(epoch_end(epoch))
    assert path.read_bytes() == whole
