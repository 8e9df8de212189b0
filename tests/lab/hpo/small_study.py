"""A small study for tests of what happens to studies: trials are told, and not trained."""

from pathlib import Path
from typing import Any

import optuna

from lab.config.optimize_config import OptimizeConfig
from lab.hpo.open_study import open_study
from lab.hpo.samplers import create_pruner, with_sampler
from lab.hpo.storage import Database
from tests.study_tools import changed

FILE: dict[str, Any] = {
    "study_name": "small",
    "run": {
        "epochs": 4,
        "data": {"target": "lab.data.function", "train_count": 128},
        "net": {"target": "model.MLP", "layers": 1},
    },
    "n_trials": 12,
    "sampler": {"target": "optuna.samplers.TPESampler", "n_startup_trials": 4},
    "search_space": {
        "optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "net.width": {"type": "int", "low": 4, "high": 16},
        "criterion": {"choices": ["torch.nn.MSELoss", {"target": "torch.nn.HuberLoss", "delta": 1.0}]},
    },
}
LR, WIDTH, LOSS = ("search_space/optimizer.lr", "search_space/net.width", "search_space/criterion")


def config_of(url: str, **updates: Any) -> OptimizeConfig:
    """The file with some `section/key` values; `...` removes one."""
    return OptimizeConfig.model_validate(changed({**FILE, "storage": url}, updates))


def search(config: OptimizeConfig, study: optuna.Study, count: int) -> list[dict[str, Any]]:
    """Make trials with the study's own sampler; the value is best at the largest rate and width."""
    study.pruner = create_pruner(config)
    points = []
    for _ in range(count):
        trial_id = study._storage.create_new_trial(study._study_id)
        number = study._storage.get_trial_number_from_id(trial_id)
        trial = optuna.Trial(with_sampler(study, config, number), trial_id)
        values = config.space.suggest(trial)
        value = -values.get("optimizer.lr", 0.0) * 10 - values.get("net.width", 0) / 10
        trial.report(value + 1, 1)
        trial.set_user_attr("outcome", "completed")
        study.tell(trial, value)
        points.append(values)
    return points


def made_in(folder: Path) -> str:
    """The URL of a new database with the study and six trials."""
    url = f"sqlite:///{folder / 'studies.db'}"
    config = config_of(url)
    search(config, open_study(config, Database(url)), 6)
    return url
