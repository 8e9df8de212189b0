from pathlib import Path
from typing import Any

import pytest
import torch

from lab.checkpoint import load, save
from lab.data import moving_boxes
from lab.data.scene_graphs import Frequencies
from lab.evaluate.scene_graph import BEST, PREDICTORS, WORST, SceneGraphEvaluator
from lab.graphs import Vocabulary, collate
from lab.metrics import GraphRecall
from lab.metrics.scene_graph import CONSTRAINTS
from lab.store import run_folder
from lab.tasks import SceneGraph
from lab.trackers.csv_file import read_metrics
from tests.graph_tools import HERE, SMALL, train
from tests.scene_graph_files import clip, graph, grounding, person, thing, write_action_genome, write_easg

evaluate_run = SceneGraphEvaluator().evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("graphs") / "run")


def facts(folder: Path, **changed: Any) -> None:
    """Change what the checkpoint says of the data."""
    path = folder / run_folder.CHECKPOINTS / "best.pt"
    content = load(path)
    save(path, {**content, "data": {**content["data"], **changed}})


def test_figures_are_those_of_the_best_epoch(folder: Path) -> None:
    best = max(read_metrics(folder), key=lambda row: row["val_mean_recall20"])
    told: list[tuple[int, int, str]] = []
    found = evaluate_run(folder, "val", on_progress=lambda *each: told.append(each))
    ranks = found.ranks("predcls", "network", "with")
    assert ranks.recall(20) == pytest.approx(best["val_recall20"], rel=1e-5)
    assert ranks.mean_recall(20) == pytest.approx(best["val_mean_recall20"], rel=1e-5)
    assert found.split == "val" and found.parts == [] and found.notes == []
    assert told[:2] == [(2, 3, "predcls"), (3, 3, "predcls")] and told[-1] == (3, 3, "sgdet")


def test_every_mode_and_constraint_is_asked(folder: Path) -> None:
    found = evaluate_run(folder)
    assert found.split == "test" and found.modes == ["predcls", "sgcls", "sgdet"]
    assert [(each.videos, each.frames) for each in found.results] == [(3, 9)] * 3
    for each in found.results:
        assert list(each.ranks) == list(PREDICTORS) and list(each.ranks["network"]) == list(CONSTRAINTS)
    for who in PREDICTORS:
        values = {
            (mode, constraint): found.ranks(mode, who, constraint).recall(200)
            for mode in found.modes
            for constraint in CONSTRAINTS
        }
        assert values["predcls", "no"] == 1.0 and values["sgdet", "no"] < 1.0
        assert values["predcls", "with"] < 1.0
    assert found.about["trained in the mode"] == "predcls"


@pytest.mark.parametrize("mode", ["predcls", "sgdet"])
def test_frequencies_are_judged_as_the_network_is(folder: Path, mode: Any) -> None:
    sets = moving_boxes(**SMALL, mode=mode)  # type: ignore[arg-type]
    guesser = Frequencies(sets.train, Vocabulary.from_facts(sets.facts))  # type: ignore[arg-type]
    assert sets.test is not None
    scenes, truth = collate([sets.test[index] for index in range(3)])
    said = {"scenes": scenes, "objects": scenes["classes"].clamp(min=1e-9).log()}
    guessed = SceneGraph().predict({**said, "relations": guesser.logits(scenes)})
    found = evaluate_run(folder)
    for constraint in CONSTRAINTS:
        metric = GraphRecall("action_genome", 20, constraint, mean=True)
        metric.update(guessed, truth)
        value = found.ranks(mode, "frequency", constraint).mean_recall(20)
        assert value == pytest.approx(metric.compute().item(), rel=1e-5)


def test_examples_are_the_worst_and_the_best_frames(folder: Path) -> None:
    found = evaluate_run(folder)
    assert len(found.worst) == WORST and len(found.best) == BEST
    for kept in (found.worst, found.best):
        assert len({example.video for example in kept}) == len(kept)
    assert found.worst[0].recall <= found.worst[1].recall <= found.best[1].recall <= found.best[0].recall
    assert found.worst[0].recall < found.best[0].recall
    assert {example.video for example in found.worst} <= {"test-0", "test-1", "test-2"}


def test_seeds_are_judged_each_by_its_own_network(tmp_path: Path) -> None:
    whole = train(tmp_path / "seeds", seeds=[0, 1], epochs=1)
    found = evaluate_run(whole, "val")
    assert found.parts == ["seed_0", "seed_1"] and len(found.results) == 6
    own = [found.ranks("sgcls", "network", "no", part).recall(20) for part in found.parts]
    assert own[0] != own[1]
    assert found.ranks("sgcls", "network", "no").recall(20) == pytest.approx(sum(own) / 2)
    alone = evaluate_run(whole / "seed_1", "val")
    assert alone.ranks("sgcls", "network", "no").recall(20) == pytest.approx(own[1])
    assert found.about["weights"] == "best.pt, epoch 1; seed_1: best.pt, epoch 1"
    assert len(found.worst) == WORST


def test_a_run_in_another_mode_comes_first_in_that(tmp_path: Path) -> None:
    found = evaluate_run(train(tmp_path / "run", **{"data.mode": "sgdet", "data.test_count": 0, "epochs": 1}))
    assert found.split == "val" and found.modes == ["sgdet", "predcls", "sgcls"]


def test_data_without_modes_is_asked_in_its_own(tmp_path: Path) -> None:
    found = evaluate_run(train(tmp_path / "run", data=f"{HERE}.without_modes", epochs=1))
    assert found.modes == ["predcls"]
    assert found.notes == [
        f"{mode} is not evaluated: {HERE}.without_modes takes no mode" for mode in ("sgcls", "sgdet")
    ]


def test_action_genome_is_judged_group_by_group(tmp_path: Path) -> None:
    tags = [f"{video}.mp4/{frame:06d}.png" for video in range(6) for frame in range(3)]
    things = {
        tag: [
            thing("book", part="test" if tag < "2" else "train"),
            thing("bed", (240, 54, 96, 54), spatial=()),
        ]
        for tag in tags
    }
    root = write_action_genome(tmp_path / "annotations", {tag: person() for tag in tags}, things)
    data = {"target": "lab.data.action_genome", "root": str(root), "val_share": 0.3}
    found = evaluate_run(train(tmp_path / "run", data=data, epochs=1))
    assert (found.split, found.modes, found.dataset) == ("test", ["predcls"], "action_genome")
    assert [note.partition(" requires ")[0] for note in found.notes] == [
        f"{mode} is not evaluated: lab.data.action_genome can't be built: mode: {mode}"
        for mode in ("sgcls", "sgdet")
    ]
    names = {found.predicates[index] for index in found.ranks("predcls", "network", "no").by_predicate(50)}
    assert names == {("attention", "looking_at"), ("spatial", "in_front_of"), ("contact", "holding")}
    assert found.ranks("predcls", "frequency", "with").mean_recall(10) == 1.0


def test_easg_is_judged_by_verb_and_role_together(tmp_path: Path) -> None:
    boxes = {"pnr": {"bread": grounding(0, 0, 500, 250), "knife": grounding(500, 250, 200, 200)}}
    cut = graph("g", [("CW", "verb", "cut"), ("cut", "dobj", "bread"), ("cut", "with", "knife")], boxes)
    take = graph("h", [("CW", "verb", "take"), ("take", "dobj", "knife")], boxes, first=30)
    clips = {f"t{index}": clip([cut, take]) for index in range(4)} | {"v": clip([cut, take], "val")}
    metric = {"target": "lab.metrics.GraphRecall", "dataset": "easg"}
    values = {
        "data": {"target": "lab.data.easg", "path": str(write_easg(tmp_path / "easg.json", clips))},
        "task": {"target": "lab.tasks.SceneGraph", "exclusive": ["verb", "role"], "dataset": "easg"},
        "metrics": {"recall20": metric, "mean_recall20": {**metric, "mean": True}},
        "epochs": 1,
    }
    found = evaluate_run(train(tmp_path / "run", **values))
    assert found.dataset == "easg" and found.predicates[0] == ("verb – role", "cut – dobj")
    ranks = found.ranks("predcls", "network", "no")
    said = {found.predicates[index][1] for index in ranks.by_predicate(50)}
    assert said == {"cut – dobj", "cut – with", "take – dobj"} and ranks.recall(50) == 1.0
    # Of the knife each verb and each role is half; what they say together, cut – dobj, it never is.
    guessed = found.ranks("predcls", "frequency", "with")
    assert guessed.recall(10) == 0.25 and guessed.mean_recall(10) == pytest.approx(1 / 3)


def test_what_changed_since_is_told(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", epochs=1)
    facts(folder, split={"train": ["test-1", "train-0"]})
    assert evaluate_run(folder).notes == [
        "the network was trained on 1 of these videos, such as test-1: the data has changed since, and their "
        "scores do not generalize to new videos"
    ]
    facts(folder, objects=["person", *(f"thing {n}" for n in range(8))])
    with pytest.raises(ValueError, match="the objects of its data differ from those of the training"):
        evaluate_run(folder)


def test_what_can_not_be_judged_is_told(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", **{"data.test_count": 0, "epochs": 1})
    with pytest.raises(ValueError, match="its data has no test videos"):
        evaluate_run(folder, "test")
    with pytest.raises(ValueError, match="not a run folder"):
        evaluate_run(tmp_path)


def test_nothing_of_the_global_stream_matters(folder: Path) -> None:
    torch.manual_seed(1)
    one = evaluate_run(folder).ranks("sgdet", "network", "with")
    torch.manual_seed(2)
    two = evaluate_run(folder).ranks("sgdet", "network", "with")
    assert one.rank.tolist() == two.rank.tolist()


def plain_world(**values: Any) -> Any:
    """The world without a word on its mode, as a source of one's own may be."""
    splits = moving_boxes(**values)
    return splits._replace(facts={name: fact for name, fact in splits.facts.items() if name != "mode"})


def test_facts_that_are_missing_are_named(tmp_path: Path) -> None:
    data = {"target": "tests.lab.evaluate.test_scene_graph.plain_world", **SMALL}
    folder = train(tmp_path / "run", epochs=1, data=data)
    with pytest.raises(ValueError, match=r"test_scene_graph\.plain_world, lack mode"):
        evaluate_run(folder)
