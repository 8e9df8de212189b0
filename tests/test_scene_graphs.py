"""Scene graphs by the commands alone: check, run, evaluate; what each prints and leaves."""

import json
from pathlib import Path

import pytest

import main as program
from lab.config import RunConfig
from lab.evaluate.scene_graph import SceneGraphEvaluator
from tests.conftest import ROOT, Say
from util import run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on the generated world, and a finished run."""
    folder = tmp_path_factory.mktemp("lab")
    recipe = {
        "name": "relations",
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "task": "lab.tasks.SceneGraph",
        "data": {"target": "lab.data.moving_boxes", "train_count": 16, "val_count": 4, "frames": 3},
        "net": {
            "target": "model.RelationNet",
            "objects": "auto",
            "relations": "auto",
            "features": "auto",
            "width": 16,
        },
        "criterion": {"target": "lab.losses.SceneGraphLoss", "contact": 2.0},
        "metrics": {
            "mean_recall20": {"target": "lab.metrics.GraphRecall", "dataset": "auto", "k": 20, "mean": True}
        },
        "monitor": {"metric": "val_mean_recall20", "mode": "max"},
    }
    (folder / "run.yaml").write_text(json.dumps(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert program.main(["--run", "run.yaml", "--quiet"]) == 0
    return folder


def run_of(place: Path) -> Path:
    (folder,) = (place / "runs").iterdir()
    return folder


def test_a_check_runs_a_batch(say: Say) -> None:
    assert "Ready to run" in say(0, "--check", "run.yaml")


def test_every_loss_is_logged_by_its_name_and_the_best_is_by_mean_recall(place: Path) -> None:
    header, *rows = (run_of(place) / "metrics.csv").read_text().splitlines()
    columns = header.split(",")
    parts = [f"val_loss_{name}" for name in ("objects", "attention", "spatial", "contact")]
    assert {*parts, *(name.replace("val", "train") for name in parts)} <= set(columns)
    epochs = [dict(zip(columns, map(float, row.split(",")), strict=True)) for row in rows]
    for epoch in epochs:
        assert sum(epoch[name] for name in parts) == pytest.approx(epoch["val_loss"], rel=1e-4)
    best = json.loads((run_of(place) / "summary.json").read_text())["best"]
    assert best["val_mean_recall20"] == pytest.approx(max(each["val_mean_recall20"] for each in epochs))


def test_a_run_is_judged_by_recall_in_every_mode(place: Path, say: Say) -> None:
    run = run_of(place)
    said = say(0, "--evaluate", str(run.relative_to(place)))
    for word in ("predcls", "sgcls", "sgdet", "4 validation videos"):
        assert word in said, said
    figures = json.loads((run / "evaluation" / "val" / "metrics.json").read_text())
    best = json.loads((run / "summary.json").read_text())["best"]["val_mean_recall20"]
    (same,) = (
        row
        for row in figures["recall"]
        if (row["mode"], row["constraint"], row["k"]) == ("predcls", "with", 20)
    )
    assert same["mean_recall"] == pytest.approx(best, abs=1e-6)
    for name in ("recall.csv", "predicates.csv", "recall.png", "examples.png"):
        assert (run / "evaluation" / "val" / name).is_file(), name


def test_prediction_and_export_say_what_they_are_for(place: Path, say: Say) -> None:
    run = str(run_of(place).relative_to(place))
    assert "lab.tasks.SceneGraph" in say(2, "--predict", run, "--input", "run.yaml", "--output", "x")
    assert "lab.tasks.SceneGraph" in say(2, "--export", "onnx", run)


@pytest.mark.slow
def test_a_learner_is_told_from_a_guesser(workplace: Path) -> None:
    config = RunConfig.from_yaml(ROOT / "configs" / "scene_graph.yaml")
    result = run(config.with_values({"trackers": [], "device": "cpu"}), console="quiet")
    found = SceneGraphEvaluator().evaluate(result.run_dir)
    network, frequency = (
        found.ranks("predcls", who, "with").mean_recall(20) for who in ("network", "frequency")
    )
    assert network >= 2 * frequency > 0.2
