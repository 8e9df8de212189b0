"""A study's file: where its run is read from, what `--set` reaches, and the place of each problem."""

import os
from pathlib import Path

import pytest

from lab.config import ConfigError, OptimizeConfig, config_file, is_study
from tests.lab.config.conftest import RUN, STUDY, StudyFiles


def test_is_study() -> None:
    assert is_study(config_file.parse(STUDY, "f"))
    assert is_study(config_file.parse("study_name: x", "f")) and is_study(
        config_file.parse("search_space: {}", "f")
    )
    assert not is_study(config_file.parse(RUN, "f"))


def test_the_run_is_read_into_the_study(study: StudyFiles) -> None:
    config = study.read()
    assert config.run == config_file.read(study.run).data
    study.run.unlink()
    assert (config.base.epochs, config.base.batch_size) == (4, 16), "it holds all it needs"


def test_the_run_is_sought_beside_the_study_then_here(study: StudyFiles, workplace: Path) -> None:
    folder = workplace / "below"
    folder.mkdir()
    (folder / "opt.yaml").write_text(STUDY)
    assert OptimizeConfig.from_yaml(Path("below") / "opt.yaml").base.batch_size == 16, "as seen from here"
    (folder / "run.yaml").write_text(RUN.replace("batch_size: 16", "batch_size: 5"))
    assert OptimizeConfig.from_yaml(Path("below") / "opt.yaml").base.batch_size == 5, "beside it"


def test_a_run_may_stand_in_the_file(study: StudyFiles) -> None:
    inline = "run: {data: lab.data.function, net: model.MLP, optimizer: torch.optim.AdamW}"
    assert study.read("run: run.yaml", inline).base.net.target == "model.MLP"
    assert study.problems("run: run.yaml", "run: {data: lab.data.function, epohcs: 3}") == [
        "opt.yaml:2: run.net: is required, and not given",
        "opt.yaml:2: run.epohcs: unknown key 'epohcs'; did you mean 'epochs'?",
    ]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (
            "runn.yaml",
            "opt.yaml:2: run: runn.yaml: there is no such file in FOLDER; did you mean 'run.yaml'?",
        ),
        (".", "opt.yaml:2: run: FOLDER: can't be read: Is a directory"),
        ("opt.yaml", "opt.yaml:2: run: opt.yaml is a study's file itself; name a run's"),
        ("x" * 300, "opt.yaml:2: run: " + "x" * 300 + ": can't be read: File name too long"),
        ('"a\\0b"', "can't be read: no file has a zero byte in its name"),
        ("broken.yaml", "broken.yaml:3: is not valid YAML: "),
        ("list.yaml", "list.yaml:1: a config is a mapping of keys to values; found [1] (list)"),
        ("3", "opt.yaml:2: run: found 3 (whole number), expected a run's file, or a run's mapping"),
        ("null", "opt.yaml:2: run: found nothing (null), expected a run's file, or a run's mapping"),
    ],
)
def test_a_run_that_cannot_be_read(study: StudyFiles, run: str, expected: str) -> None:
    (study.run.parent / "broken.yaml").write_text("a: 1\nb: [\n")
    (study.run.parent / "list.yaml").write_text("[1]\n")
    found = study.problems("run: run.yaml\nset:", f"run: {run}\nseed: x\nset:")
    other = "opt.yaml:3: seed: found 'x' (text), expected a whole number"
    assert other in found, "the rest is told, too"
    found.remove(other)
    assert len(found) == 1
    assert expected in found[0].replace(str(study.run.parent), "FOLDER")


def test_problems_of_the_run_are_told_as_they_stand_there(study: StudyFiles) -> None:
    study.run.write_text(RUN.replace("epochs: 3", "epoch: 3").replace("16}", "x").replace("16", "many"))
    assert study.problems("n_trials: 12", "n_trials: 0") == [
        "opt.yaml:5: n_trials: found 0 (whole number), expected at least 1",
        "run.yaml:1: epoch: unknown key 'epoch'; did you mean 'epochs'?",
        "run.yaml:2: batch_size: found 'many' (text), expected a whole number",
    ]
    study.run.write_text(RUN + "epochs: 4\n")
    assert study.problems() == [
        "run.yaml:8: the key 'epochs' is given twice, first in line 1; keep one"
    ]  # fmt: skip


def test_set_reaches_the_study_and_its_run(study: StudyFiles) -> None:
    config = study.read(
        overrides=[
            "n_trials=5",
            "search_space.optimizer.lr.high=0.2",
            "search_space.'optimizer.lr'.low=1e-4",
            "search_space.optimizer.choices.0.nesterov=true",
            "search_space.net.width={type: int, low: 4, high: 8}",
            "search_space.batch_size={choices: [4]}",
            "set.loader.workers=1",
            "set.epochs=7",
            "run.optimizer.weight_decay=0.5",
            "run.gradient_clip_norm=1",
            "sampler.n_startup_trials=9",
            "retention.keep_best=1",
        ]
    )
    assert config.n_trials == 5
    lr = config.search_space["optimizer.lr"]
    assert (lr.low, lr.high) == (1e-4, 0.2)
    assert config.search_space["optimizer"].choices[0] == {"target": "torch.optim.SGD", "nesterov": True}
    assert config.search_space["net.width"].high == 8
    assert config.search_space["batch_size"].choices == (4,)
    assert config.set == {"epochs": 7, "loader.workers": 1}
    assert config.base.optimizer.arguments == {"lr": 1e-3, "weight_decay": 0.5}
    assert config.base.gradient_clip_norm == 1
    assert config.sampler.arguments == {"n_startup_trials": 9}
    assert config.retention.keep_best == 1


def test_set_takes_defaults_where_the_file_says_nothing(study: StudyFiles) -> None:
    bare = STUDY[: STUDY.index("set:")] + STUDY[STUDY.index("search_space:") :]
    study.study.write_text(bare)
    study.run.write_text(RUN[: RUN.index("optimizer:")])
    config = OptimizeConfig.from_yaml(
        study.study,
        ["set.net.width=4", "sampler.n_startup_trials=2", "run.optimizer.lr=0.5", "confirm.top=2"],
    )
    assert config.set == {"net.width": 4}
    assert config.sampler.target == "optuna.samplers.TPESampler"
    assert config.base.optimizer.target == "torch.optim.AdamW"
    assert config.base.optimizer.arguments == {"lr": 0.5}
    assert config.confirm is not None and (config.confirm.top, config.confirm.seeds) == (2, 5)


def test_set_takes_another_run(study: StudyFiles) -> None:
    (study.run.parent / "other.yaml").write_text(RUN.replace("batch_size: 16", "batch_size: 3"))
    config = study.read(overrides=["run.project=x", "run=other.yaml", "run.name=y"])
    assert (config.base.batch_size, config.base.project, config.base.name) == (3, "x", "y")
    found = study.problems(overrides=["run=nope.yaml", "run.epochs=3"])
    assert found[0].startswith("--set run=nope.yaml: run: ") and "there is no such file" in found[0]
    assert found[1:] == ["--set run.epochs=3: run.epochs: can't be set, for the run couldn't be read"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "search_space.optimizer.lrr.high=1",
            "search_space: there is no 'optimizer.lrr.high' to change; did you mean 'optimizer.lr.high'?",
        ),
        (
            "search_space.optimizer.lr.hihg=1",
            "search_space: there is no 'optimizer.lr.hihg' to change; did you mean 'optimizer.lr.high'?",
        ),
        (
            "search_space.qqq=1",
            "search_space: there is no 'qqq' to change;"
            " a new parameter is given whole, as {type: int, low: 1, high: 2}",
        ),
        (
            "search_space.optimizer.lr.high=x",
            "search_space.optimizer.lr.high: found 'x' (text), expected a number",
        ),
        ("set.net..width=1", "expected path=value, such as optimizer.lr=1e-3"),
        ("set.epohcs=1", "set.epohcs: a run has no 'epohcs'; did you mean 'epochs'?"),
        ("run.epohcs=1", "run.epohcs: unknown key 'epohcs'; did you mean 'epochs'?"),
        ("run.seeds.7=1", "run.seeds.7: '7' is no position in it: found a list of 1, counted from 0"),
        ("n_trails=3", "n_trails: unknown key 'n_trails'; did you mean 'n_trials'?"),
        (
            "optimizer.lr=3",
            "optimizer: 'optimizer' is a key of the run; write it below run, or below set for all trials",
        ),
        ("set=3", "set: found 3 (whole number), expected a mapping"),
    ],
)
def test_a_set_that_is_wrong_says_so_itself(study: StudyFiles, override: str, expected: str) -> None:
    assert study.problems(overrides=[override]) == [f"--set {override}: {expected}"]


def test_a_document_is_read_once_and_told_from_twice(study: StudyFiles) -> None:
    study.read()
    document = OptimizeConfig.read(study.study, ["n_trials=3"])
    config = OptimizeConfig.from_document(document)
    assert config.n_trials == 3
    assert OptimizeConfig.from_document(document, ["n_trials=4"]).n_trials == 4
    assert OptimizeConfig.from_document(document) == config
    located = document.located(ConfigError(config_problems()))
    assert [problem.where.rpartition(os.sep)[2] for problem in located.problems] == [
        "opt.yaml:17", "run.yaml:2", "--set n_trials=3",
    ]  # fmt: skip


def config_problems() -> list[config_file.Problem]:
    paths: list[config_file.Path] = [
        ("n_trials",),
        ("run", "batch_size"),
        ("search_space", "optimizer.lr", "low"),
    ]
    return [config_file.Problem(path, "is wrong") for path in paths]
