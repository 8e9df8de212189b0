import math

import pytest

from lab.config.sections import DiagnosticsConfig
from lab.events import Note
from lab.train.callbacks.diagnostics import Diagnostics
from tests.run_events import epoch_end


def told(epochs: list[dict[str, float]], **config: object) -> list[str]:
    """The warnings over these epochs."""
    notes: list[Note] = []
    callback = Diagnostics(DiagnosticsConfig.model_validate(config), notes.append)
    for epoch, values in enumerate(epochs, 1):
        callback.on_epoch_end(epoch_end(epoch=epoch, values=values))
    assert all(note.level == "warning" for note in notes)
    return [note.message for note in notes]


def test_a_low_dice_is_warned_of_once_and_not_before_its_time() -> None:
    low = {"val_dice": 0.59, "train_dice": 0.6}
    assert told([low] * 19) == []
    (text,) = told([low] * 25)
    assert text.startswith("epoch 20: val_dice is 0.590 and should be 0.6 by now")
    assert told([low] * 3, after_epochs=3, least=0.5) == []
    assert len(told([low] * 3, after_epochs=3)) == 1
    assert told([{"val_dice": 0.6}] * 30) == []


@pytest.mark.parametrize(("train", "count"), [(0.9, 0), (0.91, 1), (math.nan, 0)])
def test_a_gap_above_a_fifth_is_warned_of(train: float, count: int) -> None:
    rows = [{"val_dice": 0.7, "train_dice": train}] * 4
    found = told(rows)
    assert len(found) == count
    text = "epoch 3: for 3 epochs the gap is wide: train_dice is 0.910 and val_dice 0.700"
    assert not found or found[0].startswith(text)
    assert told([*rows[:2], {"val_dice": 0.9, "train_dice": 0.9}, *rows[:2]]) == []


def test_predictions_of_one_class_are_warned_of_after_a_start() -> None:
    assert told([{"val_one_class": 1.0}] * 2) == []
    assert told([{"val_one_class": 1.0}] * 4) == [
        "epoch 3: the network predicts one class for every pixel of the validation images"
    ]
    assert told([{"val_one_class": 0.9999}] * 4) == []


def test_another_metric_may_be_watched() -> None:
    rows = [{"val_accuracy": 0.5, "train_accuracy": 0.9}]
    assert told(rows) == []
    (text,) = told(rows * 3, metric="accuracy")
    assert "train_accuracy is 0.900" in text
