import math
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lab.config.tracker_config import TensorBoardConfig
from lab.events import Note
from lab.trackers.tensorboard import FOLDER, TensorBoardTracker, tag
from tests.run_events import epoch_end, run_end, run_start


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / FOLDER)).Reload()


def scalars(events: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


def started(folder: Path, first_epoch: int = 1, images: bool = True) -> TensorBoardTracker:
    tracker = TensorBoardTracker(TensorBoardConfig(type="tensorboard", images=images))
    tracker.start(run_start(folder, first_epoch=first_epoch))
    return tracker


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_loss", "loss/train"),
        ("val_loss", "loss/val"),
        ("val_dice_core", "dice_core/val"),
        ("lr", "lr"),
        ("grad_norm", "grad_norm"),
        ("val", "val"),
        ("train_", "train_"),
    ],
)
def test_tag(name: str, expected: str) -> None:
    assert tag(name) == expected


def test_scalars_and_pictures_are_read_back_with_tensorboards_own_reader(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.epoch(epoch_end(1, {"train_loss": 0.5, "val_loss": math.nan, "lr": 0.125}))
    assert scalars(read(tmp_path), "loss/train") == [(1, 0.5)]  # while the run goes on
    tracker.epoch(epoch_end(2, {"train_loss": 0.25, "val_loss": 0.75, "lr": 0.0625}))
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    tracker.image(2, "predictions", picture)
    tracker.note(Note("a fallback", epoch=2))
    tracker.finish(run_end(outcome="early_stopped", reason="no progress"))
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["loss/train", "loss/val", "lr"]
    assert scalars(events, "loss/train") == [(1, 0.5), (2, 0.25)]
    assert scalars(events, "lr") == [(1, 0.125), (2, 0.0625)]
    first, second = scalars(events, "loss/val")
    assert math.isnan(first[1]) and second == (2, 0.75)
    (image,) = events.Images("predictions")
    assert (image.step, image.height, image.width) == (2, 4, 6)
    cv2 = pytest.importorskip("cv2")
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[:, :, ::-1], picture)
    texts = {
        name: events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0]
        for name in ("notes", "outcome")
    }
    assert texts == {"notes": b"a fallback", "outcome": b"early_stopped no progress"}


def test_a_resumed_run_shows_every_epoch_once(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    for epoch in (1, 2, 3):
        tracker.epoch(epoch_end(epoch, {"val_loss": float(epoch)}))
    del tracker  # killed
    tracker = started(tmp_path, first_epoch=3)
    tracker.epoch(epoch_end(3, {"val_loss": 30.0}))
    tracker.epoch(epoch_end(4, {"val_loss": 40.0}))
    tracker.finish(run_end())
    assert scalars(read(tmp_path), "loss/val") == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]


def test_no_pictures_where_they_are_not_wanted(tmp_path: Path) -> None:
    tracker = started(tmp_path, images=False)
    tracker.image(1, "predictions", np.zeros((2, 2, 3), np.uint8))
    tracker.finish(run_end())
    assert read(tmp_path).Tags()["images"] == []
