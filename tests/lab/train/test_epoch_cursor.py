"""The position within an epoch: where a state can be kept, and a training that continues from it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lab import checkpoint
from lab.config import RunConfig, import_policy
from lab.config.sections import LoaderConfig
from lab.data.loaders import create_loader
from lab.events import Callback, EpochEnd, MidEpoch, Note
from lab.metrics import MAE, R2
from lab.trackers.csv_file import read_metrics
from selftest.bench import PLANTED
from selftest.faulty_parts import Forgetful, Noisy
from selftest.watched_training import digest, variant
from util import Trainer, run

pytestmark = pytest.mark.usefixtures("_planted")
VAL = TensorDataset(torch.zeros(4, 1), torch.ones(4, 1))


@pytest.fixture
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configs may name what fails on demand."""
    monkeypatch.setenv(import_policy.VARIABLE, PLANTED)


class Keeper(Callback):
    """Keeps the trainer's state whenever it can be, and the epochs' values."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.kept: dict[tuple[int, int], Any] = {}
        self.ends: list[EpochEnd] = []
        self.notes: list[Note] = []

    def on_mid_epoch(self, event: MidEpoch) -> None:
        assert self.trainer is not None
        self.kept[event.epoch, event.step] = copy.deepcopy(self.trainer.state(event.position))

    def on_epoch_end(self, event: EpochEnd) -> None:
        self.ends.append(event)

    def on_note(self, event: Note) -> None:
        self.notes.append(event)


def made(**options: Any) -> tuple[Trainer, Keeper]:
    torch.manual_seed(0)
    model, keeper = Forgetful(), Keeper()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    keeper.trainer = Trainer(
        model,
        optimizer,
        schedule,
        nn.MSELoss(),
        scheduler_interval="step",
        metrics={"mae": MAE(), "r2": R2()},
        ema_decay=0.9,
        seed=1,
        callbacks=[keeper],
        **{"every_n_steps": 4, "log_every_steps": 3, **options},
    )
    return keeper.trainer, keeper


def samples(count: int) -> Any:
    return create_loader(Noisy(), 8, shuffle=True, config=LoaderConfig.model_validate({"workers": count}))


def in_memory() -> Any:
    x = torch.linspace(-1, 1, 120)[:, None]
    return create_loader(TensorDataset(x, 3 * x), 8, shuffle=True)


def foreign() -> Any:
    """Knows nothing of epochs, and draws order and noise from the same stream as dropout."""
    return DataLoader(Noisy(), 8, shuffle=True)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("loader", [lambda: samples(0), lambda: samples(2), in_memory, foreign])
def test_goes_on_as_if_nothing_had_been(loader: Callable[[], Any], accumulate: int) -> None:
    whole, record = made(accumulate_grad_batches=accumulate)
    data = loader()
    whole.train(data, DataLoader(VAL, 4), 3)
    assert [step for epoch, step in record.kept if epoch == 2] == (
        [4, 8, 12] if accumulate == 1 else [6, 9, 12]
    )
    end = digest(without_clock(whole))
    for place in ((2, 12), (1, 9 if accumulate > 1 else 4)):
        other, again = made(accumulate_grad_batches=accumulate)
        checkpoint.restore(other.parts(), record.kept[place])
        assert other.cursor.step == place[1]
        other.train(data, DataLoader(VAL, 4), 3)
        assert [dict(end.values) for end in again.ends] == [
            dict(end.values) for end in record.ends[place[0] - 1 :]
        ]
        assert digest(without_clock(other)) == end
        assert set(again.kept) == {key for key in record.kept if key > place}
    getattr(data, "stop", lambda: None)()


def without_clock(trainer: Trainer) -> dict[str, Any]:
    state = trainer.state()
    state["course"] = {**state["course"], "cost": state["course"]["cost"][0]}
    return state


def test_the_state_is_empty_but_for_that_moment() -> None:
    trainer, keeper = made()
    trainer.train(samples(0), DataLoader(VAL, 4), 1)
    assert trainer.cursor.state_dict() == {} and trainer.cursor.step == 0
    assert all(state["midway"]["step"] == step for (_, step), state in keeper.kept.items())
    assert trainer.course.samples == 120


def test_off_by_default() -> None:
    trainer, keeper = made(every_n_steps=None)
    trainer.train(samples(0), DataLoader(VAL, 4), 1)
    assert keeper.kept == {}


def test_an_epoch_of_another_length_goes_on_at_the_same_share() -> None:
    trainer, keeper = made()
    trainer.train(samples(0), DataLoader(VAL, 4), 1)
    other, _ = made(accumulate_grad_batches=4)
    checkpoint.restore(other.parts(), keeper.kept[1, 8])
    assert [other.cursor.begin_at(steps) for steps in (15, 30, 7)] == [8, 16, 0]


class Breaking(Callback):
    """Spoils a weight right before the state could be kept."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_steps(self, event: Any) -> None:
        if event.step == 4:
            with torch.no_grad():
                next(iter(self._trainer.model.parameters())).fill_(float("nan"))


def test_weights_that_are_not_finite_are_not_kept() -> None:
    trainer, keeper = made(log_every_steps=1)
    trainer.callbacks.callbacks.insert(0, Breaking(trainer))
    trainer.train(samples(0), DataLoader(VAL, 4), 1)
    assert (trainer.outcome, keeper.kept) == ("diverged", {})
    assert trainer.reason == "a weight is not finite after step 4 of epoch 1"


class Iterating(MAE):
    """Holds what a checkpoint can't."""

    def update(self, prediction: Tensor, target: Tensor) -> None:
        super().update(prediction, target)
        self.all = iter(())


def test_a_metric_that_cannot_be_kept_costs_one_warning() -> None:
    trainer, keeper = made()
    trainer.metrics["train"]["odd"] = Iterating()
    trainer.train(samples(0), DataLoader(VAL, 4), 2)
    assert keeper.kept == {} and trainer.outcome == "completed"
    (note,) = keeper.notes
    assert (
        note.level == "warning"
        and "has no effect: the metric's Iterating.all is of type tuple_iterator" in note.message
    )


class Cut(Exception):
    pass


class Cutter(Callback):
    """Ends a run at the given step of the second epoch, and reads nothing afterwards."""

    def __init__(self, step: int) -> None:
        self._step, self._epoch = step, 0
        self.first: tuple[int, int] = (0, 0)

    def on_run_start(self, event: Any) -> None:
        self.first = (event.first_epoch, event.first_step)

    def on_phase_start(self, event: Any) -> None:
        self._epoch = event.epoch if event.phase == "train" else 0

    def on_steps(self, event: Any) -> None:
        if (self._epoch, event.step) == (2, self._step):
            raise Cut


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_run_that_is_resumed_within_an_epoch(tmp_path: Path, number: int) -> None:
    config = RunConfig.model_validate(
        variant(number, checkpoint={"every_n_steps": 7}, net={"target": "selftest.faulty_parts.Forgetful"})
    )
    run(config, run_dir=tmp_path / "whole", console="quiet")
    for step in (17, 25):
        with pytest.raises(Cut):
            run(config, run_dir=tmp_path / "cut", resume=step > 17, callbacks=[Cutter(step)], console="quiet")
    last = Cutter(0)
    run(config, run_dir=tmp_path / "cut", resume=True, callbacks=[last], console="quiet")
    assert last.first == (2, 21)
    whole, cut = (
        [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in read_metrics(tmp_path / each)
        ]
        for each in ("whole", "cut")
    )
    assert cut == whole and [row["epoch"] for row in cut] == [1, 2, 3]
    states = [checkpoint.load(tmp_path / each / "checkpoints/last.pt") for each in ("whole", "cut")]
    for part in ("model", "optimizer", "scheduler", "ema", "rng", "midway"):
        assert digest(states[0].get(part)) == digest(states[1].get(part)), part


def test_a_dataset_is_not_asked_for_what_is_done(tmp_path: Path) -> None:
    read: list[int] = []

    class Watched(Dataset[Any]):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return torch.zeros(1), torch.zeros(1)

    trainer, keeper = made()
    data: Any = create_loader(Watched(), 4, shuffle=True)
    trainer.train(data, DataLoader(VAL, 4), 1)
    other, _ = made()
    checkpoint.restore(other.parts(), keeper.kept[1, 8])
    read.clear()
    other.train(data, DataLoader(VAL, 4), 1)
    assert len(read) == 8
