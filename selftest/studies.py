"""Small studies to try faults with: cheap trials whose record can be looked at, and workers on them."""

from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial

from lab.config.optimize_config import OptimizeConfig
from lab.hpo import study
from lab.hpo.worker_main import Run

STUDIES = Path("studies")
FILE = "study.yaml"


def described(module: str) -> Any:
    """Read the YAML file beside a module, which describes its cases."""
    return yaml.safe_load(Path(module).with_suffix(".yaml").read_text(encoding="utf-8"))


def small_run(**sections: object) -> dict[str, Any]:
    """The config of a run of a fraction of a second, with other sections in place of some of these."""
    return {
        "data": {"target": "lab.data.function", "train_count": 64, "val_count": 32},
        "net": {"target": "model.MLP", "width": 8, "layers": 1},
        "batch_size": 32,
        "epochs": 1,
        "device": "cpu",
        "threads": 1,
        "pictures": {"enabled": False},
        **sections,
    }


def run_text(**sections: object) -> str:
    """The file of such a run."""
    return yaml.safe_dump(small_run(**sections), sort_keys=False)


def small_study(url: str, n_trials: int, **changes: Any) -> OptimizeConfig:
    """A study of cheap trials, two epochs of a tenth of a second each.

    Its sampler draws from a continuous space, so that no two trials have the same values.

    Args:
        changes: `section__key=value`, such as `run__epochs=4`.
    """
    data: dict[str, Any] = {
        "study_name": "small",
        "storage": url,
        "n_trials": n_trials,
        "isolation": "none",
        "preflight": "off",
        "max_attempts": 1000,  # a trial that is killed by chance is not what kills
        "lease_seconds": 10.0,
        "sampler": "optuna.samplers.RandomSampler",
        "run": small_run(
            epochs=2,
            data={"target": "lab.data.function", "train_count": 128, "val_count": 32},
            net={"target": "selftest.faulty_parts.Faulty", "width": 8, "seconds": 0.02},
            optimizer={"target": "torch.optim.AdamW", "lr": 1e-3},
        ),
        "search_space": {
            "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "net.width": {"type": "int", "low": 4, "high": 64},
        },
    }
    for name, value in changes.items():
        *parents, last = name.split("__")
        here = data
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    return OptimizeConfig.model_validate(data)


def work(config: OptimizeConfig, run: Run) -> None:
    """Work on a study as `python main.py --optimize` does once its file is read."""
    study.optimize(config, run, console="plain")


def write_file(folder: Path, config: OptimizeConfig) -> Path:
    """The study's file, for the real command."""
    path = folder / FILE
    path.write_text(config.to_yaml())
    return path


def trials_in(folder: Path, name: str = "small") -> list[FrozenTrial]:
    """The trials of a study in the SQLite database of a folder; none where there is no such study."""
    try:
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'studies.db'}")
    except KeyError:
        return []
    return study.get_trials(deepcopy=False)


def trial_folder(folder: Path, number: int) -> Path:
    """The folder of a trial of a small study in `folder`."""
    return folder / STUDIES / "small" / f"trial_{number:05d}"
