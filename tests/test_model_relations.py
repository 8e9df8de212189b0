"""The network of scene graphs: what sees what."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lab.data import moving_boxes
from lab.graphs import SceneGraphBatch, collate
from model import RelationNet

SIZES = {"attention": 3, "spatial": 5, "contact": 6}


def net(**arguments: Any) -> RelationNet:
    torch.manual_seed(0)
    return RelationNet(9, SIZES, 16, **{"width": 32, **arguments}).eval()


def items(count: int = 3, mode: Any = "predcls", frames: int = 4) -> list[Any]:
    sets = moving_boxes(train_count=count, val_count=1, frames=frames, mode=mode)
    return [sets.train[index] for index in range(count)]


def changed(scenes: SceneGraphBatch, **parts: Tensor) -> SceneGraphBatch:
    return {**scenes, **parts}  # type: ignore[typeddict-item]


def differs(one: dict[str, Any], two: dict[str, Any]) -> Tensor:
    """Which pairs are said otherwise, (P,) bool."""
    each = [
        (one["relations"][group] - two["relations"][group]).abs().amax(1) > 1e-5 for group in one["relations"]
    ]
    return torch.stack(each).any(0)


@pytest.mark.parametrize("mode", ["predcls", "sgcls", "sgdet"])
def test_no_video_depends_on_the_others_of_its_batch(mode: str) -> None:
    network, alone = net(), items(mode=mode)
    scenes, _ = collate(alone)
    together = network(scenes)
    apart = [network(scene) for scene, _ in alone]
    assert together["scenes"] is scenes
    torch.testing.assert_close(together["objects"], torch.cat([said["objects"] for said in apart]))
    for group, count in SIZES.items():
        assert together["relations"][group].shape == (len(scenes["pairs"]), count)
        expected = torch.cat([said["relations"][group] for said in apart])
        torch.testing.assert_close(together["relations"][group], expected, atol=1e-5, rtol=1e-5)


def test_the_order_of_pairs_changes_nothing() -> None:
    network, (scenes, _) = net(), collate(items())
    order = torch.randperm(len(scenes["pairs"]), generator=torch.Generator().manual_seed(0))
    said, shuffled = network(scenes), network(changed(scenes, pairs=scenes["pairs"][order]))
    for group in SIZES:
        expected = said["relations"][group][order]
        torch.testing.assert_close(shuffled["relations"][group], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("spatial", "temporal"), [(0, 0), (1, 0), (0, 1), (2, 2)])
def test_pairs_see_their_frame_and_their_track(spatial: int, temporal: int) -> None:
    (scenes, _) = items(1, frames=4)[0]
    subject, thing = scenes["pairs"].unbind(1)
    frame, label = scenes["frame_of_box"][subject], scenes["classes"][thing].argmax(1)
    looks = scenes["features"].clone()
    touched = int(thing[frame == 0][-1])
    looks[touched] += 3
    own = (subject == touched) | (thing == touched)
    network = net(spatial_layers=spatial, temporal_layers=temporal)
    found = differs(network(scenes), network(changed(scenes, features=looks)))
    reached = own.clone()
    for _ in range(spatial):
        reached |= frame == 0
    if temporal:
        reached = torch.isin(label, label[reached])
    assert torch.equal(found, reached) and found.any()
    assert spatial + temporal == 4 or not found.all()


def test_time_matters() -> None:
    scenes, _ = items(1)[0]
    later = changed(scenes, time=scenes["time"] * 3)
    assert differs(net()(scenes), net()(later)).any()


@pytest.mark.parametrize("features", [0, 16])
def test_no_pairs_no_boxes_and_no_features(features: int) -> None:
    scenes, _ = items(1)[0]
    network = RelationNet(9, SIZES, features)
    seen = changed(scenes, features=scenes["features"][:, :features])
    without = changed(seen, pairs=seen["pairs"][:0])
    empty = changed(
        without, **{name: seen[name][:0] for name in ("features", "boxes", "classes", "frame_of_box")}
    )
    for given in (without, empty):
        said = network(given)
        assert said["objects"].shape == (len(given["boxes"]), 9)
        assert {group: tuple(x.shape) for group, x in said["relations"].items()} == {
            group: (0, count) for group, count in SIZES.items()
        }
        (said["objects"].sum() + sum(x.sum() for x in said["relations"].values())).backward()


def test_a_sure_class_is_told_to_the_pairs_and_not_to_the_guess() -> None:
    scenes, _ = items(1)[0]
    other = changed(scenes, classes=scenes["classes"].roll(1, 1))
    said, told = net()(scenes), net()(other)
    assert torch.equal(said["objects"], told["objects"]) and differs(said, told).all()


def test_a_detector_is_heard() -> None:
    scenes, _ = items(1)[0]
    doubtful = changed(scenes, classes=0.9 * scenes["classes"] + 0.1 / 9)
    plain = net()(changed(scenes, classes=torch.zeros_like(scenes["classes"])))["objects"].log_softmax(1)
    heard = net()(doubtful)["objects"].log_softmax(1)
    expected = (plain + doubtful["classes"].log()).log_softmax(1)
    torch.testing.assert_close(heard, expected)


def test_every_parameter_gets_a_gradient() -> None:
    scenes, _ = collate(items(mode="sgcls"))
    network = net().train()
    said = network(scenes)
    sum(x.square().sum() for x in (said["objects"], *said["relations"].values())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"width": 30}, "multiple of heads, found 30 and 4"),
        ({"width": 33, "heads": 3}, "width must be even"),
        ({"features": -1}, "features and layers must be at least 0"),
        ({"temporal_layers": -1}, "features and layers must be at least 0"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"relations": {}}, "relations must be at least 1, found 0"),
        ({"relations": {"contact": 0}}, "contact must be at least 1, found 0"),
        ({"objects": 0}, "objects must be at least 1, found 0"),
    ],
)
def test_refuses(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        RelationNet(**{"objects": 9, "relations": SIZES, **arguments})
