"""Every study file that ships is run: two trials on little data, with its own sampler, pruner and space."""

from pathlib import Path

import optuna
import pytest

from lab.config import OptimizeConfig, RunConfig
from lab.config.signatures import signature_of
from lab.hpo import study
from lab.hpo.preflight import check
from lab.store import run_folder
from tests.test_configs import FILES, FOLDER, RUNS
from tests.test_configs_run import COUNTS, CROP, small_images
from util import Trainer, run

STUDIES = [path for path in FILES if path not in RUNS]
SMALL = ["set.epochs=2", "set.device=cpu", "set.trackers=[{type: tensorboard}]", "set.threads=1"]
ALONE = ["isolation=none", "workers=null", "n_trials=2", "confirm=null", "preflight=off"]


def little(base: RunConfig, root: Path | None) -> list[str]:
    """Settings that leave a run little data, and images of 32 pixels."""
    taken = signature_of(base.data.resolve()).parameters
    found = [f"set.data.{name}={count}" for name, count in COUNTS.items() if name in taken]
    for key in ("transforms", "val_transforms"):
        for index, transform in enumerate(base.data.arguments.get(key, [])):
            found += [f"set.data.{key}.{index}.{n}={pixels}" for n, pixels in CROP.items() if n in transform]
    return [*found, *([] if root is None else [f"set.data.root={root}"])]


@pytest.fixture(params=STUDIES, ids=lambda path: str(path.relative_to(FOLDER)))
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """A shipped study's file, and what makes it small; what it is made of stays."""
    path: Path = request.param
    base = OptimizeConfig.from_yaml(path).base
    root = None
    if base.data.arguments.get("root", "given") is None:
        root = small_images(request.getfixturevalue("nuclei"), tmp_path / "images")
    return path, [*SMALL, *little(base, root)]


def test_it_runs(settings: tuple[Path, list[str]], workplace: Path) -> None:
    path, small = settings
    config = OptimizeConfig.from_yaml(path, [*small, *ALONE])
    config.check()
    result = study.optimize(config, run, console="quiet")
    assert not result.failed and result.outcomes == {"completed": 2}
    found = optuna.load_study(study_name=config.study_name, storage=config.storage).get_trials()
    always = {name for name, parameter in config.search_space.items() if not parameter.when}
    for trial in found:
        assert always <= trial.params.keys() <= config.search_space.keys()
        assert sorted(trial.intermediate_values) == [1, 2] and trial.value is not None
    folder = workplace / "studies" / config.study_name
    assert (folder / "report.html").exists() and (folder / "best" / "best.pt").exists()
    best = RunConfig.from_yaml(folder / "best" / run_folder.CONFIG)
    assert result.best is not None and best == config.trial_config(
        config.space.from_params(result.best.params)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["opt_regression.yaml", "opt_digits.yaml"])
def test_its_corners_pass(name: str, workplace: Path) -> None:
    config = OptimizeConfig.from_yaml(FOLDER / name, SMALL)
    report = check(config, Trainer.from_config)
    assert report.passed, report.as_text()
    assert report.warnings == [] and report.estimate is not None
    assert len(report.corners) == 1 + len(config.space.extremes())
