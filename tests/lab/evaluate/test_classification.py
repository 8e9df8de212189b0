"""Classifiers that were really trained, a second's worth, and what is said of them afterwards."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from lab.config import RunConfig
from lab.config.validation import validate
from lab.data.image_reader import read_image
from lab.evaluate.classification import (
    MISTAKES,
    Answer,
    ClassificationEvaluation,
    ClassificationEvaluator,
    _class_notes,
    _picture,
)
from lab.predict.loaded_run import load
from lab.trackers.csv_file import read_metrics
from tests.classified_tools import CLASSES, HERE, Levels, config, make_images, partly, train_levels
from tests.inference_tools import train


def evaluate_run(
    folder: Path, *split: Any, efficiency: bool = True, **options: Any
) -> ClassificationEvaluation:
    return ClassificationEvaluator(efficiency).evaluate(folder, *split, **options)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images: 30 to train, 18 to validate and 12 to test."""
    return make_images(tmp_path_factory.mktemp("data"), 60)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run", config(images))


@pytest.fixture(scope="module")
def levels(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_levels(tmp_path_factory.mktemp("levels") / "run", images)


def brightness(images: Path, name: str) -> float:
    return float(read_image(images / name).mean())


def test_figures_are_those_of_the_best_epoch_and_scikit_learn(trained: Path) -> None:
    found = evaluate_run(trained, "val", efficiency=False)
    best = min(read_metrics(trained), key=lambda row: row["val_loss"])
    scores = found.scores()
    assert scores.samples == 18 and scores.accuracy > 0.5  # it has learnt something
    assert scores.accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert scores.macro.f1 == pytest.approx(best["val_f1"], abs=1e-6)
    truths, likely = found.arrays()
    assert scores.accuracy == metrics.accuracy_score(truths, likely.argmax(1))
    assert scores.auc == pytest.approx(metrics.roc_auc_score(truths, likely, multi_class="ovr"), abs=1e-6)
    exact = likely.astype(np.float64)
    loss = metrics.log_loss(truths, exact / exact.sum(1, keepdims=True), labels=[0, 1, 2])
    assert loss == pytest.approx(best["val_loss"], abs=1e-4)


def test_the_test_images_are_the_usual_ones(trained: Path, images: Path) -> None:
    found = evaluate_run(trained, efficiency=False)
    facts = load(trained).facts["split"]
    names = [answer.name for answer in found.answers]
    assert found.split == "test" and sorted(names) == sorted(facts["test"])
    assert not set(names) & {*facts["train"], *facts["val"]}
    assert found.classes == list(CLASSES) and found.notes == [] and found.parts == []
    assert all(CLASSES[answer.truth] in answer.name for answer in found.answers)
    assert found.about["weights"].startswith("best.pt, epoch") and found.efficiency is None


def test_answers_are_the_networks(levels: Path, images: Path) -> None:
    found = evaluate_run(levels, "val", efficiency=False)
    for answer in found.answers:
        distances = np.abs(np.array([220, 30, 120]) - brightness(images, answer.name))
        assert answer.predicted == distances.argmin()
        assert answer.confidence == pytest.approx(answer.probabilities[answer.predicted])
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_mistakes_are_the_surest_and_look_like_the_images(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data", 120, noise=90)
    folder = train_levels(tmp_path / "run", root, **{"data.val_share": 0.6, "data.normalise": "train"})
    found = evaluate_run(folder, "val", efficiency=False)
    wrong = sorted((a.confidence for a in found.answers if a.predicted != a.truth), reverse=True)
    assert len(wrong) > MISTAKES
    assert [each.answer.confidence for each in found.mistakes] == wrong[:MISTAKES]
    for each in found.mistakes:
        assert each.picture is not None and each.picture.shape == (8, 8, 3)
        file = read_image(root / each.answer.name)  # 16 × 16: as bright, and no contrast is added
        assert each.picture.mean() == pytest.approx(file.mean(), abs=1)
        assert np.abs(each.picture - file.reshape(8, 2, 8, 2, 3).mean((1, 3))).max() < 2
    assert len({each.answer.name for each in found.mistakes}) == MISTAKES


def test_folds_are_pooled(images: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "run", config(images, **{"folds": 3, "data.test_share": 0.0, "epochs": 1}))
    found = evaluate_run(folder)
    assert found.split == "val" and found.parts == ["fold_0", "fold_1", "fold_2"]
    assert len({answer.name for answer in found.answers}) == len(found.answers) == 60
    truths, likely = found.arrays("fold_1")
    assert found.scores("fold_1").accuracy == metrics.accuracy_score(truths, likely.argmax(1))
    right = sum(found.scores(part).accuracy * found.scores(part).samples for part in found.parts)
    assert found.scores().accuracy == pytest.approx(right / 60)
    assert found.about["weights"].count("best.pt") == 3
    assert found.efficiency is not None and found.efficiency.input == (3, 8, 8)
    one = evaluate_run(folder / "fold_1", efficiency=False)
    assert one.split == "val"
    assert one.scores().accuracy == found.scores("fold_1").accuracy


def test_seeds_answer_the_same_images(images: Path, tmp_path: Path) -> None:
    found = evaluate_run(train(tmp_path / "run", config(images, seeds=[0, 1], epochs=1)), efficiency=False)
    assert found.split == "test" and found.parts == ["seed_0", "seed_1"]
    names = [[a.name for a in found.answers if a.part == part] for part in found.parts]
    assert names[0] == names[1] and len(names[0]) == 12


def test_progress_is_told(trained: Path) -> None:
    told: list[tuple[int, int, str]] = []
    evaluate_run(
        trained, efficiency=False, on_progress=lambda done, images, what: told.append((done, images, what))
    )
    assert told == [(n, 12, "images") for n in range(1, 13)]


def test_changes_of_the_data_are_told(tmp_path: Path) -> None:
    root = make_images(tmp_path / "data", 60)
    train(tmp_path / "run", config(root))
    before = {answer.name: answer for answer in evaluate_run(tmp_path / "run", efficiency=False).answers}
    shutil.rmtree(root)
    make_images(root, 90)
    found = evaluate_run(tmp_path / "run", efficiency=False)
    assert any("the normalisation is that of the training" in note for note in found.notes)
    same = [answer for answer in found.answers if answer.name in before]
    for answer in same:  # asked with the normalisation of then
        then = before[answer.name].probabilities
        assert answer.probabilities.tolist() == pytest.approx(then.tolist(), abs=1e-5)
    make_images(root, 4, classes=["grey"])
    (root / "black").mkdir()
    for path in sorted((root / "dark").iterdir()):
        shutil.copy(path, root / "black" / path.name)
    with pytest.raises(ValueError, match=r"are black, bright, dark, grey, and those of the training were"):
        evaluate_run(tmp_path / "run")


def test_one_answer_for_all_is_told(images: Path, tmp_path: Path) -> None:
    net = {"target": f"{HERE}.Levels", "levels": [9.0, 0.0, 9.0]}
    found = evaluate_run(train_levels(tmp_path / "run", images, net=net), efficiency=False)
    assert found.notes == ["the model predicts 'dark' for all 12 images"]
    assert {answer.predicted for answer in found.answers} == {1}


def told(answers: list[Answer], classes: int) -> list[str]:
    return list(_class_notes(ClassificationEvaluation(Path("run"), "val", list("abc")[:classes], answers)))


def said(truth: int, classes: int, best: int, part: str = "") -> Answer:
    return Answer("x", truth, np.eye(classes, dtype=np.float32)[best], part)


def test_classes_without_an_image_are_told() -> None:
    assert told([said(0, 3, 0), said(1, 3, 0), said(1, 3, 1)], 3) == [
        "no image is of the class c: its ROC-AUC isn't defined, and the mean is that of the others"
    ]
    assert told([said(0, 3, 0), said(0, 3, 1)], 3) == [
        "no image is of the class b, c: its ROC-AUC isn't defined, nor is that of any other class"
    ]
    assert told([said(1, 2, 0), said(1, 2, 1)], 2) == [
        "no image is of the class a: its ROC-AUC isn't defined, nor is that of any other class"
    ]


def test_a_fold_without_a_roc_auc_is_told() -> None:
    whole, half = [said(n, 2, n, "fold_0") for n in (0, 1)], [said(1, 2, n, "fold_1") for n in (0, 1)]
    note = "ROC-AUC isn't defined for fold_1: its mean is that of the others"
    assert told([*whole, *half], 2) == [note] and told(whole, 2) == []
    assert told([*half, said(0, 2, 0, "fold_0")], 2) == []  # in no fold


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path).with_values(
        {
            "task": "lab.tasks.Regression",
            "data": {"target": "lab.data.function"},
            "net": "model.MLP",
            "criterion": "torch.nn.MSELoss",
            "metrics": {},
            "epochs": 1,
        }
    )
    with pytest.raises(ValueError, match=r"with the task lab\.tasks\.Classification"):
        evaluate_run(train(tmp_path / "run", settings))


def test_no_such_images(images: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "run", config(images, **{"data.test_share": 0.0, "epochs": 1}))
    assert evaluate_run(folder, efficiency=False).split == "val"
    with pytest.raises(ValueError, match="its data has no test images"):
        evaluate_run(folder, "test")


def test_figures_are_computed_once(levels: Path) -> None:
    found: ClassificationEvaluation = evaluate_run(levels, efficiency=False)
    assert found.scores() is found.scores()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([[0.2, 0.4]], [51, 102]),
        ([[-3.0, 5.0]], [0, 255]),  # of no known range: stretched
        ([[math.nan, 0.5]], None),
    ],
)
def test_pictures_of_inputs(values: list[list[float]], shown: list[int] | None) -> None:
    picture = _picture(torch.tensor([values]), None)
    assert picture is not None and picture.shape == (1, 2, 3) and picture.dtype == np.uint8
    assert shown is None or picture[0, :, 1].tolist() == shown
    assert _picture(torch.zeros(5), None) is None
    normalised = _picture(torch.tensor([values]), ([0.5], [0.1]))
    assert normalised is not None and (shown != [51, 102] or normalised[0, :, 0].tolist() == [133, 138])


def partly_labelled(folder: Path, **settings: Any) -> RunConfig:
    values = {
        "data": f"{HERE}.partly",
        "net": {"target": f"{HERE}.Levels"},
        "criterion": "lab.losses.CrossEntropy",
        "metrics": {"accuracy": "lab.metrics.Accuracy", "f1": "lab.metrics.F1"},
        "epochs": 1,
    }
    return validate(RunConfig, {**config(folder).as_data(), **values, **settings})


def test_unlabelled_samples_are_in_no_figure(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", partly_labelled(tmp_path))
    found = evaluate_run(folder, "val", efficiency=False)
    images, labels = partly()[1].tensors
    kept = labels >= 0
    likely = Levels()(images).argmax(1)
    scores, best = found.scores(), read_metrics(folder)[-1]
    assert scores.samples == int(kept.sum()) == 20
    assert scores.accuracy == metrics.accuracy_score(labels[kept], likely[kept]) < 1
    assert scores.macro.f1 == pytest.approx(metrics.f1_score(labels[kept], likely[kept], average="macro"))
    assert (best["val_accuracy"], best["val_f1"]) == pytest.approx((scores.accuracy, scores.macro.f1))
    assert "10 images of the val set have no class: not evaluated" in found.notes


def test_unlabelled_samples_are_reported_once_for_all_seeds(tmp_path: Path) -> None:
    found = evaluate_run(train(tmp_path / "run", partly_labelled(tmp_path, seeds=[0, 1])), efficiency=False)
    assert found.parts == ["seed_0", "seed_1"]
    assert found.notes.count("10 images of the val set have no class: not evaluated") == 1
