"""The verdict on odd and wrong input, and the inputs themselves: they are what they are called."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F

from selftest.inputs import users
from selftest.inputs.base import GOOD, Ending, Seen, WrongInput, judge, written
from selftest.inputs.scenes import scene, unturned, write_tiff
from selftest.suite import FAULTS
from selftest.wrong_input import KINDS, describe, every_input, look

GIVEN = WrongInput("masks", "a mask", written(), {"val_dice": 0.75}, ("palette", "0.png"))
NOTE = json.dumps({"event": "note", "level": "warning", "message": "3 masks have a Palette"})
EPOCH = json.dumps({"event": "epoch", "palette": 1})


@pytest.mark.parametrize(
    ("code", "console", "values", "ending"),
    [
        (0, "", {"val_dice": 0.75}, Ending.RIGHT),
        (0, "", {"val_dice": 0.750001}, Ending.RIGHT),
        (0, NOTE, {"val_dice": 0.75}, Ending.RIGHT),
        (0, "", {"val_dice": 0.7501}, Ending.SILENT),
        (0, "", {}, Ending.SILENT),
        (0, EPOCH, {"val_dice": 0.5}, Ending.SILENT),
        (0, NOTE, {"val_dice": 0.5}, Ending.WARNED),
        (2, "run.yaml:3: data: masks/0.png has a Palette", {}, Ending.REFUSED),
        (2, "run.yaml:3: data: something else", {}, Ending.UNCLEAR),
        (2, "Traceback (most recent call last): palette", {}, Ending.UNCLEAR),
        (1, "RuntimeError: palette", {}, Ending.UNCLEAR),
        (-9, "", {}, Ending.UNCLEAR),
        (None, "", {}, Ending.UNCLEAR),
    ],
)
def test_endings(code: int | None, console: str, values: dict[str, float], ending: Ending) -> None:
    assert judge(GIVEN, Seen(code, console, values)) is ending


def test_what_nobody_can_get_right_is_never_right() -> None:
    wrong = WrongInput("targets", "half classes", written(), {}, ("0.5",))
    assert judge(wrong, Seen(0, "", {"val_loss": 1.0})) is Ending.SILENT


@pytest.mark.parametrize(
    ("code", "value", "ending"), [(0, 0.75, Ending.RIGHT), (0, 0.5, Ending.SILENT), (2, 0.75, Ending.UNCLEAR)]
)
def test_what_the_docs_promise_may_not_be_refused_or_warned_of(
    code: int, value: float, ending: Ending
) -> None:
    promised = WrongInput("masks", "a mask", written(), {"val_dice": 0.75})
    assert judge(promised, Seen(code, NOTE, {"val_dice": value})) is ending
    assert {Ending.RIGHT, Ending.WARNED, Ending.REFUSED} == GOOD


def test_a_refusal_has_its_own_exit_code() -> None:
    predicted = WrongInput("predictions", "an image", written(), {}, ("palette",), code=3)
    refused = "Failed: new/0.png has a palette"
    assert judge(predicted, Seen(3, refused, {})) is Ending.REFUSED
    assert judge(predicted, Seen(2, refused, {})) is Ending.UNCLEAR
    assert judge(GIVEN, Seen(3, refused, {})) is Ending.UNCLEAR


def test_a_wrong_figure_is_described_with_what_was_expected() -> None:
    text = describe(GIVEN, Seen(0, NOTE + "\nlast line", {"val_dice": 0.5}), Ending.SILENT)
    assert text == (
        "silent errors; exit code 0; expected {'val_dice': 0.75}, found {'val_dice': 0.5}; last line"
    )


def test_what_a_command_left_is_read(tmp_path: Path) -> None:
    assert look(tmp_path, 2) == Seen(2, "", {})
    run = tmp_path / "runs" / "20260101-000000_input"
    run.mkdir(parents=True)
    (run / "summary.json").write_text('{"last": {"val_dice": 0.5}}')
    (tmp_path / "console.txt").write_text(NOTE)
    seen = look(tmp_path, 0)
    assert seen == Seen(0, NOTE, {"val_dice": 0.5})
    assert seen.notes == "3 masks have a palette"


def test_at_least_200_inputs_of_every_kind() -> None:
    inputs = every_input()
    (fault,) = (each for each in FAULTS if each.number == 24)
    assert fault.full == len(inputs) >= 200
    assert len({(each.kind, each.what) for each in inputs}) == len(inputs)
    assert len({each.kind for each in inputs[: len(KINDS)]}) == len(KINDS)
    for each in inputs:
        assert each.expected or each.words, each.what


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_turns_back_to_what_was_drawn(orientation: int, tmp_path: Path) -> None:
    picture = scene(3)[0]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(unturned(picture, orientation)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(stored)), picture)


@pytest.mark.parametrize(
    ("dtype", "bands", "mode"),
    [
        (np.uint8, 1, "L"), (np.uint8, 3, "RGB"), (np.uint16, 1, "I;16"), (np.int32, 1, "I"),
        (np.float32, 1, "F"),
    ],
)  # fmt: skip
def test_a_tiff_is_what_pillow_reads(dtype: Any, bands: int, mode: str, tmp_path: Path) -> None:
    shape = (5, 7) if bands == 1 else (5, 7, bands)
    page = (np.arange(5 * 7 * bands).reshape(shape) * 3).astype(dtype)
    write_tiff(tmp_path / "a.tif", page)
    with Image.open(tmp_path / "a.tif") as image:
        assert (image.mode, getattr(image, "n_frames", 1)) == (mode, 1)
        assert np.array_equal(np.asarray(image), page)


def test_the_expected_means_are_those_of_single_samples() -> None:
    """Weighted by hand, sample by sample, for one of the figures."""
    wanted = next(each for each in every_input() if each.what == "class weights, in batches of 3")
    x, y = users.classes()[1].tensors
    log = F.log_softmax(users.Fixed()(x).double(), 1)
    weights = torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64)[y]
    mean = -(weights * log[torch.arange(len(y)), y]).sum() / weights.sum()
    assert wanted.expected["val_loss"] == pytest.approx(mean.item(), rel=1e-6)
