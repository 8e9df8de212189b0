"""The loop: equal to a bare one, and everything that the config adds to it, one by one."""

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import util
from lab.config import RunConfig
from lab.config.sections import Monitor
from lab.data.loaders import TensorLoader
from lab.events import Callback, EpochEnd, PhaseStart, StopRequest, request_stop
from lab.metrics import MAE
from lab.train.runtime import Runtime
from util import EarlyStopping, Trainer


def line(samples: int = 40) -> TensorDataset:
    x = torch.linspace(-1, 1, samples).unsqueeze(1)
    return TensorDataset(x, 3 * x - 1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))


def trainer(model: nn.Module | None = None, lr: float = 0.1, **options: Any) -> Trainer:
    model = model or network()
    options = {"callbacks": (), "scheduler": None, **options}
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=lr)
    criterion = options.pop("criterion", nn.functional.mse_loss)
    return Trainer(model, optimizer, options.pop("scheduler"), criterion, **options)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Recorder(Callback):
    def __init__(self, stop_at: int | None = None) -> None:
        self.ends: list[EpochEnd] = []
        self.phases: list[PhaseStart] = []
        self._stop_at = stop_at

    def on_phase_start(self, event: PhaseStart) -> None:
        self.phases.append(event)

    def on_epoch_end(self, event: EpochEnd) -> StopRequest | None:
        self.ends.append(event)
        return request_stop("enough", "pruned") if event.epoch == self._stop_at else None


def test_public_names() -> None:
    assert util.__all__ == ["EarlyStopping", "Trainer", "run"]


@pytest.mark.parametrize(
    ("mode", "min_delta", "patience", "values", "stops_at"),
    [
        ("min", 0.0, 2, [3.0, 2.0, 2.0, 2.0], 3),
        ("min", 0.0, 2, [3.0, 2.0, 2.1, 1.9, 2.0, 2.0], 5),
        ("min", 0.5, 1, [3.0, 2.6], 1),
        ("min", 0.5, 1, [3.0, 2.4, 1.8], None),
        ("max", 0.0, 1, [0.1, 0.2, 0.3], None),
        ("max", 0.0, 1, [0.1, 0.2, 0.2], 2),
        ("max", 0.5, 2, [-10.0, -9.7, -9.6], 2),  # absolute, and right for negative values
        ("max", 0.5, 2, [-10.0, -9.4, -8.8, -8.2], None),
        ("min", 0.5, 1, [-1.0, -1.4], 1),
        ("min", 0.5, 1, [-1.0, -1.6], None),
        ("min", 0.0, 2, [math.nan, 1.0, math.nan, math.nan], 3),
        ("min", 0.0, 2, [math.nan, math.nan], 1),
        ("min", 0.0, 1, [math.inf], 0),
    ],
)
def test_early_stopping(
    mode: Any, min_delta: float, patience: int, values: list[float], stops_at: int | None
) -> None:
    stopping = EarlyStopping(patience, mode, min_delta)
    answers = [stopping(value) for value in values]
    expected = [stops_at is not None and index >= stops_at for index in range(len(values))]
    assert answers[: (stops_at or len(values)) + 1] == expected[: (stops_at or len(values)) + 1]


def test_early_stopping_goes_on_from_its_state() -> None:
    first = EarlyStopping(3)
    for value in (1.0, 2.0):
        first(value)
    second = EarlyStopping(3)
    second.load_state_dict(first.state_dict())
    assert [second(2.0), second(2.0)] == [False, True]


@pytest.mark.parametrize("wrong", [{"patience": 0}, {"patience": 1, "min_delta": -1.0}])
def test_early_stopping_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="patience >= 1"):
        EarlyStopping(**wrong)


def test_equals_the_bare_loop() -> None:
    """As written in the document that the Trainer comes from, to the last bit."""
    bare = network()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    loader = DataLoader(line(), batch_size=8)
    expected = []
    for _ in range(3):
        total = 0.0
        for x, y in loader:
            loss = nn.functional.mse_loss(bare(x), y)
            total += loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            val = sum(nn.functional.mse_loss(bare(x), y).item() for x, y in loader) / len(loader)
        expected.append((total / len(loader), val))
    ours = trainer()
    last = ours.train(loader, loader, 3)
    assert torch.equal(weights(ours.model), weights(bare))
    got = [(row["train_loss"], row["val_loss"]) for row in ours.course.history]
    assert got == [pytest.approx(pair, rel=1e-12) for pair in expected]
    assert last == pytest.approx(expected[-1][1], rel=1e-12)


def test_mean_is_over_samples() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [0.0], [10.0]])
    loader = DataLoader(TensorDataset(x, torch.zeros(5, 1)), batch_size=4)
    ours = trainer(nn.Identity(), optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    assert ours.val_epoch(loader) == pytest.approx(20.0)  # 100 / 5, and not (0 + 100) / 2


def test_modes_and_gradients() -> None:
    seen: list[tuple[bool, bool]] = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    loader = DataLoader(line(8), batch_size=8)
    trainer(Spy(1, 1)).train(loader, loader, 1)
    assert seen == [(True, True), (False, False)]


def test_plateau_scheduler_gets_its_metric() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # nothing improves
    optimizer.param_groups[0]["lr"] = 1e-12
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0, eps=0.0, threshold=0.1
    )
    callback = Recorder()
    ours = trainer(model, optimizer=optimizer, scheduler=scheduler, callbacks=[callback])
    ours.train(DataLoader(line(8), 8), DataLoader(line(8), 8), 3)
    assert [end.values["lr"] for end in callback.ends] == [1e-12, 1e-12, 5e-13]
    assert [end.next_lr for end in callback.ends] == [1e-12, 5e-13, 2.5e-13]


def test_step_scheduler_moves_with_the_optimizer() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    ours = trainer(
        model, optimizer=optimizer, scheduler=scheduler, scheduler_interval="step", accumulate_grad_batches=2
    )
    ours.train_epoch(DataLoader(line(40), 8))  # 5 batches: steps after 2, 4 and 5
    assert ours.lr == 1.0 * 0.5**3


@pytest.mark.parametrize("batches", [4, 5])
def test_accumulation_equals_a_large_batch(batches: int) -> None:
    data = line(8 * batches)
    small, large = trainer(accumulate_grad_batches=2), trainer()
    small.train_epoch(DataLoader(data, 8))
    parts = [data[i : i + 16] for i in range(0, 8 * batches, 16)]
    large.train_epoch(parts)
    assert torch.allclose(weights(small.model), weights(large.model), atol=1e-6)


def test_clipping_bounds_the_step() -> None:
    ours = trainer(lr=1.0, gradient_clip_norm=0.01)
    before = weights(ours.model)
    ours.train_epoch(DataLoader(line(8), 8))
    assert float((weights(ours.model) - before).norm()) == pytest.approx(0.01, rel=1e-3)
    assert ours._values["train_grad_norm"] > 0.01


def test_average_of_the_weights() -> None:
    ours = trainer(ema_decay=0.5)
    start = weights(ours.model)
    batches = list(DataLoader(line(16), 8))
    ours.train_epoch(batches[:1])
    first = weights(ours.model)
    ours.train_epoch(batches[1:])
    second = weights(ours.model)
    assert isinstance(ours.ema, AveragedModel)
    assert torch.allclose(weights(ours.ema.module), 0.5 * first + 0.5 * second)
    assert ours.evaluated is ours.ema.module
    assert not torch.equal(start, first)


class Bad(nn.Module):
    """Breaks from a step on: its output, or only its gradient."""

    def __init__(self, at: int, value: float, phase: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self._at, self._value, self._phase, self._calls = at, value, phase, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training == (self._phase != "val"):
            self._calls += 1
        broken = self._calls >= self._at and self.training == (self._phase != "val")
        if broken and self._phase == "gradient":
            zero = (self.weight - self.weight.detach()).abs()
            return x * self.weight + torch.sqrt(zero) * 0  # the gradient of sqrt at 0 is infinite
        return x * self.weight * (self._value if broken else 1.0)


@pytest.mark.parametrize("monitored", ["val_loss", "val_mae"])
@pytest.mark.parametrize(
    ("phase", "value", "at", "says"),
    [
        ("train", math.nan, 7, "train loss is nan at step 2 of epoch 2"),
        ("train", math.inf, 3, "train loss is inf at step 3 of epoch 1"),
        ("val", math.nan, 1, "validation loss is nan at step 1 of epoch 1"),
        ("val", -math.inf, 6, "validation loss is inf at step 1 of epoch 2"),
        ("gradient", math.nan, 6, "gradient norm is nan at step 1 of epoch 2"),
    ],
)
def test_not_finite_stops(phase: str, value: float, at: int, says: str, monitored: str) -> None:
    callback = Recorder()
    ours = trainer(
        Bad(at, value, phase),
        lr=1e-3,
        check_gradients=True,
        callbacks=[callback],
        log_every_steps=10**6,  # it is seen at its own step, not when the loss is told
        metrics={"mae": MAE()},
        monitor=Monitor(metric=monitored, mode="min"),
    )
    result = ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 4)
    assert result == math.inf
    assert (ours.outcome, ours.reason) == ("diverged", says)
    assert callback.ends[-1].diverged and not callback.ends[-1].improved


def test_diverged_is_minus_infinity_where_larger_is_better() -> None:
    monitor = Monitor(metric="val_mae", mode="max")
    ours = trainer(Bad(1, math.nan, "train"), monitor=monitor, metrics={"mae": MAE()})
    assert ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 1) == -math.inf
    assert ours.outcome == "diverged"


def test_a_metric_that_is_not_logged_is_named() -> None:
    ours = trainer(monitor=Monitor(metric="val_mea", mode="max"), metrics={"mae": MAE()})
    with pytest.raises(ValueError, match=r"nothing is logged as 'val_mea'; there are: .*val_mae"):
        ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 1)


class Longer(list[Any]):
    """Says that it is shorter than it is, as a sized iterable dataset with two workers does."""

    def __len__(self) -> int:
        return 3


def test_a_loader_may_give_more_than_it_said() -> None:
    batches = list(DataLoader(line(40), 8))
    honest, other = trainer(accumulate_grad_batches=2), trainer(accumulate_grad_batches=2)
    honest.train_epoch([*batches[:3]])
    other.train_epoch(Longer(batches[:3]))
    assert torch.equal(weights(honest.model), weights(other.model))
    loss = other.train_epoch(Longer(batches))
    assert math.isfinite(loss) and other.course.samples == 24 + 40
    assert all(p.grad is None for p in other.model.parameters())  # the last group was stepped too


@pytest.mark.parametrize(
    "wrong", [{"scheduler_interval": "stpe"}, {"accumulate_grad_batches": 0}, {"log_every_steps": 0}]
)
def test_trainer_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^expected .*(scheduler_interval epoch or step|of at least 1)"):
        trainer(**wrong)


def test_an_empty_loader_is_no_epoch() -> None:
    with pytest.raises(ValueError, match="there is no train loss: the loader is empty"):
        trainer().train_epoch([])


@pytest.mark.parametrize(
    ("mode", "returns", "expected"), [("min", "best", 0.5), ("max", "best", 3.0), ("min", "last", 2.0)]
)
def test_value_follows_the_monitor(mode: Any, returns: Any, expected: float) -> None:
    curve = iter([1.0, 0.5, 3.0, 2.0])

    class Scripted(MAE):
        def compute(self) -> Tensor:
            return torch.tensor(next(curve) if self.scripted else 0.0)

        scripted = True

    ours = trainer(metrics={"m": Scripted()}, monitor=Monitor(metric="val_m", mode=mode, returns=returns))
    ours.metrics["train"]["m"].scripted = False  # type: ignore[attr-defined]
    assert ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 4) == expected
    assert ours.course.best.epoch == {"min": 2, "max": 3}[mode]


def test_early_stopping_config_as_in_the_document() -> None:
    config: Any = SimpleNamespace(enabled=True, patience=2, mode="min", min_delta=10.0)
    ours = trainer(early_stopping_config=config)
    ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 50)
    assert (ours.outcome, ours.course.epoch) == ("early_stopped", 3)
    assert "val_loss has not improved for 2 epochs, at epoch 3" in ours.reason
    config.enabled = False
    assert trainer(early_stopping_config=config).early_stopping is None


def test_a_callback_can_end_the_run() -> None:
    first, second = Recorder(stop_at=2), Recorder()
    ours = trainer(callbacks=[first, second])
    ours.train(DataLoader(line(), 8), DataLoader(line(), 8), 5)
    assert (ours.outcome, ours.reason) == ("pruned", "enough")
    assert [len(first.ends), len(second.ends)] == [2, 2]
    assert [(p.phase, p.epoch, p.steps) for p in first.phases[:2]] == [("train", 1, 5), ("val", 1, 5)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_computes_in_it(precision: str) -> None:
    seen: list[torch.dtype] = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            result = super().forward(x)
            seen.append(result.dtype)
            return result

    model = Spy(1, 1)
    ours = trainer(model, lr=0.2, runtime=Runtime("cpu", precision))
    loader = DataLoader(line(), 8)
    ours.train(loader, loader, 12)
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert model.weight.dtype == torch.float32
    assert ours.course.history[-1]["val_loss"] < 0.05
    assert ours.runtime.scaler.is_enabled() == (precision == "fp16")
    assert bool(ours.runtime.scaler.state_dict()) == (precision == "fp16")


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_equals_plain(backend: bool | str) -> None:
    loader = DataLoader(line(), 8)
    plain, compiled = trainer(), trainer(runtime=Runtime("cpu", compile=backend))
    plain.train(loader, loader, 2)
    compiled.train(loader, loader, 2)
    assert type(compiled._forward).__name__ == "OptimizedModule"
    assert torch.allclose(weights(plain.model), weights(compiled.model), atol=1e-5)
    assert compiled.parts()["model"] is compiled.model  # the checkpoint's names have no prefix


def test_channels_last_reaches_the_network() -> None:
    seen: list[bool] = []

    class Spy(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    model = Spy(3, 2, 3, padding=1)
    ours = trainer(model, runtime=Runtime("cpu", channels_last=True))
    ours.train_epoch([(torch.rand(2, 3, 8, 8), torch.rand(2, 2, 8, 8))])
    assert seen == [True]
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


class ReadCounter(TorchDispatchMode):
    """Counts how often the host waits for a tensor's value."""

    reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_no_host_sync_per_batch(clip: float | None) -> None:
    def reads(batches: int) -> int:
        ours = trainer(metrics={"mae": MAE()}, gradient_clip_norm=clip, log_every_steps=10**6)
        ours._reporter._told = math.inf
        loader = TensorLoader(line(8 * batches).tensors, 8, shuffle=True)
        with ReadCounter() as counter:
            ours.train_epoch(loader)
            ours.val_epoch(loader)
        return counter.reads

    assert reads(40) == reads(4)


def test_same_seed_same_weights() -> None:
    def train(seed: int) -> Tensor:
        model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        model.load_state_dict(copy.deepcopy(START))
        loader = TensorLoader(line().tensors, 8, shuffle=True, seed=seed)
        ours = trainer(model, seed=seed)
        ours.train(loader, loader, 2)
        return weights(model)

    torch.manual_seed(5)
    START = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1)).state_dict()
    assert torch.equal(train(1), train(1))
    assert not torch.equal(train(1), train(2))


def test_named_losses_are_summed_and_logged() -> None:
    def losses(output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"near": (output - target).abs().mean(), "size": 0.1 * output.square().mean()}

    ours = trainer(criterion=losses)
    loss = ours.train_epoch(DataLoader(line(), 8))
    values = ours._values
    assert loss == pytest.approx(values["train_loss_near"] + values["train_loss_size"], rel=1e-6)


def test_from_config_builds_what_it_says(config: Callable[..., RunConfig]) -> None:
    ours = Trainer.from_config(
        config(
            **{
                "ema": {"decay": 0.9},
                "scheduler": {
                    "target": "torch.optim.lr_scheduler.OneCycleLR",
                    "max_lr": 0.1,
                    "total_steps": "auto",
                    "interval": "step",
                },
                "early_stopping_config": {"patience": 4},
                "metrics": {"mae": "lab.metrics.MAE"},
                "accumulate_grad_batches": 2,
            }
        ),
        batches=3,
    )
    assert ours.scheduler is not None and ours.scheduler.total_steps == 2 * 2  # type: ignore[attr-defined]
    assert ours.early_stopping is not None and ours.early_stopping.patience == 4
    assert ours.ema is not None and set(ours.metrics["val"]) == {"mae"}
    assert ours.optimizer.param_groups[0]["fused"] is True
