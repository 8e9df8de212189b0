"""Studies opened by changed files, on real databases."""

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import ConfigError
from lab.console import shell_commands
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from tests.lab.hpo.small_study import FILE, LOSS, LR, WIDTH, config_of, made_in, search


@pytest.fixture
def made(tmp_path: Path) -> str:
    """A database with a study of six trials."""
    return made_in(tmp_path)


def dump(url: str) -> list[tuple[Any, ...]]:
    """All that the database holds of the study."""
    study = optuna.load_study(study_name="small", storage=url)
    return [(t.number, t.state, t.params, t.distributions, t.user_attrs) for t in study.get_trials()] + [
        (study.user_attrs,)
    ]


EDITS: dict[str, tuple[dict[str, Any], str | None]] = {
    "direction": ({"run/monitor": {"metric": "val_loss", "mode": "max"}}, "run.monitor.mode"),
    "metric": ({"run/monitor": "train_loss"}, "run.monitor.metric"),
    "a second objective": ({"run/monitor": ["val_loss", "train_loss"]}, "run.monitor.also"),
    "choice added": (
        {LOSS: {"choices": [*FILE["search_space"]["criterion"]["choices"], "torch.nn.L1Loss"]}},
        "search_space.criterion.choices",
    ),
    "choice removed": ({LOSS: {"choices": ["torch.nn.MSELoss"]}}, "search_space.criterion.choices"),
    "choices reordered": (
        {LOSS: {"choices": FILE["search_space"]["criterion"]["choices"][::-1]}},
        "search_space.criterion.choices",
    ),
    "a choice's argument": (
        {LOSS: {"choices": ["torch.nn.MSELoss", {"target": "torch.nn.HuberLoss", "delta": 2.0}]}},
        "search_space.criterion.choices",
    ),
    "range narrower": ({f"{LR}/low": 0.01}, "search_space.optimizer.lr.low"),
    "range wider": ({f"{LR}/low": 0.0001, f"{LR}/high": 1.0, f"{WIDTH}/high": 64}, None),
    "log": ({f"{LR}/log": False}, "search_space.optimizer.lr.log"),
    "step": ({f"{WIDTH}/step": 2}, "search_space.net.width.step"),
    "sampler": ({"sampler": "optuna.samplers.RandomSampler"}, None),
    "pruner": ({"pruner": "optuna.pruners.MedianPruner"}, None),
    "grid": (
        {"sampler": "optuna.samplers.GridSampler", LR: {"choices": [0.1]}},
        "search_space.optimizer.lr.type",
    ),
    "epochs": ({"run/epochs": 8}, "run.epochs"),
    "epochs by set": ({"set": {"epochs": 8}}, "set.epochs"),
    "data": ({"run/data/train_count": 256}, "run.data.train_count"),
    "net": ({"run/net/layers": 2}, "run.net.layers"),
    "seeds": ({"run/seeds": [0, 1]}, "run.seeds"),
    "parameter removed": ({WIDTH: ...}, "search_space.net.width"),
    "parameter added": ({"search_space/batch_size": {"choices": [8, 16]}}, "search_space.batch_size"),
    "condition": ({f"{WIDTH}/when": {"criterion": "torch.nn.MSELoss"}}, "search_space.net.width.when"),
    "n_trials up": ({"n_trials": 50}, None),
    "seed": ({"seed": 9}, None),
    "where it runs": ({"workers": 4, "run/device": "cpu", "run/threads": 1}, None),
}


@pytest.mark.parametrize("case", EDITS.values(), ids=EDITS)
def test_the_table_of_changes(made: str, case: tuple[dict[str, Any], str | None]) -> None:
    edit, refused = case
    before = dump(made)
    config = config_of(made, **edit)
    if refused is None:
        study = open_study(config, Database(made))
        points = search(config, study, 6)
        assert len(study.get_trials()) == 12 and len(points) == 6
        assert study.user_attrs["config"]["seed"] == config.seed, "the file as it is now is the study's"
        return
    with pytest.raises(ConfigError) as caught:
        open_study(config, Database(made))
    assert refused in {".".join(map(str, problem.path)) for problem in caught.value.problems}
    assert "--optimize FILE --fork small-2" in caught.value.note
    assert dump(made) == before, "no trial is burned, and nothing is changed"
    open_study(config_of(made), Database(made))


def test_narrower_bounds_say_how_many_trials_lie_outside(made: str) -> None:
    with pytest.raises(ConfigError, match="; 6 of 6 trials lie outside"):
        open_study(config_of(made, **{f"{LR}/low": 0.0999}), Database(made))


SAMPLERS: dict[str, dict[str, Any]] = {
    "TPE": {"target": "optuna.samplers.TPESampler", "n_startup_trials": 4},
    "multivariate TPE": {"target": "optuna.samplers.TPESampler", "n_startup_trials": 4, "multivariate": True},
    "GP": {"target": "optuna.samplers.GPSampler", "n_startup_trials": 4},
    "CMA-ES": {"target": "optuna.samplers.CmaEsSampler", "n_startup_trials": 4},
    "CMA-ES with margin": {
        "target": "optuna.samplers.CmaEsSampler",
        "n_startup_trials": 4,
        "with_margin": True,
    },
    "NSGA-II": {"target": "optuna.samplers.NSGAIISampler", "population_size": 4},
    "QMC": {"target": "optuna.samplers.QMCSampler"},
    "random": {"target": "optuna.samplers.RandomSampler"},
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_study_goes_on_in_wider_bounds_with_every_sampler(
    tmp_path: Path, sampler: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    space = {LOSS: ...}
    narrow = config_of(url, sampler=sampler, **space)
    wide = config_of(url, sampler=sampler, **space, **{f"{LR}/high": 1.0, f"{WIDTH}/high": 64})
    search(narrow, open_study(narrow, Database(url)), 6)
    study = open_study(wide, Database(url))
    shared = optuna.search_space.intersection_search_space(study.get_trials())
    assert shared == {name: wide.search_space[name].distribution() for name in ("net.width", "optimizer.lr")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        points = search(wide, study, 10)
    assert max(point["net.width"] for point in points) > 16
    assert max(point["optimizer.lr"] for point in points) > 0.1
    assert "fallback" not in caplog.text and "independent" not in caplog.text


def test_bounds_are_widened_on_every_database(url: str) -> None:
    config = config_of(url)
    search(config, open_study(config, Database(url)), 3)
    study = open_study(config_of(url, **{f"{WIDTH}/high": 64}), Database(url))
    assert {t.distributions["net.width"].high for t in study.get_trials()} == {64}  # type: ignore[attr-defined]
    assert {t.distributions["optimizer.lr"].high for t in study.get_trials()} == {0.1}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"the study has 64, the file has 16, which is narrower"):
        open_study(config, Database(url))


def test_without_aligned_bounds_a_sampler_would_lose_the_parameter(made: str) -> None:
    """What `_align` is for, shown on Optuna alone."""
    study = optuna.load_study(study_name="small", storage=made)
    trial = study.ask()
    trial.suggest_int("net.width", 4, 64)
    study.tell(trial, 0.0)
    assert "net.width" not in optuna.search_space.intersection_search_space(study.get_trials())
    study = open_study(config_of(made, **{f"{WIDTH}/high": 64}), Database(made))
    assert {t.distributions["net.width"].high for t in study.get_trials()} == {64}  # type: ignore[attr-defined]


def test_choices_that_optuna_holds_otherwise_are_refused_before_a_trial(tmp_path: Path) -> None:
    """The file is the same, and somebody else's trial isn't."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    config = config_of(url)
    study = open_study(config, Database(url))
    asked = study.ask()
    asked.suggest_categorical("criterion", ["MSELoss", "else"])
    with pytest.raises(ConfigError, match=r"search_space.criterion: trials of the study hold it otherwise"):
        open_study(config, Database(url))


def test_a_strangers_study_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    Database(url)
    study = optuna.create_study(study_name="small", storage=url)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ConfigError, match="this program did not make"):
        open_study(config_of(url), Database(url))
    assert study.user_attrs == {}


def test_a_study_whose_maker_was_killed_at_once_is_made_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    Database(url)
    optuna.create_study(study_name="small", storage=url)
    study = open_study(config_of(url), Database(url))
    assert study.user_attrs["base"]["epochs"] == 4
    optuna.create_study(study_name="up", storage=url, direction="maximize")
    with pytest.raises(ConfigError, match="this program did not make"):
        open_study(config_of(url, study_name="up"), Database(url))


def test_the_way_out_is_the_exact_command(tmp_path: Path) -> None:
    text = OptimizeConfig.model_validate({**FILE, "storage": f"sqlite:///{tmp_path / 'a.db'}"}).to_yaml()
    path = tmp_path / "my opt.yaml"
    path.write_text(text)
    config = OptimizeConfig.from_yaml(path)
    database = Database(config.storage)
    open_study(config, database)
    open_study(config.model_copy(update={"study_name": "small-2"}), database)
    changed = OptimizeConfig.from_yaml(path, ["run.epochs=5", "set.net.password=abc"])
    with pytest.raises(ConfigError) as caught:
        open_study(changed, database)
    assert caught.value.problems[0].where == "--set run.epochs=5"
    command = f"--optimize '{path}' --set run.epochs=5 --set 'set.net.password=***' --fork small-3"
    assert f"\n  {shell_commands.main()} {command}\n" in caught.value.note
