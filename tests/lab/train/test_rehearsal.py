"""The end of a training is known before it starts: its schedule, and a last batch of one sample."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lab.config import ConfigError, RunConfig
from lab.data.loaders import Loaders, TensorLoader
from lab.train.rehearsal import rehearse
from util import Trainer, run

Config = Callable[..., RunConfig]
LR = "torch.optim.lr_scheduler."


def rehearsed(config: RunConfig, samples: int = 60, batch_size: int = 16) -> tuple[list[str], Trainer]:
    x = torch.arange(float(samples))[:, None] / samples
    train, val = (TensorLoader((x, x), batch_size, shuffle=shuffle) for shuffle in (True, False))
    data = Loaders(train, val, TensorDataset(x, x))
    trainer = Trainer.from_config(config, batches=len(train))
    return [note.message for note in rehearse(config, trainer, data)], trainer


def refused(config: RunConfig, **data: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        rehearsed(config, **data)
    [problem] = caught.value.problems
    return str(problem)


def scheduler(target: str, interval: str = "step", **arguments: Any) -> dict[str, Any]:
    return {"scheduler": {"target": LR + target, "interval": interval, **arguments}, "epochs": 6}


def test_a_schedule_that_is_too_short(config: Config) -> None:
    message = refused(config(**scheduler("OneCycleLR", max_lr=0.01, total_steps=16)))
    assert message.startswith(
        "scheduler: the run has 24 steps, the schedule has 16: ValueError: Tried to step 17"
    )
    assert message.endswith("`total_steps: auto` fits")
    half = config(**scheduler("OneCycleLR", max_lr=0.01, total_steps=11), accumulate_grad_batches=2)
    assert "the run has 12 steps, the schedule has 11" in refused(half)
    by_epoch = config(**scheduler("OneCycleLR", "epoch", max_lr=0.01, epochs=2, steps_per_epoch=2))
    assert "the run has 6 epochs, the schedule has 4" in refused(by_epoch)
    assert refused(by_epoch).endswith("an argument written `auto` becomes 6")


@pytest.mark.parametrize("length", ["auto", 24])
def test_one_that_fits_is_left_as_it_was(config: Config, length: Any) -> None:
    notes, trainer = rehearsed(config(**scheduler("OneCycleLR", max_lr=0.01, total_steps=length)))
    assert notes == []
    assert trainer.scheduler is not None and trainer.scheduler.last_epoch == 0
    assert trainer.lr == pytest.approx(0.01 / 25)
    assert [p.shape for p in trainer.optimizer.param_groups[0]["params"]] == [
        p.shape for p in trainer.model.parameters()
    ]


def test_what_is_worth_a_warning(config: Config) -> None:
    def notes(*arguments: Any, **more: Any) -> list[str]:
        return rehearsed(config(**scheduler(*arguments, **more)))[0]

    assert notes("OneCycleLR", max_lr=0.01, total_steps=30) == [
        "the run ends after 24 of the 30 steps of OneCycleLR; `total_steps: auto` fits"
    ]
    assert notes("CosineAnnealingLR", T_max=16) == [
        "the learning rate rises again after T_max: 16 of 24 steps; `T_max: auto` fits"
    ]
    # 0.5^n never is 0; a polynomial is after its length, first used in step 11
    assert notes("PolynomialLR", total_iters=10) == [
        "the learning rate of PolynomialLR is 0 in the last 14 of 24 steps"
    ]
    assert notes("ExponentialLR", gamma=0.5) == []
    assert notes("CosineAnnealingLR", "epoch", T_max=6) == []


def test_a_rate_that_is_none(config: Config) -> None:
    linear = scheduler("LinearLR", start_factor=1.0, end_factor=0.5, total_iters=3)
    assert rehearsed(config(**linear))[0] == []
    message = refused(config(**scheduler("ExponentialLR", gamma=-1.0)))
    assert "the run has 24 steps, the schedule has 0: the learning rate is -0.0" in message


def test_a_long_run_takes_a_moment(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.train.rehearsal._PATIENCE", 0.05)
    steps = scheduler("OneCycleLR", max_lr=0.01, total_steps=900_000) | {"epochs": 250_000}
    started = time.perf_counter()
    assert "the run has 1,000,000 steps, the schedule has 900,000" in refused(config(**steps))
    assert time.perf_counter() - started < 5


def test_a_run_that_is_extended(config: Config, tmp_path: Any) -> None:
    once = config(**{**scheduler("OneCycleLR", max_lr=0.01, total_steps=9), "epochs": 3})  # 3 batches of 16
    run(once, run_dir=tmp_path / "run", console="quiet")
    with pytest.raises(ConfigError, match="the run has 12 steps, the schedule has 9"):
        run(once.with_values({"epochs": 4}), run_dir=tmp_path / "run", resume=True, console="quiet")


def test_a_last_batch_of_one_sample(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    class Normed(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))

    monkeypatch.setattr("model.MLP", Normed)
    plain = config(net={"target": "model.MLP"})
    message = refused(plain, samples=49)
    assert message.startswith("loader.drop_last: the last training batch has one sample, and the network")
    assert "Expected more than 1 value per channel" in message and message.endswith("; true leaves it out")
    for samples, values in ((48, {}), (50, {}), (49, {"loader.drop_last": True})):
        assert rehearsed(config(net={"target": "model.MLP"}, **values), samples=samples)[0] == []


def test_a_batch_of_one_leaves_no_trace(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(1), nn.Linear(7, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spread: torch.Tensor = self.norm(x[:, None].expand(-1, 1, 7) + torch.rand(1))
            return self.out(spread)[:, 0]

    monkeypatch.setattr("model.MLP", Normed)
    rehearsed(config(net={"target": "model.MLP"}), samples=48)  # no batch of one to try
    expected = torch.rand(3)
    _, trainer = rehearsed(config(net={"target": "model.MLP"}), samples=49)
    assert torch.equal(torch.rand(3), expected)
    assert trainer.model.training
    assert trainer.model.norm.num_batches_tracked == 0  # type: ignore[union-attr]
    assert trainer.model.norm.running_mean.tolist() == [0.0]  # type: ignore[union-attr, operator]
