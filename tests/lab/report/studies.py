"""Studies as they come out of a night's work, for the tests of their report: real storage, real folders."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from lab.config.optimize_config import OptimizeConfig
from lab.events import Outcome

RUN: dict[str, Any] = {
    "data": {"target": "lab.data.function", "name": "sin"},
    "net": {"target": "model.MLP", "in_features": 1, "out_features": 1},
    "criterion": "torch.nn.MSELoss",
    "epochs": 30,
}
SPACE: dict[str, Any] = {
    "optimizer.lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    "optimizer": {
        "choices": [{"target": "torch.optim.SGD", "momentum": 0.9}, {"target": "torch.optim.AdamW"}],
    },
    "optimizer.momentum": {
        "type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer.target": "torch.optim.SGD"},
    },
    "net.layers": {"type": "int", "low": 2, "high": 6},
    "batch_size": {"choices": [8, 16, 32]},
}  # fmt: skip
FAILED = "TypeError: forward() missing 1 required positional argument: 'mask'"


def config(**parts: Any) -> OptimizeConfig:
    """The file of a study that maximizes val_dice; keywords replace its parts."""
    run = {**RUN, "monitor": parts.pop("monitor", {"metric": "val_dice", "mode": "max"})}
    made = {"study_name": "spheroids", "run": run, "n_trials": 40, "search_space": SPACE, **parts}
    return OptimizeConfig(**made)


def create(folder: Path, config: OptimizeConfig) -> optuna.Study:
    """An empty study on SQLite, with the directions of its file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    directions = ["maximize" if each.mode == "max" else "minimize" for each in config.monitors]
    storage = f"sqlite:///{folder / 'studies.db'}"
    return optuna.create_study(study_name=config.study_name, storage=storage, directions=directions)


def add(
    study: optuna.Study,
    config: OptimizeConfig,
    params: Mapping[str, Any],
    outcome: str = "completed",
    values: tuple[float, ...] = (),
    curve: Mapping[int, float] | None = None,
    **attributes: Any,
) -> int:
    """One trial as the supervisor files it; returns its number."""
    states = {
        "pruned": TrialState.PRUNED, "failed": TrialState.FAIL, "timed_out": TrialState.FAIL,
        "running": TrialState.RUNNING, "interrupted": TrialState.WAITING, "waiting": TrialState.WAITING,
    }  # fmt: skip
    state = states.get(outcome, TrialState.COMPLETE)
    signs = [-1 if each.mode == "max" else 1 for each in config.monitors]
    if state == TrialState.COMPLETE and not values:
        values = tuple(sign * math.inf for sign in signs)
    attributes = {"attempts": 1, **attributes}
    if state.is_finished():
        attributes["outcome"] = outcome
    curve = dict(curve or {})
    if len(signs) > 1:
        attributes["curve"] = {str(step): value for step, value in curve.items()}
        curve = {}
    study.add_trial(
        create_trial(
            state=state,
            values=list(values) if state == TrialState.COMPLETE else None,
            params=dict(params),
            distributions={name: config.search_space[name].distribution() for name in params},
            user_attrs=attributes,
            intermediate_values=curve,
        )
    )
    return len(study.get_trials(deepcopy=False)) - 1


def fill(
    study: optuna.Study,
    config: OptimizeConfig,
    folder: Path,
    trials: int = 40,
    epochs: int = 30,
    seed: int = 0,
) -> None:
    """A realistic course: curves that saturate, a conditional parameter, every outcome; folders beside."""
    rng = random.Random(0)
    several = len(config.monitors) > 1
    for number in range(trials):
        lr = 10 ** rng.uniform(-5, -1)
        optimizer = rng.choice(["SGD", "AdamW", "AdamW"])
        layers = rng.randint(2, 6)
        params = {"optimizer.lr": lr, "optimizer": optimizer, "net.layers": layers}
        if optimizer == "SGD":
            params["optimizer.momentum"] = rng.uniform(0, 0.99)
        params["batch_size"] = rng.choice([8, 16, 32])
        end = 0.9 - 0.05 * (math.log10(lr) + 2) ** 2 - 0.02 * (6 - layers) + rng.gauss(0, 0.005)
        rate = rng.uniform(0.1, 0.3)
        curve = {e: end * (1 - math.exp(-rate * e)) + rng.gauss(0, 0.01) for e in range(1, epochs + 1)}
        outcome, cause, done = _fate(number, rng, epochs)
        curve = {epoch: value for epoch, value in curve.items() if epoch <= done}
        values = (end, 1000.0 * layers) if several else (end,)
        reached = values if Outcome(outcome).is_result else ()
        add(
            study, config, params, outcome, reached, curve, cause=cause, epochs=done, epochs_planned=epochs,
            seconds=3.0 * done, best_epoch=done,
        )  # fmt: skip
        if outcome == "failed":
            trial_folder(folder, number, **{"traceback.txt": "Traceback"})
        elif trials <= 100:
            trial_folder(folder, number)


def trial_folder(folder: Path, number: int, **files: str) -> Path:
    """What a trial leaves behind."""
    made = folder / f"trial_{number:05d}"
    made.mkdir(parents=True)
    for name, content in {"config.yaml": "epochs: 30\n", **files}.items():
        (made / name).write_text(content)
    return made


def _fate(number: int, rng: random.Random, epochs: int) -> tuple[str, str, int]:
    """(outcome, cause, epochs done): then a third is pruned and a sixth goes wrong."""
    chance = rng.random() if number > 4 else 1.0
    if chance < 0.3:
        return "pruned", "the prediction is worse than the best 5", max(1, epochs // 4)
    if chance < 0.36:
        return "failed", FAILED, 0
    if chance < 0.42:
        return "diverged", "val_loss is nan in epoch 2", 2
    if chance < 0.46:
        return "out_of_memory", "CUDA out of memory", 0
    if chance < 0.48:
        return "timed_out", "longer than 30 min", epochs // 2
    if chance < 0.6:
        return "early_stopped", "no improvement for 10 epochs", epochs // 2
    return "completed", "", epochs
