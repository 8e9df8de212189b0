"""Texts of the command line and of wrong configs, word for word, beside `tests/snapshots`.

A change that is meant is written down by `UPDATE_SNAPSHOTS=1 python -m pytest -n 0 tests/test_snapshots.py`,
and read in the diff of the commit. The two JSON Schemas are files of their own, in `configs/schema`:
`tests/test_configs.py` and `tests/lab/config/test_optimize_config.py` compare them with the generated ones.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.config import import_policy
from lab.console import command_line
from main import main

SNAPSHOTS = Path(__file__).parent / "snapshots"
PROGRAM = re.compile(r"^  .*\bmain\.py ", re.MULTILINE)  # commands in the help, as this process was called
# Which of the two ends a message depends on what was imported before.
LATER = re.compile(r"^Fix these first; .*\n", re.MULTILINE)
UPDATE = "UPDATE_SNAPSHOTS" in os.environ
RUN = """\
data: {target: lab.data.function, name: sin}
net: {target: model.MLP, in_features: 1, out_features: 1}
criterion: torch.nn.MSELoss
optimizer: {target: torch.optim.SGD, lr: 0.1}
epochs: 2
device: cpu
"""
STUDY = """\
study_name: s
run: run.yaml
n_trials: 2
isolation: none
search_space:
  optimizer.lr: {type: float, low: 0.01, high: 0.1, log: true}
"""
RUNS = {
    "an unknown key": "epoch: 3",
    "a key twice": "epochs: 3\nepochs: 4",
    "no YAML": "epochs: [1, 2",
    "a list among keys": "- epochs",
    "an alias of YAML": "epochs: *many",
    "a tag of YAML": "epochs: !!python/object/apply:os.system [ls]",
    "a wrong type": "epochs: many",
    "a truth for a number": "epochs: yes",
    "null": "epochs: null",
    "a fraction": "batch_size: 2.5",
    "a number out of range": "epochs: 0",
    "not finite": "gradient_clip_norm: .inf",
    "texts for numbers": "optimizer: {target: torch.optim.SGD, lr: 1e-3x}",
    "a mapping for a number": "epochs: {a: 1}",
    "a list for a mapping": "loader: [1, 2]",
    "a key of a section": "loader: {worker: 2}",
    "a value that is none of a few": "precision: bf32",
    "no component": "net: MLP",
    "a component without a target": "net: {width: 3}",
    "an unknown module": "net: {target: mdoel.MLP}",
    "an unknown class": "net: {target: model.MPL}",
    "no class": "net: {target: torch.pi}",
    "a part of a package that is none": "optimizer: {target: torch.optimm.SGD, lr: 0.1}",
    "a closed module": "criterion: {target: os.system}",
    "a closed part of a package": "criterion: {target: torch.hub.load}",
    "a part of a module that is none": "criterion: {target: lab.data.segmentation_files.os.system}",
    "what is private": "criterion: {target: torch._C.x}",
    "an unknown argument": "net: {target: model.MLP, in_features: 1, out_features: 1, widht: 3}",
    "an argument that is missing": "net: {target: torch.nn.Linear, in_features: 1}",
    "an argument of a wrong type": "net: {target: model.MLP, in_features: two, out_features: 1}",
    "an argument that the run gives": "optimizer: {target: torch.optim.SGD, params: 1, lr: 0.1}",
    "an argument out of range": "net: {target: torch.nn.Linear, in_features: -1, out_features: 1}",
    "a component within one": "data: {target: lab.data.function, name: {target: os.system}}",
    "data without samples": "data: {target: lab.data.function, name: sin, train_count: 0}",
    "data of an unknown name": "data: {target: lab.data.function, name: sine}",
    "a folder that is missing": "data: {target: lab.data.image_folder, root: nowhere}",
    "a monitor without a mode": "monitor: {metric: val_acuracy}",
    "a monitor that nothing logs": "monitor: {metric: val_acuracy, mode: max}",
    "a mode that is none": "monitor: {metric: val_loss, mode: least}",
    "several monitors": "monitor: [{metric: val_loss}, {metric: val_loss}]",
    "an objective of studies": "monitor: {metric: parameters, mode: min}",
    "early stopping by what nothing logs": "early_stopping_config: {metric: val_lss, mode: min}",
    "patience that is none": "early_stopping_config: {patience: -1}",
    "a schedule without a length": "scheduler: {target: torch.optim.lr_scheduler.CosineAnnealingLR}",
    "a plateau by steps": "scheduler: {target: torch.optim.lr_scheduler.ReduceLROnPlateau, interval: step}",
    "a schedule that watches": "scheduler: {target: torch.optim.lr_scheduler.ConstantLR, monitor: lr}",
    "a closure": "optimizer: {target: torch.optim.LBFGS}",
    "folds and seeds": "folds: 3\nseeds: [0, 1]",
    "a fold": "folds: 1",
    "a seed twice": "seeds: [1, 1]",
    "no seeds": "seeds: []",
    "a device that is none": "device: gpu",
    "fp16 and gradients": "precision: fp16\ncheck_gradients: true",
    "no validation": "val: null\nmonitor: {metric: val_loss}",
    "no validation and folds": "val: null\nfolds: 3",
    "options of a loss without parameters": "criterion_optimizer: {lr: 0.1}",
    "another optimizer for the loss": "criterion_optimizer: {target: torch.optim.SGD, lr: 0.1}",
    "an unknown tracker": "trackers: [mlflow]",
    "an unknown option of a tracker": "trackers: [{type: wandb, prject: x}]",
    "a tracker twice": "trackers: [tensorboard, tensorboard]",
    "a secret that is hidden": "data: {target: lab.data.function, api_key: '***'}",
    "a variable that isn't set": "data: {target: lab.data.image_folder, root: $NOWHERE/x}",
    "several at once": "epochs: 0\nbatch_size: none\nprecison: bf16",
}
STUDIES = {
    "an unknown key of a study": "n_trails: 3",
    "a name that is none": "study_name: a/b",
    "a parameter that is none of the run": "search_space: {optimizer.lrr: {type: float, low: 0.1, high: 1}}",
    "a parameter of a part that is none": "search_space: {optimiser.lr: {type: float, low: 0.1, high: 1}}",
    "an empty space": "search_space: {}",
    "bounds the wrong way round": "search_space: {optimizer.lr: {type: float, low: 1, high: 0.1}}",
    "a bound of a wrong type": "search_space: {optimizer.lr: {type: float, low: small, high: 0.1}}",
    "a logarithm of zero": "search_space: {optimizer.lr: {type: float, low: 0, high: 1, log: true}}",
    "a step and a logarithm": "search_space: {epochs: {type: int, low: 1, high: 8, log: true, step: 2}}",
    "a step that doesn't fit": "search_space: {epochs: {type: int, low: 1, high: 8, step: 3}}",
    "an unknown kind": "search_space: {optimizer.lr: {type: real, low: 0.1, high: 1}}",
    "no kind": "search_space: {optimizer.lr: {low: 0.1, high: 1}}",
    "a choice twice": "search_space: {batch_size: {choices: [8, 8]}}",
    "choices that are none": "search_space: {batch_size: {choices: []}}",
    "a choice of a wrong type": "search_space: {batch_size: {choices: [8, many]}}",
    "an argument of a choice": "search_space: {optimizer: {choices: [{target: torch.optim.SGD, r: 1}]}}",
    "what can't be searched": "search_space: {seeds: {choices: [1, 2]}}",
    "a path that is none": "search_space: {optimizer..lr: {type: float, low: 0.1, high: 1}}",
    "a condition on what is none": "search_space: {epochs: {type: int, low: 1, high: 2, when: {seed: 1}}}",
    "a condition on itself": "search_space: {epochs: {type: int, low: 1, high: 2, when: {epochs: 1}}}",
    "a condition that no value meets": "search_space:\n  batch_size: {choices: [8]}\n"
    "  epochs: {type: int, low: 1, high: 2, when: {batch_size: 9}}",
    "a constraint of unknown names": 'constraints: ["optimizer.momentum > 1"]',
    "a constraint that calls": 'constraints: ["open(1)"]',
    "a constraint that is no expression": 'constraints: ["optimizer.lr >"]',
    "a constraint that none meets": 'constraints: ["optimizer.lr > 1"]',
    "a constraint that fails": 'constraints: ["optimizer.lr / 0 > 1"]',
    "a point outside of the space": "enqueue: [{optimizer.lr: 3}]",
    "a point of an unknown parameter": "enqueue: [{optimizer.lrr: 0.05}]",
    "an empty point": "enqueue: [{}]",
    "a point twice": "enqueue: [{optimizer.lr: 0.05}, {optimizer.lr: 0.05}]",
    "more points than trials": "enqueue: [{optimizer.lr: 0.02}, {optimizer.lr: 0.03}, {optimizer.lr: 0.04}]",
    "a setting of an unknown key": "set: {optimizer.lrr: 0.1}",
    "a setting of a wrong type": "set: {epochs: many}",
    "a setting that is searched": "set: {optimizer.lr: 0.1}",
    "an unknown sampler": "sampler: {target: optuna.samplers.TPSampler}",
    "a sampler by its name alone": "sampler: TPESampler",
    "a sampler's seed": "sampler: {target: optuna.samplers.TPESampler, seed: 3}",
    "an unknown argument of a sampler": "sampler: {target: optuna.samplers.TPESampler, n_startup: 3}",
    "a grid of a range": "sampler: optuna.samplers.GridSampler",
    "brute force on a range": "sampler: optuna.samplers.BruteForceSampler",
    "no sampler": "sampler: torch.optim.SGD",
    "a pruner that gets a pruner's name": "pruner: {target: optuna.pruners.PatientPruner, patience: 1, "
    "wrapped_pruner: optuna.pruners.MedianPruner}",
    "a pruner out of range": "pruner: {target: optuna.pruners.PercentilePruner, percentile: 200.0}",
    "an objective to prune on without a pruner": "pruner: null\nprune_on: val_loss",
    "no trials": "n_trials: 0",
    "a duration that is none": "time_budget: long",
    "a database in memory": "storage: 'sqlite:///:memory:'",
    "a database of another kind": "storage: 'mysql://host/db'",
    "two slashes": "storage: 'sqlite://studies.db'",
    "a device twice": "devices: [cpu, cpu]",
    "a run that is missing": "run: runn.yaml",
    "a run that is wrong": "run: {epochs: 0}",
    "several at once, in a study": "n_trials: 0\nworkers: 2\nset: {epochs: many}",
}
OVERRIDES = {
    "a setting of the command line": ["epochs=many"],
    "an unknown key on the command line": ["epoch=3"],
    "a part that is none on the command line": ["net.x.y=3"],
    "no setting": ["epochs"],
    "a number for a component": ["net=3"],
    "an unknown argument on the command line": ["net.widht=3"],
}

COMMANDS = [
    "", "--list --run run.yaml", "--list --quiet", "--list --ascending", "--run run.yaml --json --quiet",
    "--run run.yaml --print-config --quiet", "--run run.yaml --fork x", "--run run.yaml --allow-import a-b",
    "--run ~nobody-here/run.yaml", "--predict RUN", "--predict RUN --input x --output y --tile 0",
    "--evaluate RUN --overlap -1", "--export pickle RUN", "--export onnx RUN --input x --set a=1",
    "--selftest faults --only 1,x", "--dashboard s --port 1 --set a=1", "--compare A B --sort x",
]  # fmt: skip


def compare(name: str, text: str) -> None:
    path = SNAPSHOTS / name
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each version of argparse has its own layout")
def test_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    compare("help.txt", PROGRAM.sub("  python main.py ", command_line.parser().format_help()))


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Give a wrong command line; return what it prints, under a title, once nothing else came of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    Path("run.yaml").write_text(RUN)

    def ask(title: str, *arguments: str) -> str:
        code = main(list(arguments))
        left = [str(path) for name in ("runs/*", "studies*") for path in Path().glob(name)]
        assert (title, code, left) == (title, 2, [])
        return f"== {title} ({code})\n{LATER.sub('', capsys.readouterr().err)}"

    return ask


@pytest.mark.parametrize(
    ("option", "base", "wrongs"), [("--run", RUN, RUNS), ("--optimize", STUDY, STUDIES)], ids=["run", "study"]
)
def test_errors(answer: Callable[..., str], option: str, base: str, wrongs: dict[str, str]) -> None:
    answers = []
    for title, lines in wrongs.items():
        Path("wrong.yaml").write_text(with_lines(base, lines))
        answers.append(answer(title, option, "wrong.yaml"))
    compare(f"errors_of_{option.removeprefix('--')}.txt", "\n".join(answers))


def test_errors_of_the_command_line(answer: Callable[..., str]) -> None:
    answers = [
        answer(title, "--run", "run.yaml", *(part for text in texts for part in ("--set", text)))
        for title, texts in OVERRIDES.items()
    ]
    compare("errors_of_set.txt", "\n".join(answers))


def test_errors_of_options(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        assert ended.value.code == 2
        answers.append(f"== {command}\n{capsys.readouterr().err.splitlines()[-1]}\n")
    compare("errors_of_options.txt", "\n".join(answers))


def with_lines(base: str, lines: str) -> str:
    """The config with these lines in place of those of the same keys; as it stands where it is no mapping."""
    try:
        keys = set(yaml.safe_load(lines))
    except (yaml.YAMLError, TypeError):
        return lines + "\n"
    kept, leave = [], False
    for line in base.splitlines():
        if not line.startswith(" "):
            leave = line.partition(":")[0] in keys
        if not leave:
            kept.append(line)
    return "\n".join([*kept, lines]) + "\n"
