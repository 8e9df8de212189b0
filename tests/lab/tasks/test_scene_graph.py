from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lab.config import RunConfig
from lab.data import moving_boxes
from lab.figures.scene_graph import drawn_frame
from lab.graphs import collate
from lab.losses.scene_graph import SceneGraphLoss
from lab.metrics import GraphRecall
from lab.metrics.scene_graph import frames_of, rank
from lab.tasks import Samples, SceneGraph
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
    batch, metric = videos(), GraphRecall("action_genome", k=200, constraint="no")
    task = SceneGraph()
    task.update({"recall": metric}, task.step(network(), SceneGraphLoss(), batch))
    assert metric.compute().item() == 1.0  # everything is said, and no frame has two hundred


@pytest.mark.parametrize("exclusive", [(), ("attention", "contact")])
def test_refuses_to_take_groups_for_what_they_are_not(exclusive: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"exclusive relations are \[attention\]: set task.exclusive"):
        SceneGraph(exclusive).step(network(), SceneGraphLoss(), videos())


def test_draws_the_middle_frame_of_each_video(tmp_path: Path) -> None:
    scenes, truth = videos(3)
    task, said = SceneGraph(), SceneGraph().predict(network().eval()(scenes))
    samples = Samples([scenes], truth, said)  # type: ignore[arg-type]
    assert task.draw(samples, tmp_path / "a.png", "title") is True
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 1000 and image.size[1] > 600
    assert task.panel(samples) is None
    empty, nothing = collate([videos(1)])
    none = {
        **empty,
        **{
            name: empty[name][:0]
            for name in ("boxes", "pairs", "classes", "features", "time", "frame_of_box", "video_of_frame")
        },
    }  # type: ignore[literal-required]
    bare = {
        **nothing,
        **{name: nothing[name][:0] for name in ("boxes", "labels", "frame_of_box", "pairs")},
        "predicates": {group: each[:0] for group, each in nothing["predicates"].items()},
    }  # type: ignore[literal-required]
    blank = Samples([none], bare, task.predict(network()(none)))  # type: ignore[arg-type, list-item]
    assert task.draw(blank, tmp_path / "b.png", "title") is False and not (tmp_path / "b.png").exists()


def test_a_frame_is_drawn_with_names_and_ranks() -> None:
    scenes, truth = videos(1)
    said = {"scenes": scenes, "objects": scenes["classes"], "relations": {}}
    for group, target in truth["relations"].items():
        if target.dim() == 1:  # a pair that nobody annotated comes last
            target = torch.nn.functional.one_hot(target.clamp(min=0), SIZES[group]) * (target >= 0)[:, None]
        said["relations"][group] = target.float()
    frame = next(iter(frames_of(said, truth)))
    names = [f"p{n}" for n in range(sum(SIZES.values()))]
    shown = drawn_frame(frame, rank([frame]), "action_genome", [f"c{n}" for n in range(9)], names, "t")
    assert shown.title == "t" and len(shown.boxes) == len(frame.true_labels)
    assert [name.split()[0] for _, name, _ in shown.boxes] == [f"c{label}" for label in frame.true_labels]
    assert all(text.startswith("c0") and " – p" in text for text, _ in shown.triplets)
    found = [place for _, place in shown.triplets if place is not None]
    assert sorted(found) == list(range(1, 1 + len(found))) and len(found) >= 3 * len(frame.true_pairs) - 1


@pytest.mark.parametrize("mode", ["predcls", "sgcls", "sgdet"])
def test_overfits_one_batch(mode: str) -> None:
    batch, task, net = videos(1, mode), SceneGraph(), network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        result = task.step(net, SceneGraphLoss(), batch)
        result.loss.backward()
        optimizer.step()
    assert float(result.loss.detach()) < 0.1


def test_the_shipped_task_is_told_the_names_of_the_data() -> None:
    config = RunConfig.from_yaml(Path(__file__).parents[3] / "configs" / "scene_graph.yaml")
    sets = moving_boxes(train_count=1, val_count=1)
    task = config.create_task(sets.facts)
    facts = {name: sets.facts[name] for name in ("objects", "relations", "exclusive", "dataset")}
    assert facts == {
        "objects": list(task.objects),
        "relations": task.relations,
        "exclusive": list(task.exclusive),
        "dataset": task.dataset,
    }
