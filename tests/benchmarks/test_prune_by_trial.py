"""A real study: bad trials end early, as pruned and nothing else."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from benchmarks.prune_by_trial import Pruning
from lab.config import RunConfig
from lab.store import run_folder
from util import run


def test_a_study_prunes_the_bad_trial(config: Callable[..., RunConfig], workplace: Path) -> None:
    """Three trials with a good learning rate, then one that learns nothing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2)
    study = optuna.create_study(direction="minimize", pruner=pruner)
    folders: list[Path] = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_categorical("lr", [0.03, 1e-9])
        changed = config(epochs=5, **{"optimizer.lr": lr})
        result = run(changed, callbacks=[Pruning(trial, changed.monitor.metric)], console="quiet")
        folders.append(result.run_dir)
        if result.outcome == "pruned":
            raise optuna.TrialPruned
        return result

    for lr in (0.03, 0.03, 0.03, 1e-9):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=4)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    good, bad = study.trials[0], study.trials[3]
    assert list(good.intermediate_values) == [1, 2, 3, 4, 5]
    assert good.value == min(good.intermediate_values.values())
    assert list(bad.intermediate_values) == [1, 2]
    summary = run_folder.read_summary(folders[3])
    assert summary is not None and (summary["outcome"], summary["epochs"]) == ("pruned", 2)
    assert summary["reason"].endswith("at epoch 2 is not promising")


def test_a_trial_that_diverged_is_not_pruned(
    config: Callable[..., RunConfig], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study()
    trial = study.ask()
    diverges = config(epochs=3, **{"optimizer.lr": 1e38})
    result = run(diverges, callbacks=[Pruning(trial, "val_loss")], console="quiet")
    assert result.outcome == "diverged" and result == float("inf")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert study.trials[0].intermediate_values == {}
