"""What masks need beside the network: classes, the threshold, and what is said of the rest."""

import json
from pathlib import Path

import pytest

from lab.predict.segmentation_run import left_out, load_segmenter
from tests.inference_tools import make_run


def test_other_tasks_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", task="lab.tasks.Regression")
    with pytest.raises(ValueError, match=r"found lab\.tasks\.Regression"):
        load_segmenter(run)


def test_a_checkpoint_from_before_facts_is_told(tmp_path: Path) -> None:
    loaded = load_segmenter(make_run(tmp_path / "run", facts=None))
    assert "images are scaled to [0, 1]" in loaded.notes[0]
    assert (loaded.classes, loaded.channels) == (["background", "foreground"], 3)
    assert load_segmenter(make_run(tmp_path / "grey", facts=None, **{"data.grayscale": True})).channels == 1


def test_transforms_that_would_have_mattered_are_told(tmp_path: Path) -> None:
    names = ("CenterCrop", "PadIfNeeded", "Resize", "pytorch.ToTensorV2", "RandomResizedCrop", "Normalize")
    for count, expected in ((2, ()), (6, ("Resize, RandomResizedCrop, Normalize",))):
        transforms = [{"target": f"albumentations.{name}"} for name in names[:count]]
        data = {"target": "lab.data.image_folder", "val_transforms": transforms}
        run = load_segmenter(make_run(tmp_path / str(count), data=data))
        notes = left_out(run.config)
        assert run.notes == ()  # the evaluation goes through them
        assert len(notes) == len(expected)
        assert all(f"not applied: {each};" in note for each, note in zip(expected, notes, strict=True))


@pytest.mark.parametrize("found", ['{"threshold": 1.5}', '{"threshold": true}', '{"a": 1}', "[]", "{", "[1]"])
def test_the_tuned_threshold_counts_and_a_broken_one_is_an_error(tmp_path: Path, found: str) -> None:
    run = make_run(tmp_path / "run", task={"target": "lab.tasks.Segmentation", "threshold": 0.3})
    assert load_segmenter(run).threshold == 0.3
    (run / "threshold.json").write_text(json.dumps({"threshold": 0.37, "split": "val", "metric": "dice"}))
    assert load_segmenter(run).threshold == 0.37
    (run / "threshold.json").write_text(found)
    with pytest.raises(ValueError, match=r"threshold(\.json: cannot read a threshold| must be a number)"):
        load_segmenter(run)
