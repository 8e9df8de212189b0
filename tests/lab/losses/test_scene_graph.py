import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.losses.scene_graph import SceneGraphLoss

PAIRS, BOXES = 7, 5


def batch(seed: int = 0, pairs: int = PAIRS) -> tuple[dict[str, object], dict[str, object]]:
    """Logits with a graph, and targets of which some aren't annotated."""
    torch.manual_seed(seed)
    relations = {
        "attention": torch.randn(pairs, 3, requires_grad=True),
        "contact": torch.randn(pairs, 4, requires_grad=True),
    }
    judged = torch.arange(pairs) % 3 != 1
    truth = {
        "objects": torch.tensor([0, 2, -100, 1, 0]),
        "relations": {
            "attention": torch.where(judged, torch.randint(3, (pairs,)), -100),
            "contact": (torch.rand(pairs, 4) < 0.5).float(),
        },
        "judged": judged,
    }
    return {"objects": torch.randn(BOXES, 3, requires_grad=True), "relations": relations}, truth


def test_exclusive_groups_and_objects_cost_their_cross_entropy() -> None:
    said, truth = batch()
    losses = SceneGraphLoss()(said, truth)
    assert list(losses) == ["objects", "attention", "contact"]
    torch.testing.assert_close(losses["objects"], F.cross_entropy(said["objects"], truth["objects"]))
    expected = F.cross_entropy(said["relations"]["attention"], truth["relations"]["attention"])
    torch.testing.assert_close(losses["attention"], expected)


@pytest.mark.parametrize(
    ("multi_label", "theirs"), [("bce", nn.BCEWithLogitsLoss()), ("margin", nn.MultiLabelMarginLoss())]
)
def test_others_cost_what_torch_says_of_the_judged_pairs(multi_label: str, theirs: nn.Module) -> None:
    said, truth = batch()
    judged, target = truth["judged"], truth["relations"]["contact"]
    logits = said["relations"]["contact"][judged]
    if multi_label == "margin":
        ordered = [[*torch.nonzero(row).flatten().tolist(), -1, -1, -1, -1][:4] for row in target[judged]]
        expected = theirs(logits, torch.tensor(ordered))
    else:
        expected = theirs(logits, target[judged])
    torch.testing.assert_close(SceneGraphLoss(multi_label)(said, truth)["contact"], expected)


def test_weights() -> None:
    said, truth = batch()
    plain = SceneGraphLoss()(said, truth)
    weighted = SceneGraphLoss(objects=0.0, attention=2.5)(said, truth)
    assert float(weighted["objects"].detach()) == 0.0
    torch.testing.assert_close(weighted["attention"], 2.5 * plain["attention"])
    torch.testing.assert_close(weighted["contact"], plain["contact"])


def test_groups_of_other_names() -> None:
    said, truth = batch()
    for each in (said, truth):
        each["relations"] = {"verb": each["relations"]["attention"]}
    plain, doubled = (loss(said, truth)["verb"] for loss in (SceneGraphLoss(), SceneGraphLoss(verb=2.0)))
    torch.testing.assert_close(doubled, 2 * plain)
    with pytest.raises(ValueError, match="weights: 'role' is not one of the relations: verb"):
        SceneGraphLoss(role=1.0)(said, truth)


@pytest.mark.parametrize("multi_label", ["bce", "margin"])
@pytest.mark.parametrize("pairs", [0, PAIRS])
def test_nothing_annotated_costs_nothing_and_keeps_its_graph(multi_label: str, pairs: int) -> None:
    said, truth = batch(pairs=pairs)
    truth["objects"] = torch.full((BOXES,), -100)
    truth["judged"] = torch.zeros(pairs, dtype=torch.bool)
    truth["relations"]["attention"] = torch.full((pairs,), -100)
    losses = SceneGraphLoss(multi_label)(said, truth)
    assert [float(loss.detach()) for loss in losses.values()] == [0.0, 0.0, 0.0]
    torch.stack(list(losses.values())).sum().backward()
    for logits in (said["objects"], *said["relations"].values()):
        assert isinstance(logits, Tensor) and logits.grad is not None and not logits.grad.any()


def test_half_precision_is_summed_in_float32() -> None:
    said, truth = batch()
    half = {
        "objects": said["objects"].half(),
        "relations": {g: x.half() for g, x in said["relations"].items()},
    }
    losses = SceneGraphLoss()(half, truth)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"multi_label": "hinge"}, "multi_label must be 'bce' or 'margin', found 'hinge'"),
        ({"contact": -1.0}, "contact: a weight must be >= 0 and finite, found -1.0"),
        ({"verb": float("nan")}, "verb: a weight must be >= 0"),
        ({"objects": 0.0, "attention": 0.0, "spatial": 0.0, "contact": 0.0}, "at least one weight"),
    ],
)
def test_refuses_weights(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SceneGraphLoss(**arguments)  # type: ignore[arg-type]


def test_refuses_what_does_not_fit() -> None:
    said, truth = batch()
    truth["relations"]["contact"] = truth["relations"]["contact"][:, :3]
    with pytest.raises(ValueError, match=r"contact: the network returns \(7, 4\) and the target is \(7, 3\)"):
        SceneGraphLoss()(said, truth)
    truth["relations"]["contact"] = torch.zeros(PAIRS)
    with pytest.raises(ValueError, match=r"expected logits \(P, K\), and whole numbers"):
        SceneGraphLoss()(said, truth)


def test_a_weight_of_a_group_that_is_not_there_is_refused() -> None:
    said, truth = batch()
    with pytest.raises(
        ValueError, match="weights: 'spatial' is not one of the relations: attention, contact"
    ):
        SceneGraphLoss(spatial=2.0)(said, truth)
