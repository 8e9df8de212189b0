"""Numbers by hand; what runs and studies do with them is in `tests/test_old_results.py`."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lab.losses import CrossEntropy, WeightedSum
from lab.losses.scene_graph import SceneGraphLoss
from lab.metrics import MAE, Dice
from lab.store.definitions import Definition, definition_of, describe, numbers, of_value, recorded, watched
from lab.train.data_definitions import definitions_with

WEIGHT = torch.tensor([1.0, 2.0])


class OwnGraphLoss(SceneGraphLoss):
    """A loss of somebody's own, which is a mean of batches as before."""

    def forward(self, output: Any, target: Any) -> Any:
        return output


class Own:
    """A metric of somebody's own that has changed."""

    definition, definition_reason = 3, "it is squared"


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (nn.MSELoss(), 1),
        (nn.CrossEntropyLoss(), 1),
        (nn.CrossEntropyLoss(weight=WEIGHT), 2),
        (nn.CrossEntropyLoss(ignore_index=0), 2),
        (nn.NLLLoss(weight=WEIGHT), 2),
        (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), 1),
        (F.cross_entropy, 1),
        (partial(F.cross_entropy, weight=WEIGHT), 2),
        (partial(F.cross_entropy, label_smoothing=0.1), 1),
        (CrossEntropy(), 1),
        (CrossEntropy([1.0, 2.0]), 2),
        (SceneGraphLoss(), 2),
        (OwnGraphLoss(), 1),
        (MAE(), 1),
        (Own(), 3),
        (lambda prediction, target: prediction, 1),
    ],
)
def test_of_instances(component: Any, expected: int) -> None:
    found = definition_of(component)
    assert found is not None and found.number == expected and bool(found.reason) == (expected > 1)


def test_what_depends_on_the_data_is_shown_a_target() -> None:
    loss = WeightedSum({"bce": 1.0, "dice": 1.0}, background=0)
    assert definition_of(Dice()) is None and definition_of(loss) is None
    image = torch.zeros(1, 4, 4)
    several = [(image, torch.tensor([[0, 1], [2, 255]]))]
    one = [(image, torch.zeros(1, 4, 4))]
    for dataset, dice, term in ((several, 2, 2), (one, 1, 1)):
        found = numbers(definitions_with(dataset, loss, {"dice": Dice(), "mae": MAE()}))
        assert found == {"loss": term, "loss_bce": 1, "loss_dice": term, "dice": dice, "mae": 1}
    assert definition_of(loss) is None, "a copy has seen it"
    for nothing in (None, iter(()), []):
        assert numbers(definitions_with(nothing, nn.MSELoss(), {"dice": Dice()})) == {"loss": 1, "dice": 1}


def test_names() -> None:
    known = numbers(describe(Own(), {"dice": Dice(background=None)}))
    assert known == {"loss": 3, "dice": 2}
    found = [of_value(name, known) for name in ("val_loss", "train_loss_bce", "val_dice", "lr", "val_iou")]
    assert found == [3, 3, 2, 1, 1]
    assert recorded({"dice": 2, "x": "y"}) == {"dice": 2} and recorded(None) == {}
    graphs = numbers(describe(SceneGraphLoss()))
    assert [of_value(name, graphs) for name in ("val_loss", "val_loss_contact")] == [2, 2]
    assert describe(Own())["loss"] == Definition(3, "it is squared")


def test_what_decides_in_a_run() -> None:
    config: dict[str, Any] = {
        "monitor": {"metric": "val_dice", "also": [{"metric": "val_iou"}]},
        "scheduler": {"target": "torch.optim.lr_scheduler.OneCycleLR", "monitor": "val_loss"},
        "early_stopping_config": {"enabled": False, "metric": "train_loss"},
    }
    assert list(watched(config)) == ["val_dice", "val_iou"]
    config["scheduler"]["target"] = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    config["early_stopping_config"]["enabled"] = True
    assert list(watched(config)) == ["val_dice", "val_iou", "train_loss", "val_loss"]
