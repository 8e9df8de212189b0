"""What a person, or a program, sees of a run."""

import io
import json
import math
import os
import pty
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.config import RunConfig
from lab.console.formatting import format_number
from lab.events import Note, PhaseStart, StepsDone, request_stop
from lab.train.callbacks.progress_bar import Progress
from tests.run_events import epoch_end, run_end, run_start
from tests.terminal import read_to_end
from util import run

FILES = {"Best model": Path("best.pt"), "Nothing": Path("nowhere")}


def tell(progress: Progress, folder: Path) -> None:
    """A whole small run of four epochs, stopped early after the third."""
    (folder / "best.pt").touch()
    progress.on_note(Note("mode is offline"))
    progress.on_run_start(run_start(folder))
    rows = [
        {"lr": 0.1, "train_dice": 0.25, "val_dice": 0.5, "train_loss": 1.0, "val_loss": 12345.678},
        {"lr": 0.1, "train_loss": 0.0, "val_loss": 0.0001234},
        {"lr": 0.01, "train_loss": math.nan, "val_loss": math.inf},
    ]
    for epoch, row in enumerate(rows, 1):
        progress.on_phase_start(PhaseStart("train", epoch, 4, 8))
        progress.on_steps(StepsDone("train", 3, None))
        progress.on_steps(StepsDone("train", 8, 0.5))
        progress.on_phase_start(PhaseStart("val", epoch, 4, 2))
        progress.on_epoch_end(
            epoch_end(
                epoch,
                row,
                improved=epoch < 3,
                next_lr=0.01 if epoch > 1 else 0.1,
                stop=request_stop("val_loss has not improved") if epoch == 3 else None,
            )
        )
        if epoch == 2:
            progress.on_note(Note("the tracker is gone", "warning"))
    progress.on_run_end(
        run_end(
            outcome="early_stopped",
            reason="val_loss has not improved",
            epochs=3,
            best_epoch=2,
            best=rows[1],
            last=rows[2],
            seconds=187.0,
            samples_per_second=1234.5,
            files={label: folder / path for label, path in FILES.items()},
        )
    )


PLAIN = """\
mode is offline
Run      RUN  (seed 7)
Device   cpu; model 11 parameters, 0.00 MB
Data     20 training, 5 validation samples
Epoch 1/4  train_loss 1.0000  val_loss 1.235e+04  train_dice 0.2500  val_dice 0.5000  lr 0.1000  0.5s  * best
Epoch 2/4  train_loss 0  val_loss 1.234e-04  lr 0.1000  0.5s  * best
         learning rate 0.1000 -> 0.0100
Warning: the tracker is gone
Epoch 3/4  train_loss nan  val_loss inf  lr 0.0100  0.5s
Early stopping: val_loss has not improved
Early stopped: val_loss has not improved. 3 epochs in 3 min 07 s, 1,234 training samples/s.
Best     epoch 2: train_loss 0  val_loss 1.234e-04
Training finished. Final validation loss: inf
Best model   RUN/best.pt
"""
QUIET = """\
Warning: the tracker is gone
Early stopped: val_loss has not improved. 3 epochs in 3 min 07 s, 1,234 training samples/s.
Best     epoch 2: train_loss 0  val_loss 1.234e-04
Training finished. Final validation loss: inf
"""


@pytest.mark.parametrize(("style", "expected"), [("plain", PLAIN), ("auto", PLAIN), ("quiet", QUIET)])
def test_lines(tmp_path: Path, style: Any, expected: str) -> None:
    stream = io.StringIO()
    tell(Progress(style, stream), tmp_path)
    assert stream.getvalue().replace(str(tmp_path), "RUN") == expected


def test_json_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    tell(Progress("json", stream), tmp_path)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "note", "run_start", "epoch", "epoch", "note", "epoch", "run_end"
    ]  # fmt: skip
    assert lines[1] == {
        "event": "run_start", "run_dir": str(tmp_path), "seed": 7, "device": "cpu", "epochs": 4
    }  # fmt: skip
    assert lines[2]["val_dice"] == 0.5 and lines[2]["improved"] is True
    assert lines[5]["train_loss"] is None and lines[5]["val_loss"] is None
    end = lines[6]
    assert (end["outcome"], end["best"]["val_loss"], end["epochs"]) == ("early_stopped", 0.0001234, 3)
    assert end["files"]["Best model"] == str(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"outcome": "diverged", "reason": "train loss is nan"},
            ["Diverged: train loss is nan. 4 epochs in 2.0 s, 50 training samples/s."],
        ),
        (
            {"outcome": "interrupted", "reason": "stopped", "epochs": 0, "samples_per_second": 0.0},
            ["Interrupted: stopped. 0 epochs in 2.0 s."],
        ),
        (
            {"outcome": "interrupted", "reason": "stopped", "epochs": 1, "samples_per_second": 0.0},
            ["Interrupted: stopped. 1 epoch in 2.0 s."],
        ),
        (
            {"reason": "not told", "files": {}},
            [
                "Completed. 4 epochs in 2.0 s, 50 training samples/s.",
                "Training finished. Final validation loss: 0.5000",
            ],
        ),
    ],
)
def test_how_it_ended(changes: dict[str, Any], expected: list[str]) -> None:
    stream = io.StringIO()
    Progress("quiet", stream).on_run_end(run_end(**{"best_epoch": 0, **changes}))
    assert stream.getvalue().splitlines() == expected


def test_resumed_and_saved_are_said(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = Progress("plain", stream, mark="saved best")
    progress.on_run_start(run_start(tmp_path, first_epoch=3))
    progress.on_epoch_end(epoch_end(3, epochs=100))
    first, *_, last = stream.getvalue().splitlines()
    assert first.endswith("(seed 7, continuing at epoch 3)")
    assert last.startswith("Epoch   3/100  ") and last.endswith("0.5s  * saved best")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(0.1, 0.1, False), (0.1, 0.095, False), (0.1, 0.05, True), (0.1, 0.2, True), (0.0, 0.1, False)],
)
def test_only_a_marked_change_of_the_learning_rate_is_told(before: float, after: float, told: bool) -> None:
    stream = io.StringIO()
    values = {"train_loss": 1.0, "val_loss": 1.0, "lr": before}
    Progress("plain", stream).on_epoch_end(epoch_end(1, values, next_lr=after))
    assert ("learning rate" in stream.getvalue()) is told


def read_terminal(write: Callable[[Any], None]) -> str:
    """Return what a real terminal gets to see."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        assert stream.isatty()
        write(stream)
    return read_to_end(leader).decode()


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def write(stream: Any) -> None:
        progress = Progress("auto", stream)
        for phase, steps in (("train", 8), ("val", 2)):
            progress.on_phase_start(PhaseStart(phase, 1, 4, steps))  # type: ignore[arg-type]
            for step in range(1, steps + 1):
                time.sleep(0.02)
                progress.on_steps(StepsDone(phase, step, 0.5 if step == 4 else None))  # type: ignore[arg-type]
            if phase == "val":
                progress.on_note(Note("a word in between", "warning"))
        progress.on_epoch_end(epoch_end(1))

    seen = read_terminal(write)
    assert re.search(r"Epoch 1/4 training: .*8 \[.*batch/s, loss=0\.5000\]", seen)
    assert re.search(r"Epoch 1/4 validating: .*/2 \[", seen)
    lines = [line for line in seen.replace("\r\n", "\n").split("\n") if line]
    visible = [line.rsplit("\r", 1)[-1].replace("\x1b[A", "") for line in lines]
    assert visible[-2:] == [
        "Warning: a word in between",
        "Epoch 1/4  train_loss 1.0000  val_loss 2.0000  lr 0.1000  0.5s  * best",
    ]


@pytest.mark.parametrize("style", ["plain", "quiet", "json"])
def test_no_bars_where_none_were_asked_for(style: Any) -> None:
    def write(stream: Any) -> None:
        progress = Progress(style, stream)
        progress.on_phase_start(PhaseStart("train", 1, 1, 2))
        progress.on_steps(StepsDone("train", 2, 0.5))

    assert read_terminal(write) == ""


def test_console_of_a_real_run(
    config: Callable[..., RunConfig], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(config(), console="plain")
    lines = capsys.readouterr().out.splitlines()
    if lines[0].startswith("in no git repository: "):  # modules that other tests have imported
        del lines[0]
    assert lines[0] == f"Run      runs/{result.run_dir.name}  (seed 0)"
    assert lines[1:3] == [
        "Device   cpu; model 25 parameters, 0.00 MB",
        "Data     48 training, 16 validation samples",
    ]
    epoch = r"  train_loss \d\.\d{4}  val_loss \d\.\d{4}  lr 0\.0010  \d+\.\ds(  \* saved best)?"
    assert re.fullmatch(rf"Epoch 1/2{epoch}", lines[3]) and re.fullmatch(rf"Epoch 2/2{epoch}", lines[4])
    assert re.fullmatch(r"Completed\. 2 epochs in [\d.]+ m?s, [\d,]+ training samples/s\.", lines[5])
    assert lines[6].startswith(f"Best     epoch {2 if result == result.last['val_loss'] else 1}: ")
    assert lines[7] == f"Training finished. Final validation loss: {format_number(result.last['val_loss'])}"
    for line, name in zip(lines[8:], ["best.pt", "final.pt", "summary.json"], strict=True):
        assert line.endswith(name) and (workplace / line[13:]).exists()
