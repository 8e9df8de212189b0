"""The paperwork of a run."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab import rundir
from lab.config import RunConfig
from lab.data.loaders import create_loaders
from lab.events import Callback, Stopped
from lab.session import Session
from lab.signals import Interrupted
from util import Trainer


@pytest.fixture
def trainer(config: Callable[..., RunConfig]) -> Trainer:
    return Trainer.from_config(config(), batches=3)


def test_each_seed_has_a_folder_and_a_config(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    session = Session(tmp_path, resume=True, console="quiet", command=("a",))
    for _ in range(2):  # the folders may be there
        below = list(session.per_repeat(config(seeds=[4, 2])))
        assert [c.seeds for c, _ in below] == [(4,), (2,)]
        assert [s.folder for _, s in below] == [tmp_path / "seed_4", tmp_path / "seed_2"]
        assert all(s.group == tmp_path.name and s.resume and s.command == ("a",) for _, s in below)
        assert all(s.folder.is_dir() for _, s in below)
    assert below[0][0].with_values({"seeds": [4, 2]}) == config(seeds=[4, 2])


@pytest.mark.parametrize("command", [("python", "main.py", "--run", "a.yaml"), ()])
def test_record(
    tmp_path: Path, config: Callable[..., RunConfig], trainer: Trainer, command: tuple[str, ...]
) -> None:
    session, made = Session(tmp_path, command=command), config(seeds=[3])
    begin = session.start_event(made, trainer, create_loaders(made, None, None, torch.device("cpu")))
    with session.recorded(made, torch.device("cpu"), begin, Callback()):
        pass
    assert RunConfig.from_yaml(tmp_path / rundir.CONFIG) == config(seeds=[3])
    provenance = json.loads((tmp_path / rundir.PROVENANCE).read_text())
    assert provenance["seed"] == 3 and "cpu" in json.dumps(provenance["device"])
    if command:
        assert "--run a.yaml" in json.dumps(provenance["command"]).replace('", "', " ")
    else:
        assert Path(sys.argv[0]).name in json.dumps(provenance["command"])


@pytest.mark.parametrize(("group", "run_id"), [(None, "NAME"), ("sweep", "sweep-NAME")])
def test_start_event(
    tmp_path: Path, config: Callable[..., RunConfig], trainer: Trainer, group: str | None, run_id: str
) -> None:
    data = create_loaders(config(), None, None, torch.device("cpu"))
    trainer.course.epoch = 2
    made = config(project="p", **{"data.target": "lab.data.function", "data.token": "hunter2"})
    event = Session(tmp_path, group=group).start_event(made, trainer, data)
    assert event.run_id == run_id.replace("NAME", tmp_path.name)
    assert (event.run_dir, event.project, event.name, event.seed) == (tmp_path, "p", "small", 0)
    assert (event.first_epoch, event.resumed, event.epochs, event.device) == (3, True, 2, "cpu")
    assert event.config["project"] == "p" and "hunter2" not in str(event.config)
    parameters = (1 * 8 + 8) + (8 * 1 + 1)
    assert (event.parameters, event.model_bytes) == (parameters, 4 * parameters)
    assert (event.train_samples, event.val_samples, event.group) == (48, 16, group)
    assert event.config["net"]["width"] == 8


def test_end_event_of_a_run_that_saw_nothing(tmp_path: Path, trainer: Trainer) -> None:
    trainer.outcome, trainer.reason = "failed", "because"
    event = Session(tmp_path).end_event(trainer)
    assert (event.outcome, event.reason, event.epochs, event.value) == ("failed", "because", 0, math.inf)
    assert math.isnan(event.best["val_loss"]) and math.isnan(event.last["val_loss"])
    assert (event.seconds, event.samples_per_second, event.best_epoch) == (0.0, 0.0, 0)
    assert event.files["Traceback"] == tmp_path / rundir.TRACEBACK


def test_end_event(tmp_path: Path, trainer: Trainer) -> None:
    for epoch, loss in enumerate([2.0, 1.0, 3.0], 1):
        row = {"val_loss": loss}
        trainer.course.best.update(epoch, row)
        trainer.course.end_epoch(row, 0.5)
    trainer.course.samples, trainer.course.train_seconds = 30, 1.5
    event = Session(tmp_path).end_event(trainer)
    assert (event.outcome, event.epochs, event.value, event.best_epoch) == ("completed", 3, 1.0, 2)
    assert (event.best, event.last) == ({"val_loss": 1.0}, {"val_loss": 3.0})
    assert (event.seconds, event.samples_per_second) == (1.5, 20.0)
    names = ["checkpoints/best.pt", "checkpoints/final.pt", "history.png", "predictions.png", "summary.json"]
    assert list(event.files.values()) == [tmp_path / name for name in names]


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - handed back
        return raised


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("SIGHUP")])
@pytest.mark.parametrize("group", [None, "whole"])
def test_interrupted_says_how_to_go_on(
    tmp_path: Path, trainer: Trainer, error: Any, group: str | None
) -> None:
    folder = tmp_path / "whole" / "seed_1"
    folder.mkdir(parents=True)
    outcome, reason = Session(folder, group=group).fault(caught(error))
    assert outcome == "interrupted"
    trainer.outcome = outcome
    event = Session(folder, group=group).end_event(trainer)
    assert event.again.endswith(f"--resume {folder.parent if group else folder}")
    assert reason == ("SIGHUP" if isinstance(error, Interrupted) else "Ctrl-C")
    assert not (folder / rundir.TRACEBACK).exists()


def test_stopped_says_why(tmp_path: Path) -> None:
    assert Session(tmp_path).fault(caught(Stopped("too long", "timed_out"))) == ("timed_out", "too long")


def test_an_exit_of_the_users_own_code_is_a_failure(tmp_path: Path) -> None:
    assert Session(tmp_path).fault(caught(SystemExit(3))) == ("failed", "SystemExit: 3")
    assert "SystemExit: 3" in (tmp_path / rundir.TRACEBACK).read_text()


def test_failed_keeps_the_traceback_without_secrets(tmp_path: Path) -> None:
    error = caught(OSError("can't reach https://me:hunter2@example.org"))
    outcome, reason = Session(tmp_path).fault(error)
    assert (outcome, reason) == ("failed", "OSError: can't reach https://me:***@example.org")
    text = (tmp_path / rundir.TRACEBACK).read_text()
    assert "Traceback (most recent call last)" in text and "in caught" in text and "hunter2" not in text
