"""Pictures are a by-product: drawn from the best epoch, and never the end of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.config import RunConfig
from lab.config.sections import PicturesConfig
from lab.events import Callback, Note, request_stop
from lab.store import run_folder
from lab.tasks import Samples, Segmentation, Task
from lab.trackers.csv_file import CsvTracker
from lab.train.callbacks.image_logger import Pictures
from tests.run_events import epoch_end, run_end, run_start
from util import run


class Drawing(Segmentation):
    """Keeps what it is to draw, and draws it too."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.drawn: list[tuple[float, str]] = []
        self._fails = fails

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        if self._fails == "draw":
            raise OSError("the disk is full")
        self.drawn.append((float(samples.predictions[0, 0, 0, 0]), title))
        return super().draw(samples, path, title)

    def panel(self, samples: Samples) -> Any:
        if self._fails == "panel":
            raise ValueError("no panel")
        return super().panel(samples)


class Run:
    """Tells Pictures of epochs, in each of which the network predicts the epoch's number / 100."""

    def __init__(
        self, folder: Path, task: Task | None = None, predict: str = "samples", **config: Any
    ) -> None:
        self.folder, self.epoch, self.asked = folder, 0, 0
        self.images: list[tuple[int, str, tuple[int, ...]]] = []
        self.notes: list[Note] = []
        self.record = CsvTracker()
        self.record.start(run_start(folder))
        self.pictures = Pictures(
            folder,
            PicturesConfig(**config),
            task or Drawing(),
            lambda: self._predict(predict, self.epoch / 100),
            lambda: self._predict(predict, 0.77),
            lambda epoch, name, image: self.images.append((epoch, name, image.shape)),
            self.notes.append,
        )

    def _predict(self, kind: str, value: float) -> Samples | None:
        self.asked += 1
        if kind == "fails":
            raise RuntimeError("out of memory")
        if kind == "none":
            return None
        said = torch.full((1, 1, 16, 16), value)
        return Samples([torch.rand(1, 1, 16, 16)], torch.ones(1, 1, 16, 16), said)

    def go(self, improved: list[int], epochs: int = 4, **end: Any) -> None:
        for self.epoch in range(1, epochs + 1):
            event = epoch_end(self.epoch, improved=self.epoch in improved, epochs=epochs, **end)
            self.record.epoch(event)
            self.pictures.on_epoch_end(event)
        self.pictures.on_run_end(run_end(best_epoch=max(improved, default=0)))


def test_files_are_from_the_best_epoch(tmp_path: Path) -> None:
    task = Drawing()
    run = Run(tmp_path, task, every_epochs=2)
    run.go(improved=[1, 3])
    assert task.drawn == [(pytest.approx(0.77), f"{tmp_path.name}: best epoch 3")]
    for name in (run_folder.HISTORY, run_folder.PREDICTIONS):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 50 and len(np.unique(np.asarray(image))) > 5
    assert [(epoch, name) for epoch, name, _ in run.images] == [(2, "predictions"), (4, "predictions")]
    assert run.asked == 3 and run.notes == []  # for two panels, and at the end


@pytest.mark.parametrize(
    ("improved", "every", "asked", "panels"),
    [([1], 10, 2, [4]), ([], 10, 1, [4]), ([1, 2], 3, 3, [3, 4]), ([], 1, 4, [1, 2, 3, 4])],
)
def test_the_network_is_asked_only_where_it_counts(
    tmp_path: Path, improved: list[int], every: int, asked: int, panels: list[int]
) -> None:
    run = Run(tmp_path, every_epochs=every)
    run.go(improved)
    assert run.asked == asked and [epoch for epoch, _, _ in run.images] == panels
    assert (tmp_path / run_folder.PREDICTIONS).exists() is bool(improved)


def test_disabled_draws_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, enabled=False, every_epochs=1)
    run.go(improved=[1, 2, 3, 4])
    assert (run.asked, run.images, run.notes) == (0, [], [])
    assert not list(tmp_path.glob("*.png"))


def test_a_diverged_epoch_is_not_looked_at(tmp_path: Path) -> None:
    run = Run(tmp_path, every_epochs=1)
    run.go([], epochs=1, stop=request_stop("nan", "diverged"))
    assert run.asked == 0 and (tmp_path / run_folder.HISTORY).exists()


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("predict", "RuntimeError: out of memory"),
        ("panel", "ValueError: no panel"),
        ("draw", "OSError: the disk is full"),
    ],
)
def test_a_failure_is_a_warning(tmp_path: Path, fails: str, says: str) -> None:
    run = Run(tmp_path, Drawing(fails), "fails" if fails == "predict" else "samples", every_epochs=1)
    run.go(improved=[1])
    assert {(note.level, note.message) for note in run.notes} == {
        ("warning", f"a plot could not be drawn: {says}")
    }
    assert (tmp_path / run_folder.HISTORY).exists()


def test_a_record_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / run_folder.METRICS).write_text("epoch,val_loss\n1,zero\n2,1.0\n")
    run.pictures.on_run_end(run_end())
    assert len(run.notes) == 1 and "line 2" in run.notes[0].message
    assert not (tmp_path / run_folder.HISTORY).exists()


def test_nothing_to_show(tmp_path: Path) -> None:
    run = Run(tmp_path, predict="none", every_epochs=1)
    run.go(improved=[1, 2])
    assert run.images == [] and run.notes == [] and not (tmp_path / run_folder.PREDICTIONS).exists()
    assert (tmp_path / run_folder.HISTORY).exists()


def test_a_task_without_pictures(tmp_path: Path) -> None:
    run = Run(tmp_path, Task(), every_epochs=1)
    run.go(improved=[1])
    assert run.images == [] and run.notes == [] and not (tmp_path / run_folder.PREDICTIONS).exists()


class Notes(Callback):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_note(self, event: Note) -> None:
        self.warnings += [event.message] if event.level == "warning" else []


def test_a_run_ends_well_though_its_pictures_fail(
    config: Callable[..., RunConfig],
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (workplace / "failing_task.py").write_text(
        "from lab.tasks import Regression\n"
        "class Failing(Regression):\n"
        "    def draw(self, samples, path, title):\n"
        "        raise MemoryError('no room')\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    notes = Notes()
    result = run(
        config(**{"pictures.enabled": True, "task": "failing_task.Failing"}),
        console="quiet",
        callbacks=[notes],
    )
    assert result.outcome == "completed"
    assert notes.warnings == ["a plot could not be drawn: MemoryError: no room"]
    assert "no room" in (result.run_dir / run_folder.EVENTS).read_text()


def test_a_run_draws_its_best_epoch(
    config: Callable[..., RunConfig], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With averaged weights too; a resumed run that doesn't improve draws the epoch before it."""
    (workplace / "keeping_task.py").write_text(
        "from lab.tasks import Regression\n"
        "class Keeping(Regression):\n"
        "    drawn = []\n"
        "    def draw(self, samples, path, title):\n"
        "        error = ((samples.predictions - samples.targets) ** 2).mean()\n"
        "        self.drawn.append((float(error), title.split(': ')[1]))\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    values = {"pictures.enabled": True, "task": "keeping_task.Keeping", "monitor.mode": "max"}
    drawn: list[tuple[float, str]] = __import__("keeping_task").Keeping.drawn
    for ema in (None, {"decay": 0.5}):
        result = run(config(**values, ema=ema), console="quiet")
        assert result.best != result.last
        best = run_folder.read_summary(result.run_dir)
        assert best is not None
        assert drawn[-1] == (pytest.approx(float(result), rel=1e-5), f"best epoch {best['best_epoch']}")
    run(config(**values, ema={"decay": 0.5}), run_dir=result.run_dir, resume=True, console="quiet")
    assert drawn[-1] == drawn[-2] and len(drawn) == 3
