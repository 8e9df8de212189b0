"""State of the user's objects: a resume restores it, resets it with a message, or names it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import checkpoint
from lab.checkpoint import CheckpointError
from lab.config import RunConfig, import_policy
from lab.events import Callback, EpochEnd
from lab.tasks import Regression
from lab.trackers.csv_file import read_metrics
from tests.continuing import DATA, STATEFUL, Cutter, differences, interrupted, tiny, whole
from util import run

HERE = "tests.lab.state.test_components"


@pytest.fixture(autouse=True)
def _granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, "selftest,tests")


def resumed(
    folder: Path, config: RunConfig, *callbacks: Callback, first: tuple[Callback, ...] = ()
) -> list[str]:
    """Run one epoch, resume with all; returns the notes on state."""
    run(config.with_values({"epochs": 1}), run_dir=folder, callbacks=[*first, Cutter()], console="quiet")
    listener = Cutter()
    run(config, run_dir=folder, resume=True, callbacks=[*callbacks, listener], console="quiet")
    # Modules that other tests have left in this process are noted, too, as long as their files are there.
    others = ("changed since the checkpoint", "in no git repository: ")
    return [note for note in listener.notes if not any(other in note for other in others)]


class ClassBalanced(nn.Module):
    """Weighs by running frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.ones(2))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        signs = (target > 0).long()
        if self.training:
            counts = torch.bincount(signs.flatten(), minlength=2)
            self.frequencies = 0.5 * self.frequencies + 0.5 * counts  # type: ignore[has-type]
        return ((output - target).square() / self.frequencies[signs]).mean()


class Curriculum:
    """No module: a count, and a bank in a list."""

    def __init__(self) -> None:
        self.calls = 0
        self.bank: list[Tensor] = []

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        loss = (output - target).square().mean() * (1 + 1 / (1 + self.calls))
        if output.requires_grad:
            self.calls += 1
            self.bank = [*self.bank, target.detach().mean()][-3:]
        return loss + 0.01 * torch.stack(self.bank or [torch.zeros(())]).sum()


class Keeping:
    """Decides itself what is kept."""

    def __init__(self) -> None:
        self.scale = 1.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if output.requires_grad:
            self.scale *= 0.9
        return (output - target).square().mean() * self.scale

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scale = state["scale"]


class Holding:
    """Holds a module, and is none."""

    def __init__(self) -> None:
        self.inner = ClassBalanced()

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return self.inner(output, target)  # type: ignore[no-any-return]


class Annealed(Regression):
    """A task with a count."""

    seen = 0

    def step(self, model: Any, criterion: Any, batch: Any) -> Any:
        self.seen += int(torch.is_grad_enabled())
        result = super().step(model, criterion, batch)
        return result._replace(loss=result.loss * (1 + 1 / (1 + self.seen)), measured=None)


@pytest.mark.parametrize("at", [(1, 0), (2, 2)])
@pytest.mark.parametrize(
    "values",
    [
        {"criterion": f"{HERE}.ClassBalanced"},
        {"criterion": f"{HERE}.Curriculum"},
        {"criterion": f"{HERE}.Keeping"},
        {"criterion": f"{HERE}.Holding"},
        {"task": f"{HERE}.Annealed"},
        {"net": f"{STATEFUL}.PartlyFrozen"},
    ],
    ids=str,
)
def test_what_they_hold_is_continued(tmp_path: Path, values: dict[str, Any], at: tuple[int, int]) -> None:
    config = tiny(checkpoint={"every_n_steps": 1}, **values)
    whole(tmp_path / "whole", config)
    notes = interrupted(tmp_path / "cut", config, at)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    assert not [note for note in notes if "is reset" in note or "won't" in note]


def test_a_checkpoint_has_the_buffers_of_the_loss(tmp_path: Path) -> None:
    whole(tmp_path, tiny(criterion=f"{HERE}.ClassBalanced", epochs=1))
    content = checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    x = 3 * torch.linspace(-1, 1, 24) - 1
    assert list(content["criterion"]) == ["frequencies"]
    assert 1 < content["criterion"]["frequencies"].sum() < 8 and (x > 0).sum() == 8
    loss = ClassBalanced()
    loss.load_state_dict(content["criterion"])


def test_an_earlier_checkpoint_loads_with_a_message(tmp_path: Path) -> None:
    template = "the checkpoint has no state of the {}: it is reset{}"
    for name, kind, message in (
        ("ClassBalanced", "memory", [template.format("criterion", "")]),
        ("Curriculum", "stream", []),
        ("Curriculum", "own", [template.format("training stream Stream", " (dataset.generator)")]),
    ):
        folder = tmp_path / f"{name}-{kind}"
        config = tiny(criterion=f"{HERE}.{name}", data={"target": DATA, "kind": kind})
        run(config.with_values({"epochs": 1}), run_dir=folder, callbacks=[Cutter()], console="quiet")
        path = folder / "checkpoints" / "last.pt"
        content = checkpoint.load(path)
        left = {
            key: value for key, value in content.items() if key not in ("criterion", "components", "format")
        }
        path.unlink()
        checkpoint.save(path, left)
        listener = Cutter()
        run(config, run_dir=folder, resume=True, callbacks=[listener], console="quiet")
        assert [note for note in listener.notes if "is reset" in note and "Cutter" not in note] == message


class Counter(Callback):
    """Counts, and keeps nothing."""

    def __init__(self) -> None:
        self.epochs = 0
        self.notes: list[Any] = []

    def on_epoch_end(self, event: EpochEnd) -> None:
        self.epochs += 1


class Odd(Callback):
    """Returns what can't be kept."""

    def state_dict(self) -> dict[str, Any]:
        return {"fine": 1, "odd": object()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        raise AssertionError("nothing to load")


class Counting(Callback):
    """A listener that counts epochs, and keeps the count."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Note the epoch."""
        self.epochs.append(event.epoch)

    def state_dict(self) -> dict[str, list[int]]:
        """The epochs."""
        return {"epochs": list(self.epochs)}

    def load_state_dict(self, state: Mapping[str, list[int]]) -> None:
        """Continue with them."""
        self.epochs = list(state["epochs"])


def test_listeners_with_a_state_continue(tmp_path: Path) -> None:
    second = Counting()
    assert resumed(tmp_path, tiny(), second, first=(Counting(),)) == []
    assert second.epochs == [1, 2, 3]


def test_listeners_without_a_state_dict_are_named(tmp_path: Path) -> None:
    second = Counter()
    (note,) = resumed(tmp_path, tiny(), second, first=(Counter(),))
    assert note.startswith(
        "the callback Counter has no state that a checkpoint can hold: it is reset (epochs "
    )
    assert note.endswith("; give it state_dict and load_state_dict, of tensors, numbers and strings")
    assert second.epochs == 2


def test_listeners_that_come_and_go(tmp_path: Path) -> None:
    (note,) = resumed(tmp_path / "gone", tiny(), first=(Counting(),))
    assert note == "the run no longer has callbacks.Counting: its state in the checkpoint is ignored"
    (note,) = resumed(tmp_path / "new", tiny(), Counting())
    assert note == "the checkpoint has no state of the callback Counting: it is reset"


def test_a_listener_that_no_longer_keeps_its_state_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed(tmp_path, tiny(), Counting(), first=(Counting(),))
    monkeypatch.delattr(Counting, "state_dict")
    monkeypatch.delattr(Counting, "load_state_dict")
    second, listener = Counting(), Cutter()
    longer = tiny().with_values({"epochs": 4})
    run(longer, run_dir=tmp_path, resume=True, callbacks=[second, listener], console="quiet")
    gone = "the callback Counting has changed since the checkpoint: state_dict() no longer exists"
    assert gone in listener.notes and second.epochs == [4]


def test_a_state_that_is_no_plain_data_is_warned_of_at_the_start(tmp_path: Path) -> None:
    listener = Cutter()
    run(tiny(epochs=1), run_dir=tmp_path, callbacks=[Odd(), listener], console="quiet")
    assert listener.notes[0] == (
        "the callback Odd won't resume exactly: state_dict()['odd'] is of type object; "
        "give it state_dict and load_state_dict, of tensors, numbers and strings"
    )
    listener = Cutter()
    run(tiny(), run_dir=tmp_path, resume=True, callbacks=[Odd(), listener], console="quiet")
    (note,) = [note for note in listener.notes if "is reset" in note]
    assert "the callback Odd has no state that a checkpoint can hold: it is reset" in note


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            {"criterion": "torch.nn.L1Loss"},
            [
                "criterion has changed, and val_loss with it: the best epoch is reset; epochs before the",
                "early stopping is reset: criterion has changed, and val_loss with it",
                "the criterion L1Loss is reset: criterion has changed",
            ],
        ),
        (
            {"data.kind": "own"},
            ["the training stream Stream is reset: data has changed"],
        ),
        (
            {"metrics.smooth": "lab.metrics.RMSE"},
            ["the metric smooth RMSE is reset: metrics.smooth has changed"],
        ),
    ],
    ids=str,
)
def test_state_of_another_setting_begins_anew(
    tmp_path: Path, change: dict[str, Any], messages: list[str]
) -> None:
    config = tiny(
        criterion=f"{HERE}.Curriculum",
        data={"target": DATA, "kind": "waiting"},
        metrics={"smooth": f"{STATEFUL}.Smoothed"},
        early_stopping_config={"patience": 9},
    )
    notes = interrupted(tmp_path, config, (1, 0), **{k.replace(".", "__"): v for k, v in change.items()})
    for message in messages:
        assert any(note.startswith(message) for note in notes), (message, notes)


def test_sums_of_an_epoch_are_of_one_loss(tmp_path: Path) -> None:
    """The sum of the earlier loss is left out within an epoch, with a message."""
    config = tiny(checkpoint={"every_n_steps": 1}, epochs=1)
    notes = interrupted(tmp_path, config, (1, 3), criterion="torch.nn.L1Loss")
    assert "train_loss of this epoch covers only the batches after the checkpoint" in notes
    (row,) = read_metrics(tmp_path)
    assert row["train_loss"] == pytest.approx(row["train_mae"], rel=1e-6)  # both of the last batch


def counted(output: Tensor, target: Tensor) -> Tensor:
    counted.calls = getattr(counted, "calls", 0) + int(output.requires_grad)  # type: ignore[attr-defined]
    return (output - target).square().mean() / (1 + counted.calls)  # type: ignore[attr-defined, no-any-return]


def test_attributes_of_a_function_are_continued(tmp_path: Path) -> None:
    config = tiny(criterion=f"{HERE}.counted", epochs=1)
    whole(tmp_path, config)
    done = counted.calls  # type: ignore[attr-defined]
    del counted.calls  # type: ignore[attr-defined]
    run(config.with_values({"epochs": 2}), run_dir=tmp_path, resume=True, console="quiet")
    assert counted.calls == 2 * done == 6  # type: ignore[attr-defined]


class Resized(nn.Module):
    """A loss whose parameter had another shape when the checkpoint was written."""

    size = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(self.size), requires_grad=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean() * self.weight.mean()


def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(criterion=f"{HERE}.Resized")
    run(config.with_values({"epochs": 1}), run_dir=tmp_path, console="quiet")
    monkeypatch.setattr(Resized, "size", 3)
    with pytest.raises(CheckpointError, match=r"the checkpoint's criterion doesn't fit .* shape torch.Size"):
        run(config, run_dir=tmp_path, resume=True, console="quiet")


def test_each_seed_continues_with_its_own_state(tmp_path: Path) -> None:
    config = tiny(criterion=f"{HERE}.Curriculum", seeds=[0, 1])
    for name, epochs in (("whole", 3), ("cut", 1)):
        run(config.with_values({"epochs": epochs}), run_dir=tmp_path / name, console="quiet")
    run(config, run_dir=tmp_path / "cut", resume=True, console="quiet")
    for seed in ("seed_0", "seed_1"):
        found = differences(tmp_path / "whole" / seed, tmp_path / "cut" / seed)
        assert found == []
