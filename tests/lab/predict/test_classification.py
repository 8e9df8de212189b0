import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.data.image_reader import read_image
from lab.evaluate.classification import ClassificationEvaluator
from lab.predict.classification import Item, find_items, predict
from lab.predict.loaded_run import LoadedRun, load
from tests.classified_tools import CLASSES, HERE, config, make_images
from tests.inference_tools import make_run, train, write

FACTS = {"in_channels": 3, "classes": list(CLASSES), "size": [8, 8], "normalise": "none"}


def classifier(folder: Path, facts: dict[str, Any] = FACTS, **values: Any) -> LoadedRun:
    """A run whose network says which level is nearest."""
    return load(
        make_run(
            folder / "run",
            {"target": f"{HERE}.Levels"},
            facts,
            **{"task": "lab.tasks.Classification", "data": "lab.data.class_folder", **values},
        )
    )


def table(output: Path) -> list[dict[str, str]]:
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_and_those_below(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 7, noise=0)
    write(root / "above.PNG", np.full((20, 30), 30, np.uint8))  # grey, and of another size
    (root / ".hidden").mkdir()
    write(root / ".hidden" / "im.png", np.zeros((4, 4, 3), np.uint8))
    (root / "notes.txt").write_text("no image")
    done = predict(classifier(tmp_path), root, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert list(rows[0]) == ["name", "path", "class", "probability", "p_bright", "p_dark", "p_grey"]
    assert [(row["name"], row["class"]) for row in rows] == [
        ("above.PNG", "dark"),
        ("bright/im00.png", "bright"),
        ("bright/im03.png", "bright"),
        ("bright/im06.png", "bright"),
        ("dark/im01.png", "dark"),
        ("dark/im04.png", "dark"),
        ("grey/im02.png", "grey"),
        ("grey/im05.png", "grey"),
    ]
    for row in rows:
        level = read_image(row["path"]).mean() / 255
        logits = -40 * (level - np.array([220, 30, 120]) / 255) ** 2
        expected = np.exp(logits) / np.exp(logits).sum()
        assert [float(row[f"p_{name}"]) for name in CLASSES] == pytest.approx(expected, abs=1e-3)
        assert row["probability"] == row[f"p_{row['class']}"]
    assert (done.images, done.failed, done.notes) == (8, [], [f"{root}: not used: 1 .txt"])
    assert done.counts == {"bright": 3, "dark": 3, "grey": 2}
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert (record["images"], record["counts"], record["epoch"]) == (8, done.counts, 7)
    warning, *lines = done.as_text().splitlines()
    assert warning == f"Warning: {root}: not used: 1 .txt"
    assert lines[0].startswith("Predicted 8 images in") and lines[0].endswith("predictions.csv")
    assert lines[1] == "Predicted: bright 3, dark 3, grey 2"


def test_broken_images_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 4, noise=0)
    whole = (root / "bright" / "im00.png").read_bytes()
    (root / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "dark" / "empty.png").write_bytes(b"")
    done = predict(classifier(tmp_path), root, tmp_path / "out")
    assert (done.images, len(table(tmp_path / "out"))) == (4, 4)
    assert [failure.name for failure in done.failed] == ["dark/cut.png", "dark/empty.png"]
    assert list(json.loads((tmp_path / "out" / "prediction.json").read_text())["failed"]) == [
        "dark/cut.png",
        "dark/empty.png",
    ]
    text = done.as_text()
    assert text.count("Failed: ") == 2 and text.endswith("2 failed.")
    for number in range(30):
        (root / f"broken{number}.png").write_bytes(b"")
    done = predict(classifier(tmp_path / "b"), root, tmp_path / "out", force=True)
    assert "… and 12 more, see" in done.as_text()


def test_nothing_that_can_be_read_leaves_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    done = predict(classifier(tmp_path), tmp_path / "a.png", tmp_path / "out")
    assert (done.images, len(done.failed)) == (0, 1)
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("name,path,class,probability,p_br")


def test_an_image_and_a_table(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 3, noise=0)
    loaded = classifier(tmp_path)
    predict(loaded, root / "grey" / "im02.png", tmp_path / "one")
    assert [(row["name"], row["class"]) for row in table(tmp_path / "one")] == [("im02.png", "grey")]
    listed = root / "list.csv"
    listed.write_text("label,image_path\nx,grey/im02.png\ny,bright/im00.png\nz,absent.png\n")
    done = predict(loaded, listed, tmp_path / "two")
    assert [row["class"] for row in table(tmp_path / "two")] == ["grey", "bright"]
    assert [failure.name for failure in done.failed] == ["absent.png"]


def test_a_table_is_read_as_the_training_read_its_own(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 3, noise=0)
    listed = tmp_path / "list.csv"
    listed.write_text("file\ngrey/im02.png\n")
    data = {"target": "lab.data.class_table", "path": str(listed), "root": str(root), "image": "file"}
    loaded = classifier(tmp_path, data=data)
    assert predict(loaded, listed, tmp_path / "out").images == 1
    other = root / "other.csv"
    other.write_text("file\ndark/im01.png\n")
    assert predict(loaded, other, tmp_path / "out2").images == 1


def test_paths_of_a_table_may_have_backslashes_and_another_unicode_form(tmp_path: Path) -> None:
    name, stored = (unicodedata.normalize(form, "über") for form in ("NFC", "NFD"))
    path = write(tmp_path / "in" / f"{stored}.png", np.full((4, 4, 3), 30, np.uint8))
    (tmp_path / "list.csv").write_text(f"image_path\nin\\{name}.png\nin/{name}.png\nin\\gone.png\n")
    found = [item.image for item in find_items(tmp_path / "list.csv")]
    assert found == [path, path, tmp_path / "in\\gone.png"]


def test_items(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 2, noise=0)
    assert find_items(root) == [
        Item("bright/im00.png", root / "bright" / "im00.png"),
        Item("dark/im01.png", root / "dark" / "im01.png"),
    ]
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "none.csv").write_text("image_path\n")
    (tmp_path / "other.csv").write_text("file\na.png\n")
    (tmp_path / "gaps.csv").write_text("image_path,b\na.png,1\n,2\n,3\n")
    for name, message in (
        ("empty", "no .bmp"),
        ("absent", "no such file or folder"),
        ("a.txt", "expected a table"),
        ("none.csv", "has no rows"),
        ("other.csv", "no column image_path; it has file"),
        ("gaps.csv", r"(?s)2 problems with .*line 3: image_path is empty.*line 4"),
    ):
        with pytest.raises(ValueError, match=message):
            find_items(tmp_path / name)


def test_the_answers_are_those_of_the_evaluation(tmp_path: Path) -> None:
    """Files are prepared as the training prepared them: read, resized, normalised."""
    root = make_images(tmp_path / "data", 30)
    folder = train(tmp_path / "run", config(root, epochs=1))
    found = ClassificationEvaluator(efficiency=False).evaluate(folder)
    judged = {answer.name: answer for answer in found.answers}
    predict(load(folder), root, tmp_path / "out")
    rows = {row["name"]: row for row in table(tmp_path / "out")}
    assert len(rows) == 30 and set(judged) <= set(rows)
    for name, answer in judged.items():
        said = [float(rows[name][f"p_{each}"]) for each in CLASSES]
        assert said == pytest.approx(answer.probabilities.tolist(), abs=1e-5)


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 2, noise=0)
    loaded = classifier(tmp_path)
    predict(loaded, root, tmp_path / "out")
    with pytest.raises(ValueError, match=r"would be overwritten; .* or pass --force:\n.*predictions.csv"):
        predict(loaded, root, tmp_path / "out")
    assert predict(loaded, root, tmp_path / "out", force=True).images == 2
    own = tmp_path / "out" / "predictions.csv"
    own.write_text("image_path\na.png\n")
    with pytest.raises(ValueError, match="is an input and would be overwritten"):
        predict(loaded, own, tmp_path / "out", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't be written"):
        predict(loaded, root, tmp_path / "file" / "out")


def test_an_answer_that_is_none_is_a_failure(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 2, noise=0)
    run = make_run(
        tmp_path / "run",
        {"target": f"{HERE}.Levels"},
        FACTS,
        weight=float("inf"),
        task="lab.tasks.Classification",
        data="lab.data.class_folder",
    )
    done = predict(load(run), root / "dark", tmp_path / "out")
    assert done.images == 0 and done.counts == dict.fromkeys(CLASSES, 0)
    assert "im01.png: the network's output is not finite: [nan" in done.failed[0].reason


def test_one_answer_for_all_is_told(tmp_path: Path) -> None:
    root = make_images(tmp_path / "in", 5, noise=0, classes=["grey"])
    done = predict(classifier(tmp_path), root, tmp_path / "out")
    assert done.notes == ["the model predicts 'grey' for all 5 images"]
    assert done.as_text().startswith("Warning: the model predicts 'grey'")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"classes": ["a", "b"], "in_channels": 3}, "does not provide size"),
        ({}, "does not provide in_channels and size"),
        ({**FACTS, "in_channels": 4}, "1 or 3 channels, and the network takes 4"),
    ],
)
def test_runs_that_can_not_predict(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    root = make_images(tmp_path / "in", 1)
    with pytest.raises(ValueError, match=message):
        predict(classifier(tmp_path, facts), root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
