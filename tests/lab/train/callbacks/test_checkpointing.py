"""Which checkpoints a run keeps, and what is in each."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.checkpoint import load
from lab.config.sections import CheckpointConfig
from lab.events import MidEpoch, request_stop
from lab.train.callbacks.checkpointing import Checkpointing
from tests.run_events import epoch_end, run_end


class Run:
    """Tells a Checkpointing of epochs whose whole state is their number."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder, self.epoch = folder / "checkpoints", 0
        self.keeper = Checkpointing(self.folder, CheckpointConfig(**config), self.content)

    def content(self, position: Mapping[str, Any] | None) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": position}

    def epochs(self, count: int, improved: Callable[[int], bool] = lambda epoch: False, **end: Any) -> None:
        for _ in range(count):
            self.epoch += 1
            self.keeper.on_epoch_end(
                epoch_end(self.epoch, **{"improved": improved(self.epoch), "epochs": 9, **end})
            )

    def kept(self) -> dict[str, int]:
        return {path.name: load(path)["epoch"] for path in sorted(self.folder.iterdir())}


def test_last_prev_best_and_periodic(tmp_path: Path) -> None:
    run = Run(tmp_path, every_epochs=2)
    run.epochs(5, lambda epoch: epoch in (1, 3))
    assert run.kept() == {"best.pt": 3, "epoch_0002.pt": 2, "epoch_0004.pt": 4, "last.pt": 5, "prev.pt": 4}
    run.keeper.on_run_end(run_end(epochs=5))
    assert run.kept()["final.pt"] == 5
    run.keeper.on_run_end(run_end(epochs=5))
    assert run.kept()["final.pt"] == 5


def test_the_names_are_links(tmp_path: Path) -> None:
    run = Run(tmp_path, every_epochs=1)
    run.epochs(1, lambda epoch: True)
    run.keeper.on_run_end(run_end())
    files = ["last.pt", "best.pt", "final.pt", "epoch_0001.pt"]
    assert len({(run.folder / name).stat().st_ino for name in files}) == 1


def test_a_diverged_epoch_is_not_written(tmp_path: Path) -> None:
    run = Run(tmp_path, every_epochs=1)
    run.epochs(2, lambda epoch: True)
    run.epochs(1, stop=request_stop("nan", "diverged"))
    run.keeper.on_run_end(run_end(outcome="diverged"))
    assert run.kept() == {"best.pt": 2, "epoch_0001.pt": 1, "epoch_0002.pt": 2, "last.pt": 2, "prev.pt": 1}


def test_diverged_at_once_keeps_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.epochs(1, stop=request_stop("nan", "diverged"))
    run.keeper.on_run_end(run_end(outcome="diverged"))
    run.keeper.on_run_end(run_end(outcome="completed"))
    assert run.kept() == {}


@pytest.mark.parametrize(
    ("outcome", "final"),
    [
        ("completed", True),
        ("early_stopped", True),
        ("pruned", True),
        ("interrupted", False),
        ("failed", False),
    ],
)
def test_final_is_for_a_training_that_ended(tmp_path: Path, outcome: Any, final: bool) -> None:
    run = Run(tmp_path)
    run.epochs(2)
    run.keeper.on_run_end(run_end(outcome=outcome))
    assert ("final.pt" in run.kept()) is final


def test_written_at_most_every_so_often_but_never_without_what_counts(tmp_path: Path) -> None:
    run = Run(tmp_path, every_seconds=3600.0, every_epochs=6)
    run.epochs(3)
    assert run.kept() == {}
    run.epochs(1, lambda epoch: True)
    assert run.kept() == {"best.pt": 4, "last.pt": 4}
    run.epochs(1)
    assert run.kept()["last.pt"] == 4
    run.epochs(1)  # periodic
    assert run.kept() == {"best.pt": 4, "epoch_0006.pt": 6, "last.pt": 6, "prev.pt": 4}
    run.epochs(3)
    assert run.kept()["last.pt"] == 9  # the last epoch


def test_throttle_lets_through_what_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    run = Run(tmp_path, every_seconds=10.0)
    written = []
    for now in (104.0, 109.0, 110.0, 115.0, 119.0, 121.0):  # noqa: B007 - read by the clock above
        run.epochs(1)
        written.append(run.kept().get("last.pt", 0))
    assert written == [0, 0, 3, 3, 3, 6]


def test_stopped_early_is_written(tmp_path: Path) -> None:
    run = Run(tmp_path, every_seconds=3600.0)
    run.epochs(1)
    run.epochs(1, stop=request_stop("no improvement"))
    assert run.kept() == {"last.pt": 2}


def test_final_is_the_last_epoch_where_a_callback_ended_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, every_seconds=3600.0)
    run.epochs(2, lambda epoch: epoch == 1)
    run.keeper.on_run_end(run_end(outcome="pruned", epochs=2))
    assert run.kept() == {"best.pt": 1, "final.pt": 2, "last.pt": 2, "prev.pt": 1}


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.pt.123.tmp").write_bytes(b"half")
    run = Run(tmp_path)
    run.epochs(1)
    assert run.kept() == {"last.pt": 1}


def test_within_an_epoch_last_is_written_and_prev_is_the_one_before(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.epochs(1, lambda epoch: True)
    for run.epoch in (21, 22):  # stands for what the state is within the epoch
        run.keeper.on_mid_epoch(MidEpoch(epoch=2, step=10 * (run.epoch - 20), steps=50))
    assert run.kept() == {"best.pt": 1, "last.pt": 22, "prev.pt": 21}
    run.epoch = 1
    run.epochs(1)
    assert run.kept() == {"best.pt": 1, "last.pt": 2, "prev.pt": 22}


def test_a_checkpoint_within_an_epoch_has_its_position(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.keeper.on_mid_epoch(MidEpoch(epoch=1, step=5, steps=9, position={"step": 5}))
    assert load(run.folder / "last.pt")["position"] == {"step": 5}
    run.epochs(1)
    assert [load(run.folder / name)["position"] for name in ("last.pt", "prev.pt")] == [None, {"step": 5}]


def test_within_an_epoch_as_seldom_as_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    run = Run(tmp_path, every_seconds=10.0)
    for now, run.epoch in ((109.0, 1), (111.0, 2), (120.0, 3), (121.0, 4)):  # noqa: B007 - read by the clock
        run.keeper.on_mid_epoch(MidEpoch(epoch=1, step=run.epoch, steps=9))
    assert run.kept() == {"last.pt": 4, "prev.pt": 2}


def test_a_run_ended_by_a_callback_keeps_the_epoch_and_not_its_middle(tmp_path: Path) -> None:
    run = Run(tmp_path, every_seconds=1e-9)
    run.keeper.on_mid_epoch(MidEpoch(epoch=1, step=5, steps=9))
    run.epochs(1)
    run.keeper.on_run_end(run_end(outcome="pruned", epochs=1))
    assert run.kept()["final.pt"] == 1
