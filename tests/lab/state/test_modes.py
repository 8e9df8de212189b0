"""Modes reach whatever has one, and leave alone what its author has fixed."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from lab import checkpoint
from lab.config import RunConfig
from lab.events import Callback, EpochEnd, MidEpoch, Note
from lab.state.modes import evaluating, kept
from lab.tasks import Task
from lab.train.evaluation import SamplePredictions, evaluate
from lab.train.preflight import preflight
from lab.train.rehearsal import rehearse
from lab.train.runtime import Runtime
from tests.lab.train.test_rehearsal import Loaders, TensorLoader
from util import Trainer, run

X = torch.linspace(-1, 1, 24)[:, None] ** torch.arange(1, 4)
DATA = TensorDataset(X, X.sum(1, keepdim=True))


def batches() -> DataLoader[Any]:
    return DataLoader(DATA, 8)


def flags(*modules: nn.Module) -> list[bool]:
    return [each.training for module in modules for each in module.modules()]


class Normed(nn.Module):
    """A lower part with batch norm and dropout, and a head; the factory decides what is fixed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.lower = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 1)
        self.seen: list[list[bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.seen.append(flags(self))
        result: Tensor = self.head(self.lower(x))
        return result

    @property
    def statistics(self) -> list[float]:
        norm = self.lower[1]
        return [*norm.running_mean.tolist(), *norm.running_var.tolist()]  # type: ignore[operator,union-attr]


class Kept(Callback):
    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.trainer: Any = None
        self.states: dict[str, Any] = {}
        self.seen: list[list[bool]] = []

    def on_note(self, event: Note) -> None:
        self.notes.append(event)

    def on_mid_epoch(self, event: MidEpoch) -> None:
        self.states[f"{event.epoch}.{event.step}"] = copy.deepcopy(self.trainer.state(event.position))

    def on_epoch_end(self, event: EpochEnd) -> None:
        self.states[str(event.epoch)] = copy.deepcopy(self.trainer.state())
        self.seen.append(flags(self.trainer.model))

    @property
    def text(self) -> str:
        return " / ".join(note.message for note in self.notes if "gradient" not in note.message)


def trained(
    model: nn.Module, epochs: int = 2, val: bool = True, optimizer: Optimizer | None = None, **options: Any
) -> Kept:
    listener = Kept()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.SGD(parameters, lr=0.1)
    criterion = options.pop("criterion", nn.functional.mse_loss)
    options = {"callbacks": [listener], "seed": 1, **options}
    listener.trainer = Trainer(model, optimizer, None, criterion, **options)
    listener.trainer.train(batches(), batches() if val else None, epochs)
    return listener


# --- what its author has fixed ----------------------------------------------------------------------------


def frozen() -> Normed:
    model = Normed()
    model.lower.eval().requires_grad_(False)
    return model


def frozen_norm() -> Normed:
    model = Normed()
    model.lower[1].eval()
    return model


def head_only() -> Normed:
    """`model.eval()`, then the head in train mode: the other way to write `frozen`."""
    model = Normed().eval()
    model.head.train()
    return model


def uncertain() -> Normed:
    """Fixed statistics with dropout left on, within one part."""
    model = frozen()
    model.lower[2].train()
    return model


def pretrained() -> Normed:
    return Normed().eval()


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize(
    ("build", "training", "note"),
    [
        (Normed, [True] * 6, ""),
        (frozen, [True, *[False] * 4, True], "net.lower: in eval mode since construction"),
        (frozen_norm, [True, True, True, False, True, True], "net.lower.1: in eval mode since construction"),
        (head_only, [True, *[False] * 4, True], "net.lower: in eval mode since construction"),
        (uncertain, [True, False, False, False, True, True], "net.lower: in eval mode since construction"),
        (pretrained, [True] * 6, "net: Normed was built in eval mode and is trained in train mode"),
    ],
)
def test_what_was_built_in_eval_mode_stays_there(
    build: Callable[[], Normed], training: list[bool], note: str, ema: float | None
) -> None:
    model = build()
    before = model.statistics
    listener = trained(model, 3, ema_decay=ema)
    assert model.seen == [training] * 9  # three epochs of three steps
    assert listener.seen == [[False] * 6] * 3  # pictures and checkpoints are in eval mode
    assert (model.statistics == before) is (not training[3])
    assert listener.text.startswith(note) and len(listener.notes) == bool(note)


def test_statistics_and_weights_are_those_of_a_bare_loop() -> None:
    ours, bare = frozen(), frozen()
    trained(ours, 2)
    optimizer = torch.optim.SGD(bare.head.parameters(), lr=0.1)
    for _ in range(2):
        for x, y in batches():
            optimizer.zero_grad()
            nn.functional.mse_loss(bare.head(bare.lower(x)), y).backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), bare.parameters(), strict=True))
    assert ours.statistics == [0.0] * 4 + [1.0] * 4


class Unfreezing(Normed):
    """Decides in `train` itself: the lower part is frozen in the first two epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.lower.eval()

    def train(self, mode: bool = True) -> "Unfreezing":
        super().train(mode)
        if mode:
            self.begun += 1
            self.lower.train(self.begun > 2)
        return self


class Logging(Normed):
    """A `train` of its own that has nothing to do with the part that the constructor fixes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bool] = []
        self.lower.eval()

    def train(self, mode: bool = True) -> "Logging":
        self.calls.append(mode)
        super().train(mode)
        return self


class FrozenNorm(nn.BatchNorm1d):
    """Never in train mode, which shows only once `train` was called."""

    def train(self, mode: bool = True) -> "FrozenNorm":
        super().train(False)
        return self


def test_a_train_method_of_the_networks_own_is_called_and_respected() -> None:
    model = Unfreezing()
    trained(model, 4)
    assert [each[2] for each in model.seen] == [False] * 6 + [True] * 6
    assert model.begun == 4  # once an epoch
    logging = Logging()
    trained(logging, 2)
    assert logging.calls.count(True) == 2 and logging.statistics == [0.0] * 4 + [1.0] * 4
    model_of_norms = Normed()
    model_of_norms.lower[1] = FrozenNorm(4)
    trained(model_of_norms)
    assert model_of_norms.statistics == [0.0] * 4 + [1.0] * 4


def test_fixed_after_the_trainer_was_made() -> None:
    model = Normed()
    made = Trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), None, nn.MSELoss(), callbacks=())
    model.lower[1].eval()
    made.train(batches(), batches(), 1)
    assert model.statistics == [0.0] * 4 + [1.0] * 4


def test_warnings_of_what_may_not_be_meant() -> None:
    moved = Normed()
    moved.lower.requires_grad_(False)
    [note] = trained(moved).notes
    assert note.level == "warning" and note.message.startswith("net.lower: frozen (requires_grad_(False)), ")
    assert moved.statistics != [0.0] * 4 + [1.0] * 4
    undropped = Normed()
    undropped.lower.eval()
    [note] = trained(undropped).notes
    assert note.level == "warning" and "without dropout" in note.message
    [note] = trained(frozen()).notes
    assert note.level == "info"


def test_frozen_torchscript_has_no_mode() -> None:
    script = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(1, 1), nn.Dropout()).eval()))

    class Perceptual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.script = script

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (self.script(output) - self.script(target)).square().mean()

    assert trained(frozen(), 2, criterion=Perceptual()).seen == [[False] * 6] * 2


def test_compiled() -> None:
    model = frozen()
    listener = trained(model, 2, runtime=Runtime("cpu", compile="eager"))
    assert model.statistics == [0.0] * 4 + [1.0] * 4 and listener.seen == [[False] * 6] * 2


# --- losses, tasks and metrics ----------------------------------------------------------------------------


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.seen.append((self.drop.training, torch.is_grad_enabled()))
        result: Tensor = self.drop((output - target) ** 2).mean()
        return result


def test_the_loss_is_in_train_mode_within_training_epochs_only() -> None:
    model, criterion = nn.Linear(3, 1), Dropping()
    listener = trained(model, 2, criterion=criterion)
    assert (
        criterion.seen
        == [(True, True)] * 3 + [(False, False)] * 3 + [(True, True)] * 3 + [(False, False)] * 3
    )
    with torch.no_grad():
        expected = float(((model(X) - DATA.tensors[1]) ** 2).mean())
    assert listener.trainer.course.history[-1]["val_loss"] == pytest.approx(expected, rel=1e-6)
    assert not criterion.training


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: lambda o, t: c(o, t), lambda c: [c][0].forward])
def test_a_loss_that_its_author_fixed_stays_so(wrap: Callable[[Any], Any]) -> None:
    criterion = Dropping().eval()
    listener = trained(nn.Linear(3, 1), 2, criterion=wrap(criterion))
    assert {mode for mode, _ in criterion.seen} == {False}
    assert "criterion" in listener.text and "in eval mode since construction" in listener.text


class Taught(Task):
    def __init__(self) -> None:
        self.teacher = nn.Sequential(nn.Linear(3, 1), nn.Dropout()).eval().requires_grad_(False)
        self.noise = nn.Dropout(0.1)
        self.seen: list[list[bool]] = []

    def step(self, model: Any, criterion: Any, batch: Any) -> Any:
        self.seen.append([self.teacher[1].training, self.noise.training])
        x, y = batch
        return super().step(model, criterion, (x, y + 0 * self.noise(self.teacher(x))))


class Judge(nn.Module):
    """A metric with a network of its own, whose author forgot `eval()`."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)
        self.total, self.steps = 0.0, 0

    def reset(self) -> None:
        self.total, self.steps = 0.0, 0

    def update(self, prediction: Tensor, target: Tensor) -> None:
        self.total, self.steps = self.total + float(self.drop(target).sum()), self.steps + 1

    def compute(self) -> float:
        return self.total


def test_modules_of_tasks_and_metrics() -> None:
    task = Taught()
    listener = trained(nn.Linear(3, 1), 2, task=task, metrics={"sum": Judge()})
    assert task.seen == ([[False, True]] * 3 + [[False, False]] * 3) * 2
    assert "task.teacher" in listener.text
    rows, total = listener.trainer.course.history, pytest.approx(float(DATA.tensors[1].sum()), rel=1e-5)
    assert [row["val_sum"] for row in rows] + [row["train_sum"] for row in rows] == [total] * 4


# --- everything else leaves the modes as they were --------------------------------------------------------


def mixed() -> Normed:
    model = Normed()
    model.lower[1].eval()
    return model


MIXED = [True, True, True, False, True, True]


def test_contexts_restore_each_module() -> None:
    model, criterion = mixed(), Dropping()
    with suppress(KeyError), evaluating(model, {"loss": criterion}, None):
        assert flags(model, criterion) == [False] * 8
        raise KeyError
    assert flags(model, criterion) == [*MIXED, True, True]
    with kept(model):
        model.train()
        assert all(flags(model))
    assert flags(model) == MIXED


def test_evaluation_and_pictures() -> None:
    model, criterion, task = mixed(), Dropping(), Taught()
    evaluate(model, batches(), task=task, criterion=criterion, runtime=Runtime("cpu"), metrics={})
    assert criterion.seen == [(False, False)] * 3 and task.seen == [[False, False]] * 3
    assert flags(model, criterion, task.teacher, task.noise) == [
        *MIXED,
        True,
        True,
        False,
        False,
        False,
        True,
    ]

    class Predictor:
        runtime, ema, evaluated = Runtime("cpu"), None, model

    Predictor.task = task  # type: ignore[attr-defined]
    Predictor.model = model  # type: ignore[attr-defined]
    assert SamplePredictions(Predictor(), DATA, 2, Path("best.pt"))() is not None  # type: ignore[arg-type]
    assert flags(model, task.noise) == [*MIXED, True]


class Centred(nn.Module):
    """A loss with a buffer that each call in train mode moves."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(()))
        self.centre: Tensor

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.centre += 1
        return (output - target).square().mean()


BUILT: list[nn.Module] = []


def recorded() -> Normed:
    BUILT.append(mixed())
    return BUILT[-1]  # type: ignore[return-value]


def single(samples: int = 25) -> Sequence[Any]:
    x = torch.linspace(-1, 1, samples)[:, None] ** torch.arange(1, 4)
    return TensorDataset(x, x[:, :1]), TensorDataset(x[:8], x[:8, :1])


def own(config: Callable[..., RunConfig], **values: Any) -> RunConfig:
    here = "tests.lab.state.test_modes"
    return config(
        **{"net": f"{here}.recorded", "data": f"{here}.single", "batch_size": 8, "seeds": [0], **values}
    )


def test_rehearsal_and_preflight(config: Callable[..., RunConfig]) -> None:
    BUILT.clear()
    rehearsed = own(config, criterion="tests.lab.state.test_modes.Centred")
    made = Trainer.from_config(rehearsed, batches=4)
    train, val = (TensorLoader(part.tensors, 8, shuffle=False) for part in single())
    assert rehearse(rehearsed, made, Loaders(train, val, single()[1])) == []  # its last batch has one sample
    assert flags(made.model) == MIXED and made.criterion.training and float(made.criterion.centre) == 0
    report = preflight(rehearsed, Trainer.from_config)
    assert report.passed and any("net.lower.1: in eval mode" in note for note in report.notes)
    assert flags(*BUILT) == [*MIXED, *MIXED]


def test_a_run_of_a_frozen_network(config: Callable[..., RunConfig], workplace: Path) -> None:
    BUILT.clear()
    result = run(own(config, epochs=3), console="silent")
    state = checkpoint.load(result.run_dir / "checkpoints" / "final.pt")["model"]
    assert state["lower.1.running_mean"].tolist() == [0.0] * 4
    assert state["lower.1.num_batches_tracked"] == 0
