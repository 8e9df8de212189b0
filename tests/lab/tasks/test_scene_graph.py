from typing import Any

import pytest
import torch

from lab.data import moving_boxes
from lab.graph_loss import SceneGraphLoss
from lab.graphs import collate
from lab.metrics import GraphRecall
from lab.tasks import SceneGraph
from model import RelationNet

SIZES = {"attention": 3, "spatial": 5, "contact": 6}


def videos(count: int = 2, mode: Any = "predcls") -> Any:
    sets = moving_boxes(train_count=count, val_count=1, frames=3, mode=mode)
    return collate([sets.train[index] for index in range(count)])


def network(**arguments: Any) -> RelationNet:
    torch.manual_seed(0)
    return RelationNet(9, SIZES, 16, **{"width": 32, "dropout": 0.0, **arguments})


def test_step_names_the_losses_and_counts_videos() -> None:
    batch = videos(3)
    result = SceneGraph().step(network(), SceneGraphLoss(), batch)
    assert result.size == 3 and list(result.parts) == ["objects", *SIZES]
    assert float(result.loss.detach()) == pytest.approx(sum(float(p.detach()) for p in result.parts.values()))


def test_prediction_is_softmax_or_sigmoid_by_group() -> None:
    scenes, _ = videos(mode="sgcls")
    said = network().eval()(scenes)
    found = SceneGraph().predict(said)
    torch.testing.assert_close(found["objects"], said["objects"].softmax(1))
    torch.testing.assert_close(found["relations"]["attention"], said["relations"]["attention"].softmax(1))
    torch.testing.assert_close(found["relations"]["contact"], said["relations"]["contact"].sigmoid())
    other = SceneGraph(("contact",)).predict(said)["relations"]["contact"]
    torch.testing.assert_close(other, said["relations"]["contact"].softmax(1))


def test_a_class_that_is_given_for_sure_is_kept() -> None:
    scenes, truth = videos(mode="predcls")
    found = SceneGraph().predict(network()(scenes))
    assert torch.equal(found["objects"], scenes["classes"])
    assert torch.equal(found["objects"].argmax(1), truth["objects"])


def test_metrics_are_updated() -> None:
    batch, metric = videos(), GraphRecall(k=200, constraint="no")
    task = SceneGraph()
    task.update({"recall": metric}, task.step(network(), SceneGraphLoss(), batch))
    assert metric.compute().item() == 1.0  # everything is said, and no frame has two hundred


@pytest.mark.parametrize("exclusive", [(), ("attention", "contact")])
def test_refuses_to_take_groups_for_what_they_are_not(exclusive: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"exclusive relations are \[attention\]: set task.exclusive"):
        SceneGraph(exclusive).step(network(), SceneGraphLoss(), videos())


@pytest.mark.parametrize("mode", ["predcls", "sgcls", "sgdet"])
def test_overfits_one_batch(mode: str) -> None:
    batch, task, net = videos(1, mode), SceneGraph(), network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        result = task.step(net, SceneGraphLoss(), batch)
        result.loss.backward()
        optimizer.step()
    assert float(result.loss.detach()) < 0.1
