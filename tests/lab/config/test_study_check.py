"""The check before the first trial: corners of the space, sampler and pruner; each slip at its line."""

import time
from collections.abc import Callable

import pytest
import torch  # what a check imports is none of its time  # noqa: F401

from lab.config import ConfigError, OptimizeConfig, search_space
from lab.config.study_fields import PRUNERS, SAMPLERS
from tests.lab.config.conftest import RUN, STUDY, StudyFiles

LAYERS = "net.layers: {type: int, low: 1, high: 4}"
BATCH = "batch_size: {choices: [8, 16]}"
SAMPLER = "sampler: {target: optuna.samplers.TPESampler, n_startup_trials: 3}"
PRUNER = STUDY[STUDY.index("pruner:") : STUDY.index("search_space:")]
WHEN = ", when: {optimizer.target: torch.optim.SGD}"
TWO_GOALS = (
    "run: {data: lab.data.function, net: model.MLP, monitor: [val_loss, {metric: seconds, mode: min}]}"
)


def test_a_sound_study_passes_quickly(study: StudyFiles) -> None:
    config = study.read()
    config.check()
    began = time.perf_counter()
    config.check()
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        (
            LAYERS,
            LAYERS.replace("layers", "lyers"),
            "19: search_space.net.lyers: MLP takes no 'lyers'; did you mean 'layers'?",
        ),
        (
            LAYERS,
            LAYERS.replace("low: 1", "low: 0.5").replace("int", "float"),
            [
                "19: search_space.net.layers.low: found 0.5 (number), expected a whole number",
                "19: search_space.net.layers.high: found 4.0 (number), expected a whole number",
            ],
        ),
        (
            BATCH,
            "batch_size: {choices: [8, 0, many]}",
            [
                "20: search_space.batch_size.choices.1: found 0 (whole number), expected at least 1",
                "20: search_space.batch_size.choices.2: found 'many' (text), expected a whole number",
            ],
        ),
        (
            BATCH,
            "batch_size: {type: int, low: -8, high: 8}",
            "20: search_space.batch_size.low: found -8 (whole number), expected at least 1",
        ),
        (
            BATCH,
            "loader.wokers: {choices: [0, 1]}",
            "20: search_space.loader.wokers: unknown key 'wokers'; did you mean 'workers'?",
        ),
        (
            BATCH,
            "precision: {choices: [fp32, bf61]}",
            "20: search_space.precision.choices.1: found 'bf61' (text),"
            " expected 'fp32', 'bf16' or 'fp16'; did you mean 'bf16'?",
        ),
        (
            BATCH,
            "data.transforms.1.p: {choices: [0, 1]}",
            "20: search_space.data.transforms.1.p: function takes no 'transforms'; known:"
            " dims, high, low, name, noise, seed, test_count, train_count, val_count",
        ),
        (
            BATCH,
            "epochs.x: {choices: [0, 1]}",
            "20: search_space.epochs.x: has no part 'x': found 4 (whole number)",
        ),
        (
            BATCH,
            "scheduler.gamma: {choices: [0, 1]}",
            "20: search_space.scheduler.gamma: scheduler.target: is required, and not given",
        ),
        (
            BATCH,
            "criterion: {choices: [torch.nn.MSELoss, {target: torch.nn.L1Los}]}",
            "20: search_space.criterion.choices.1.target: 'torch.nn' has no 'L1Los'; did you mean 'L1Loss'?",
        ),
        (
            BATCH,
            "criterion: {choices: [{target: torch.nn.MSELoss}, {target: torch.nn.L1Loss, reducton: sum}]}",
            "20: search_space.criterion.choices.1.reducton: L1Loss takes no 'reducton'; did you mean"
            " 'reduction'?",
        ),
        (
            BATCH,
            "net: {choices: [MLP]}",
            "20: search_space.net.choices.0: has no part 'layers': found 'MLP' (text)",
        ),
        (
            BATCH,
            "check_gradients: {choices: [true]}\n  precision: {choices: [fp32, fp16]}",
            "20: search_space.check_gradients.choices.0:"
            " does nothing with precision: fp16, whose scaler skips such steps; remove one of them",
        ),
        (
            WHEN,
            "",
            "18: search_space.optimizer.momentum: AdamW takes no 'momentum'; add when:"
            " {optimizer.target: torch.optim.SGD}",
        ),
        (
            WHEN,
            ", when: {batch_size: 8}",
            "18: search_space.optimizer.momentum: AdamW takes no 'momentum';"
            " add when: {optimizer.target: torch.optim.SGD}",
        ),
        (
            "- torch.optim.AdamW",
            "- torch.optim.AdamV",
            "16: search_space.optimizer.choices.1.target: 'torch.optim' has no 'AdamV'; did you mean 'Adam'?",
        ),
        (
            "- torch.optim.AdamW",
            "- torch.optim.LBFGS",
            "16: search_space.optimizer.choices.1.target: torch.optim.LBFGS needs a closure,"
            " and the loop gives none; take another",
        ),
        ("  epochs: 4", "  net.depth: 4", "4: set.net.depth: MLP takes no 'depth'; did you mean 'width'?"),
        ("  epochs: 4", "  net: model.MLLP", "4: set.net.target: 'model' has no 'MLLP'; did you mean 'MLP'?"),
    ],
)
@pytest.mark.parametrize("free", [100, 1])
def test_a_slip_in_the_space(
    study: StudyFiles,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    instead: str,
    expected: str | list[str],
    free: int,
) -> None:
    """Whether the numbers have a corner each, or share one as where there are many of them."""
    monkeypatch.setattr(search_space, "_FREE", free)
    monkeypatch.setattr(search_space, "_POOLS", 1)
    lines = [expected] if isinstance(expected, str) else expected
    assert sorted(study.problems(written, instead)) == sorted(f"opt.yaml:{line}" for line in lines)


def test_a_condition_is_proposed_for_a_target_that_is_searched_alone(study: StudyFiles) -> None:
    space = STUDY[STUDY.index("  optimizer:\n") : STUDY.index("  net.layers")]
    targets = "{choices: [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW]}"
    instead = f"  optimizer.target: {targets}\n  optimizer.momentum: {{type: float, low: 0, high: 1}}\n"
    assert study.problems(space, instead) == [
        "opt.yaml:14: search_space.optimizer.momentum: AdamW takes no 'momentum';"
        " add when: {optimizer.target: [torch.optim.SGD, torch.optim.RMSprop]}"
    ]


def test_problems_of_the_run_are_told_once_and_there(study: StudyFiles) -> None:
    study.run.write_text(RUN.replace("MLP", "MLLP").replace("MAE", "MEA").replace("lr: 1e-3", "lrr: 1e-3"))
    assert study.problems() == [
        "run.yaml:4: net.target: 'model' has no 'MLLP'; did you mean 'MLP'?",
        "run.yaml:5: metrics.mae.target: 'lab.metrics' has no 'MEA'; did you mean 'MAE'?",
    ], "every trial has an optimizer of the study's own"


def test_what_the_space_supplies_need_not_stand_in_the_run(study: StudyFiles) -> None:
    study.run.write_text(
        RUN.replace("{target: model.MLP, width: 8, layers: 2}", "{target: torch.nn.Linear, in_features: 1}")
    )
    study.read(LAYERS, "net.out_features: {choices: [1]}").check()
    assert study.problems(LAYERS, "net.bias: {choices: [true]}") == [
        "run.yaml:4: net: Linear needs 'out_features', which is not given"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name in SAMPLERS if name not in ("GridSampler", "BruteForceSampler")]
)
def test_samplers(study: StudyFiles, name: str) -> None:
    study.read(SAMPLER, f"sampler: optuna.samplers.{name}").check()


@pytest.mark.parametrize("name", ["GridSampler", "BruteForceSampler"])
def test_samplers_of_finite_spaces(study: StudyFiles, name: str) -> None:
    space = STUDY[STUDY.index("search_space:") :]
    study.study.write_text(
        STUDY.replace(space, f"search_space:\n  {LAYERS}\n").replace(
            SAMPLER, f"sampler: optuna.samplers.{name}"
        )
    )
    config = OptimizeConfig.from_yaml(study.study)
    config.check()
    assert config.total == 4


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (
            "optuna.samplers.TPSampler",
            ["sampler.target: 'optuna.samplers' has no 'TPSampler'; did you mean 'TPESampler'?"],
        ),
        (
            "{target: optuna.samplers.TPESampler, n_startup: 3}",
            ["sampler.n_startup: TPESampler takes no 'n_startup'; did you mean 'n_startup_trials'?"],
        ),
        (
            "{target: optuna.samplers.TPESampler, n_startup_trials: few}",
            ["sampler.n_startup_trials: found 'few' (text), expected a whole number"],
        ),
        (
            "{target: optuna.samplers.TPESampler, seed: 3}",
            ["sampler.seed: is derived from the study's seed; set that, and remove it here"],
        ),
        (
            "{target: optuna.samplers.GPSampler, independent_sampler: {target:"
            " optuna.samplers.TPESampler, seed: 1}}",
            [
                "sampler.independent_sampler.seed: is derived from the study's seed; set that, and"
                " remove it here"
            ],
        ),
        (
            "{target: optuna.samplers.GPSampler, independent_sampler: {target: model.MLP}}",
            [
                "sampler.independent_sampler.target: found model.MLP, expected a class that derives from"
                " optuna.samplers.BaseSampler"
            ],
        ),
        (
            "{target: optuna.samplers.NSGAIISampler, population_size: 1}",
            [
                "sampler: optuna.samplers.NSGAIISampler can't be built: `population_size` must be"
                " greater than or equal to 2."
            ],
        ),
        (
            "model.MLP",
            [
                "sampler.target: found model.MLP, expected a class that derives from"
                " optuna.samplers.BaseSampler"
            ],
        ),
        (
            "optuna.samplers.BaseSampler",
            [
                "sampler.target: found optuna.samplers.BaseSampler, expected a class that"
                " derives from optuna.samplers.BaseSampler"
            ],
        ),
        (
            "optuna.samplers",
            ["sampler.target: 'optuna.samplers' is a module; a class or a function is expected"],
        ),
    ],
)
def test_a_sampler_that_is_wrong(study: StudyFiles, sampler: str, expected: list[str]) -> None:
    assert study.problems(SAMPLER, f"sampler: {sampler}") == [f"opt.yaml:7: {line}" for line in expected]


def test_a_grid_is_finite_and_has_no_conditions(study: StudyFiles) -> None:
    assert study.problems(SAMPLER, "sampler: {target: optuna.samplers.GridSampler, search_space: {}}") == [
        "opt.yaml:7: sampler.search_space: is the study's own; remove it here",
        "opt.yaml:17: search_space.optimizer.lr: a grid needs a finite number of values; give it a"
        " step, or choices",
        "opt.yaml:18: search_space.optimizer.momentum.when: a grid has no conditions;"
        " take optuna.samplers.BruteForceSampler, or remove them",
        "opt.yaml:18: search_space.optimizer.momentum: a grid needs a finite number of values;"
        " give it a step, or choices",
    ]
    found = study.problems(SAMPLER, "sampler: optuna.samplers.BruteForceSampler")
    assert found == [
        f"opt.yaml:{line}: search_space.optimizer.{name}: brute force needs a finite number of values;"
        " give it a step, or choices"
        for line, name in ((17, "lr"), (18, "momentum"))
    ]


@pytest.mark.parametrize("name", ["optuna.samplers.CmaEsSampler", "lab.hpo.cma.SafeCmaEs"])
def test_cma_es_has_one_objective(study: StudyFiles, name: str) -> None:
    study.study.write_text(STUDY.replace("run: run.yaml", TWO_GOALS).replace(SAMPLER, f"sampler: {name}"))
    with pytest.raises(
        ConfigError, match=r"opt.yaml:7: sampler.target: \w+ takes one objective, and the monitor has 2"
    ):
        OptimizeConfig.from_yaml(study.study).check()
    study.read("run: run.yaml", TWO_GOALS).check()


@pytest.mark.parametrize("name", [*PRUNERS, "NopPruner"])
def test_pruners(study: StudyFiles, name: str) -> None:
    needs = {
        "PatientPruner": ", patience: 1, wrapped_pruner: null",
        "PercentilePruner": ", percentile: 25.0",
        "ThresholdPruner": ", upper: 1.0",
    }
    study.read(PRUNER, f"pruner: {{target: optuna.pruners.{name}{needs.get(name, '')}}}\n").check()


def test_our_own_pruner_gets_the_epochs_alone_and_within_another(study: StudyFiles) -> None:
    own = "lab.hpo.pfl.PredictedFinalLoss"
    study.read(PRUNER, f"pruner: {own}\n").check()
    patient = "target: optuna.pruners.PatientPruner, patience: 2"
    study.read(PRUNER, f"pruner: {{{patient}, wrapped_pruner: {{target: {own}}}}}\n").check()
    assert study.problems(PRUNER, f"pruner: {{target: {own}, topk: 3}}\n") == [
        "opt.yaml:8: pruner.topk: PredictedFinalLoss takes no 'topk'; did you mean 'top_k'?"
    ]


@pytest.mark.parametrize(
    ("pruner", "expected"),
    [
        (
            "optuna.pruners.MedianPrunr",
            "pruner.target: 'optuna.pruners' has no 'MedianPrunr'; did you mean 'MedianPruner'?",
        ),
        (
            "{target: optuna.pruners.MedianPruner, n_warmup: 1}",
            "pruner.n_warmup: MedianPruner takes no 'n_warmup'; did you mean 'n_warmup_steps'?",
        ),
        (
            "optuna.pruners.PercentilePruner",
            "pruner: PercentilePruner needs 'percentile', which is not given",
        ),
        (
            "{target: optuna.pruners.PercentilePruner, percentile: 200}",
            "pruner: optuna.pruners.PercentilePruner can't be built:"
            " Percentile must be between 0 and 100 inclusive, but got percentile=200.",
        ),
        (
            "{target: optuna.pruners.PatientPruner, patience: 1, wrapped_pruner: {target: model.MLP}}",
            "pruner.wrapped_pruner.target: found model.MLP, expected a class that derives from"
            " optuna.pruners.BasePruner",
        ),
        (
            "{target: optuna.pruners.PatientPruner, patience: 1, wrapped_pruner: optuna.pruners.NopPruner}",
            "pruner.wrapped_pruner: found 'optuna.pruners.NopPruner' (text), expected a mapping:"
            " {target: optuna.pruners.NopPruner}",
        ),
        (
            "optuna.samplers.TPESampler",
            "pruner.target: found optuna.samplers.TPESampler, expected a class that derives from"
            " optuna.pruners.BasePruner",
        ),
    ],
)
def test_a_pruner_that_is_wrong(study: StudyFiles, pruner: str, expected: str) -> None:
    assert study.problems(PRUNER, f"pruner: {pruner}\n") == [f"opt.yaml:8: {expected}"]


def test_a_pruner_of_ones_own_is_not_built_by_the_check(
    study: StudyFiles, mine: Callable[[str], str]
) -> None:
    name = mine(
        "from optuna.pruners import BasePruner\n"
        "class Mine(BasePruner):\n"
        "    def __init__(self, share: float): raise RuntimeError('built')\n"
        "    def prune(self, study, trial): return False\n"
    )
    study.read(PRUNER, f"pruner: {{target: {name}.Mine, share: 0.5}}\n").check()
    assert study.problems(PRUNER, f"pruner: {{target: {name}.Mine, share: x}}\n") == [
        "opt.yaml:8: pruner.share: found 'x' (text), expected a number"
    ]
