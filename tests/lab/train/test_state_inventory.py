"""The documentation lists every state of a training and every setting, and the code does what it lists."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import checkpoint
from lab.config import RunConfig, import_policy
from lab.config.config_diff import differences
from lab.train.changed_settings import Resets, refused, resets
from tests.conftest import ROOT
from tests.continuing import STATEFUL, tiny
from util import Trainer, run

DOCUMENT = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The cells of the table below a header."""
    lines = DOCUMENT.partition(header + "\n")[2].splitlines()[1:]
    rows = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


STATES = [(state.partition(": ")[0], fate, kept) for state, fate, kept in table("| state | | kept in |")]
SETTINGS = {
    name.strip("`"): effect
    for name, _, effect in table("| changed setting | state that belongs to it | what becomes of it |")
}
RESTORED = "restored, to the bit"
FOLLOWS = "follows from (seed, epoch, index)"
NOT_RESTORED = {
    ("order", FOLLOWS, "config"),
    ("worker seeds", FOLLOWS, "config"),
    ("trackers", "starts from scratch by definition", "the run folder"),
    ("console", "starts from scratch by definition", "nowhere"),
    ("other callbacks", "not continued; a message names it", "nowhere"),
    ("data in workers", "not continued; a message names it", "nowhere"),
    ("kept workers", "not continued; a message names it", "nowhere"),
    ("not plain", "not continued; a message names it", "nowhere"),
}
REFUSED, RESET = "refused", "is reset, with a message"
FROM_HERE, NOTED = "stays; the new value counts from here on, with a message", "nothing; the change is noted"
LABELS = {"project", "name", "log_every_steps", "pictures"}  # they change nothing of a training

# What a Trainer has beside its parts: settings, or made anew for each epoch or batch.
STATELESS = {
    "device", "task", "monitor", "_watched", "callbacks", "seed", "epochs", "reason", "outcome",
    "_forward", "metrics", "reach", "first", "_schedule", "_clip_norm", "_check_gradients", "_accumulate",
    "_reporter", "_values",
}  # fmt: skip


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run that has every part of a checkpoint at once, and objects of every kind."""
    monkeypatch.setenv(import_policy.VARIABLE, "selftest,tests")
    return tiny(
        scheduler="torch.optim.lr_scheduler.ConstantLR",
        early_stopping_config={"patience": 3},
        metrics={"mae": "lab.metrics.MAE"},
        ema={"decay": 0.5},
        criterion={"target": f"{STATEFUL}.Remembering", "learns": True},
    )


def test_the_document_lists_each_state_once_and_with_its_fate(everything: RunConfig) -> None:
    assert len({name for name, _, _ in STATES}) == len(STATES)
    assert {row for row in STATES if row[1] != RESTORED} == NOT_RESTORED
    restored = {name: kept for name, fate, kept in STATES if fate == RESTORED}
    parts = set(Trainer.from_config(everything, batches=3).parts())
    assert {name for name, kept in restored.items() if name == kept} == parts - {"components"}
    components = {name for name, kept in restored.items() if kept == "components"}
    assert set(restored) == (parts - {"components"}) | components
    assert components == {"network", "attributes of the criterion", "task", "metrics", "data", "callbacks"}


def test_the_objects_of_a_run_are_those_that_the_document_lists(
    everything: RunConfig, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Trainer] = []
    build = Trainer.from_config

    def kept(*arguments: Any, **options: Any) -> Trainer:
        made.append(build(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(Trainer, "from_config", kept)
    run(everything, console="quiet")
    found = {name.partition(".")[0] for name in made[0].components._parts}
    listed = {name.rpartition(" ")[2] for name, _, part in STATES if part == "components"}
    assert found == listed


def test_every_attribute_of_a_trainer_is_a_part_or_has_no_state(everything: RunConfig) -> None:
    trainer = Trainer.from_config(everything, batches=3)
    elsewhere = {"midway": "cursor", "scaler": "runtime"}
    held = {elsewhere.get(part, part) for part in trainer.parts() if part != "rng"}
    assert not held & STATELESS
    assert set(vars(trainer)) == held | STATELESS, "a new attribute is a part, or has no state"


def test_every_part_of_a_checkpoint_is_in_it(config: Callable[..., RunConfig], workplace: Path) -> None:
    listed = {kept for _, fate, kept in STATES if fate == RESTORED}
    assert set(Trainer.from_config(config(), batches=3).parts()) == listed
    folder = run(config(), console="quiet").run_dir
    about = {"format", "config", "data", "definitions", "group_rule"}
    assert set(checkpoint.load(folder / "checkpoints" / "last.pt")) - about <= listed


STEPS = {"target": "torch.optim.lr_scheduler.StepLR", "step_size": 3, "interval": "step"}
ADAM = {"target": "torch.optim.Adam", "lr": 0.01}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "project": ({}, {"project": "other"}),
    "name": ({}, {"name": "other"}),
    "seeds": ({"seeds": [1]}, {"seeds": [2]}),
    "folds": ({"folds": 3}, {"folds": 4}),
    "device": ({"device": "cpu"}, {"device": "auto"}),
    "precision": ({"precision": "fp16"}, {"precision": "fp32"}),
    "epochs": ({"epochs": 3}, {"epochs": 9}),
    "batch_size": ({"batch_size": 8}, {"batch_size": 4}),
    "task": ({"task": "lab.tasks.Regression"}, {"task": "tests.conftest.Task"}),
    "data": ({}, {"data": {"target": "tests.continuing.points", "kind": "own"}}),
    "val": ({}, {"val": None}),
    "net": ({}, {"net": f"{STATEFUL}.PartlyFrozen"}),
    "criterion": ({}, {"criterion": "torch.nn.L1Loss"}),
    "metrics": ({"metrics": {"mae": "lab.metrics.MAE"}}, {"metrics": {"mae": "lab.metrics.RMSE"}}),
    "optimizer": ({"optimizer": ADAM}, {"optimizer": {**ADAM, "lr": 0.1}}),
    "criterion_optimizer": ({}, {"criterion_optimizer": {"lr": 0.1}}),
    "scheduler": ({}, {"scheduler": STEPS}),
    "early_stopping_config": ({}, {"early_stopping_config": {"patience": 3}}),
    "monitor": ({}, {"monitor": "train_loss"}),
    "checkpoint": ({}, {"checkpoint": {"every_epochs": 7}}),
    "trackers": ({}, {"trackers": [{"type": "tensorboard"}]}),
    "loader": ({}, {"loader": {"workers": 1}}),
    "gradient_clip_norm": ({}, {"gradient_clip_norm": 0.5}),
    "steps_per_epoch": ({"steps_per_epoch": 4}, {"steps_per_epoch": 5}),
    "accumulate_grad_batches": ({"accumulate_grad_batches": 1}, {"accumulate_grad_batches": 2}),
    "check_gradients": ({"check_gradients": True}, {"check_gradients": False}),
    "ema": ({}, {"ema": {"decay": 0.5}}),
    "compile": ({"compile": False}, {"compile": True}),
    "channels_last": ({"channels_last": False}, {"channels_last": True}),
    "deterministic": ({"deterministic": False}, {"deterministic": True}),
    "threads": ({"threads": 1}, {"threads": 2}),
    "log_every_steps": ({"log_every_steps": 5}, {"log_every_steps": 6}),
    "diagnostics": ({}, {"diagnostics": {"gap": 0.5}}),
    "pictures": ({"pictures": {"count": 1}}, {"pictures": {"count": 2}}),
}


def effect_of(was: dict[str, Any], now: dict[str, Any]) -> str:
    before, after = tiny(**was).as_data(), tiny(**now).as_data()
    changed = differences(before, after)
    assert changed
    if list(refused(changed, after)):
        return REFUSED
    return RESET if resets(changed, before, after) != Resets() else FROM_HERE


def test_the_document_lists_every_setting() -> None:
    assert sorted(SETTINGS) == sorted(RunConfig.model_fields)
    assert {name for name, effect in SETTINGS.items() if effect == NOTED} == LABELS


@pytest.mark.parametrize("name", RunConfig.model_fields)
def test_a_changed_setting_does_what_the_document_lists(name: str) -> None:
    found = effect_of(*CHANGES[name])
    assert SETTINGS[name].partition("; `")[0] == (NOTED if name in LABELS else found)


@pytest.mark.parametrize(
    "path", ["batch_size", "loader.drop_last", "steps_per_epoch", "accumulate_grad_batches"]
)
def test_what_a_schedule_by_steps_refuses_is_listed(path: str) -> None:
    name = path.partition(".")[0]
    was, now = ({}, {"loader": {"drop_last": True}}) if name == "loader" else CHANGES[name]
    assert effect_of(was, now) == FROM_HERE
    assert effect_of({**was, "scheduler": STEPS}, {**now, "scheduler": STEPS}) == REFUSED
    assert SETTINGS[name] == f"{FROM_HERE}; `{path}` is refused where the scheduler moves by steps"


def test_nothing_else_is_listed_as_refused() -> None:
    listed = {name for name, effect in SETTINGS.items() if "; `" in effect}
    assert listed == {"batch_size", "loader", "steps_per_epoch", "accumulate_grad_batches", "data"}
    assert SETTINGS["data"] == f"{RESET}; `data.folds` is refused; `data.fold` is refused"
    for path in ("data.folds", "data.fold"):
        change = (path, 1, 2)
        assert list(refused([change], tiny().as_data())) == [change]
