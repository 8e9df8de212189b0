"""Forks of studies, on real databases: which trials they begin with, and that they have each once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from lab.config.problems import ConfigError
from lab.hpo.open_study import fork_study, open_study, renamed
from lab.hpo.storage import Database
from tests.lab.hpo.small_study import FILE, LOSS, LR, WIDTH, config_of, made_in, search


@pytest.fixture
def made(tmp_path: Path) -> str:
    """A database with a study of six trials."""
    return made_in(tmp_path)


def fork(url: str, name: str = "next", told: Callable[[str], None] = print, **updates: Any) -> optuna.Study:
    config = config_of(url, **updates)
    return fork_study(renamed(config, name), config.study_name, Database(url), told)


def told_by(url: str, name: str = "next", **updates: Any) -> tuple[str, list[FrozenTrial]]:
    """What is said, and the trials that the fork begins with."""
    lines: list[str] = []
    study = fork(url, name, lines.append, **updates)
    (line,) = lines
    return line, study.get_trials()


def test_a_fork_knows_the_trials_as_they_were(made: str) -> None:
    old = optuna.load_study(study_name="small", storage=made).get_trials()
    line, new = told_by(made, n_trials=20)
    assert line == "6 of 6 finished trials of 'small' fit and are known to the new study"
    for before, after in zip(old, new, strict=True):
        assert after.user_attrs == {"outcome": "completed", FORKED: f"small {before.number}"}
        assert after.system_attrs == {}
        for name in (
            "state",
            "values",
            "params",
            "intermediate_values",
            "datetime_start",
            "datetime_complete",
        ):
            assert getattr(after, name) == getattr(before, name), name
    study = fork(made, n_trials=20)
    assert len(study.get_trials()) == 6, "the same command goes on"
    assert study.user_attrs["config"]["study_name"] == "next"


def add(url: str, params: dict[str, Any], state: TrialState = TrialState.COMPLETE) -> None:
    """One more trial of the study, at this point."""
    config = config_of(url)
    stored = config.space.to_params(params)
    trial = optuna.trial.create_trial(
        state=state, value=None if state == TrialState.FAIL else 0.5, params=dict(stored),
        distributions={name: config.space.parameters[name].distribution() for name in stored},
        user_attrs={"outcome": state.name},
    )  # fmt: skip
    optuna.load_study(study_name="small", storage=url).add_trial(trial)


HUBER = FILE["search_space"]["criterion"]["choices"][1]
POINTS = [
    ({"optimizer.lr": 0.001, "net.width": 4, "criterion": "torch.nn.MSELoss"}, TrialState.COMPLETE),
    ({"optimizer.lr": 0.01, "net.width": 8, "criterion": HUBER}, TrialState.PRUNED),
    ({"optimizer.lr": 0.1, "net.width": 16, "criterion": HUBER}, TrialState.COMPLETE),
    ({"optimizer.lr": 0.1, "net.width": 16, "criterion": HUBER}, TrialState.FAIL),
]  # fmt: skip


@pytest.fixture
def four(tmp_path: Path) -> str:
    """A study of these points."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    open_study(config_of(url), Database(url))
    for params, state in POINTS:
        add(url, params, state)
    return url


FORKED = "forked_from"  # as it is stored
FORKS: dict[str, tuple[dict[str, Any], list[int], str]] = {
    "narrower bounds": (
        {f"{LR}/low": 0.005},
        [1, 2],
        "1 does not: 1 for a value of optimizer.lr out of range",
    ),
    "a choice less": ({LOSS: {"choices": [HUBER]}}, [1, 2], "1 for a choice of criterion that isn't there"),
    "a choice with other arguments": (
        {LOSS: {"choices": ["torch.nn.MSELoss", {**HUBER, "delta": 2.0}]}},
        [0],
        "2 do not: 2 for a choice of criterion that isn't there",
    ),
    "choices reordered, and one more": (
        {LOSS: {"choices": ["torch.nn.L1Loss", HUBER, "torch.nn.MSELoss"]}},
        [0, 1, 2],
        "3 of 3 finished",
    ),
    "a scale": ({f"{LR}/log": False}, [0, 1, 2], "3 of 3 finished"),
    "a step": ({f"{WIDTH}/step": 12}, [0, 2], "1 for a value of net.width out of range"),
    "a parameter less, with its value in the run": (
        {WIDTH: ..., "run/net/width": 8},
        [1],
        "2 for another net.width",
    ),
    "a parameter more, whose value the run had": (
        {"search_space/net.layers": {"type": "int", "low": 1, "high": 3}},
        [0, 1, 2],
        "3 of 3 finished",
    ),
    "a parameter more, whose value is too high": (
        {"search_space/net.layers": {"type": "int", "low": 2, "high": 3}},
        [],
        "3 for a value of net.layers out of range",
    ),
    "a parameter more, that the run says nothing of": (
        {"search_space/net.dropout": {"type": "float", "low": 0, "high": 1}},
        [],
        "3 for no value of net.dropout",
    ),
    "a condition": ({f"{WIDTH}/when": {"criterion": "torch.nn.MSELoss"}}, [0], "2 for another net.width"),
    "epochs": ({"run/epochs": 8}, [], "3 for run.epochs: the study has 4, the file has 8"),
    "direction": ({"run/monitor": {"metric": "val_loss", "mode": "max"}}, [], "run.monitor.mode"),
}


@pytest.mark.parametrize("case", FORKS.values(), ids=FORKS)
def test_a_fork_begins_with_the_trials_that_still_fit(
    four: str, case: tuple[dict[str, Any], list[int], str]
) -> None:
    edit, fitting, words = case
    line, new = told_by(four, **edit)
    assert [t.user_attrs[FORKED] for t in new] == [f"small {number}" for number in fitting]
    assert words in line, line
    config = config_of(four, **edit)
    for trial, number in zip(new, fitting, strict=True):
        values = config.space.from_params(trial.params)
        before, state = POINTS[number]
        assert {name: values[name] for name in before if name in values} == {
            name: before[name] for name in before if name in values
        }
        assert trial.state == state and (trial.value is None or trial.value == 0.5)
    study = optuna.load_study(study_name="next", storage=four)
    search(config, study, 5)
    assert len(study.get_trials()) == len(fitting) + 5, "Optuna takes new trials beside them"


def test_a_forks_fork_still_says_where_its_trials_come_from(four: str) -> None:
    fork(four, "second", **{f"{LR}/low": 0.005})
    lines: list[str] = []
    config = config_of(four, study_name="second", **{f"{LR}/low": 0.005, f"{WIDTH}/low": 10})
    study = fork_study(renamed(config, "third"), "second", Database(four), lines.append)
    assert [t.user_attrs[FORKED] for t in study.get_trials()] == ["small 2"]


def test_several_objectives_are_forked_with_their_curves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    monitor = {"run/monitor": ["val_loss", {"metric": "seconds", "mode": "min"}]}
    config = config_of(url, **monitor)
    study = open_study(config, Database(url))
    trial = study.ask()
    config.space.suggest(trial)
    trial.set_user_attr("curve", {"1": 0.25})
    study.tell(trial, [0.5, float("inf")])
    _, (new,) = told_by(url, **monitor, **{f"{LR}/low": 0.0001})
    assert new.values == [0.5, float("inf")] and new.user_attrs["curve"] == {"1": 0.25}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "--fork small: is the study's own name"),
        ("../x", "--fork ../x: found '../x' (text), expected a name for a folder"),
        ("", "--fork : found '' (text), expected a name for a folder"),
        ("taken", "--fork taken: there is a study 'taken' already, and it is no fork of 'small'"),
    ],
)
def test_names_that_a_fork_cant_have(made: str, name: str, message: str) -> None:
    open_study(config_of(made, study_name="taken"), Database(made))
    with pytest.raises(ConfigError) as caught:
        fork(made, name)
    assert str(caught.value).startswith(message)


def test_there_is_nothing_to_fork(made: str) -> None:
    with pytest.raises(
        ConfigError, match=r"has no study 'smal' of this program to fork; did you mean 'small'\?"
    ):
        fork(made, study_name="smal")
    assert optuna.get_all_study_names(made) == ["small"]


def test_a_fork_whose_file_has_changed_since_is_refused(made: str) -> None:
    fork(made)
    with pytest.raises(ConfigError, match=r"run.epochs: the study has 4, the file has 5") as caught:
        fork(made, **{"run/epochs": 5})
    assert "The study 'next' has trials" in caught.value.note


def test_a_fork_of_an_empty_study_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    open_study(config_of(url), Database(url))
    assert told_by(url) == ("the study 'small' has no finished trials", [])


def killed_after(writes: int, url: str) -> int:
    """Fork the study in a process that is killed at a write to the database; what it ended with."""

    def count(name: str) -> Callable[..., Any]:
        original = getattr(RDBStorage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            writes -= 1
            if writes < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    def child() -> NoReturn:
        try:
            for name in ("create_new_study", "_create_new_trial", "set_study_user_attr"):
                setattr(RDBStorage, name, count(name))
            fork(url)
        finally:
            os._exit(0)

    pid = os.fork()
    if pid == 0:
        child()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("writes", range(14))
def test_a_fork_killed_anywhere_has_each_trial_once_when_repeated(made: str, writes: int) -> None:
    """It writes the study, six attributes, six trials and one attribute more."""
    assert killed_after(writes, made) == -signal.SIGKILL
    names = optuna.get_all_study_names(made)
    assert ("next" in names) == (writes > 0)
    if writes > 7:
        assert len(optuna.load_study(study_name="next", storage=made).get_trials()) == min(writes - 7, 6)
    study = fork(made)
    found = [trial.user_attrs[FORKED] for trial in study.get_trials()]
    assert found == [f"small {number}" for number in range(6)]


def test_a_fork_that_nobody_killed_is_told_of(made: str) -> None:
    assert killed_after(14, made) == 0
    lines: list[str] = []
    assert len(fork(made, told=lines.append).get_trials()) == 6
    assert lines == [], "it is all there"
