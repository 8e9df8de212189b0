"""Texts of the command line and of wrong configs, word for word, beside `tests/snapshots`.

A change that is meant is written down by `UPDATE_SNAPSHOTS=1 python -m pytest -n 0 tests/test_snapshots.py`,
and read in the diff of the commit. The two JSON Schemas are compared in `tests/test_configs.py`.
"""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from lab import command_line
from main import main

SNAPSHOTS = Path(__file__).parent / "snapshots"
PROGRAM = re.compile(r"^  .*\bmain\.py ", re.MULTILINE)  # commands in the help, as this process was called
# Which of the two ends a message depends on what was imported before.
LATER = re.compile(r"^.* once these are mended\.\n", re.MULTILINE)
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
search_space:
  optimizer.lr: {type: float, low: 0.01, high: 0.1, log: true}
"""
RUNS = {
    "an unknown key": "epoch: 3",
    "a key twice": "epochs: 3\nepochs: 4",
    "no YAML": "epochs: [1, 2",
    "a list": "- epochs",
    "a wrong type": "epochs: many",
    "a number out of range": "epochs: 0",
    "texts for numbers": "optimizer: {target: torch.optim.SGD, lr: 1e-3x}",
    "an unknown module": "net: {target: mdoel.MLP}",
    "an unknown class": "net: {target: model.MPL}",
    "no class": "net: {target: torch.pi}",
    "a closed module": "criterion: {target: os.system}",
    "an unknown argument": "net: {target: model.MLP, in_features: 1, out_features: 1, widht: 3}",
    "an argument that is missing": "net: {target: torch.nn.Linear, in_features: 1}",
    "an argument of a wrong type": "net: {target: model.MLP, in_features: two, out_features: 1}",
    "a monitor that nothing logs": "monitor: {metric: val_acuracy}",
    "a schedule without a length": "scheduler: {target: torch.optim.lr_scheduler.CosineAnnealingLR}",
    "folds and seeds": "folds: 3\nseeds: [0, 1]",
    "a device that is none": "device: gpu",
    "options of a loss without parameters": "criterion_optimizer: {lr: 0.1}",
    "an unknown tracker": "trackers: [mlflow]",
    "several at once": "epochs: 0\nbatch_size: none\nprecison: bf16",
}
STUDIES = {
    "a parameter that is none of the run": "search_space: {optimizer.lrr: {type: float, low: 0.1, high: 1}}",
    "bounds the wrong way round": "search_space: {optimizer.lr: {type: float, low: 1, high: 0.1}}",
    "a logarithm of zero": "search_space: {optimizer.lr: {type: float, low: 0, high: 1, log: true}}",
    "an unknown kind": "search_space: {optimizer.lr: {type: real, low: 0.1, high: 1}}",
    "a constraint of unknown names": 'constraints: ["optimizer.momentum > 1"]',
    "a constraint that calls": 'constraints: ["open(1)"]',
    "a point outside of the space": "enqueue: [{optimizer.lr: 3}]",
    "an unknown sampler": "sampler: {target: optuna.samplers.TPSampler}",
    "no trials": "n_trials: 0",
    "a run that is missing": "run: runn.yaml",
}


def compare(name: str, text: str) -> None:
    path = SNAPSHOTS / name
    if UPDATE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each version of argparse has its own layout")
def test_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    compare("help.txt", PROGRAM.sub("  python main.py ", command_line.parser().format_help()))


def test_errors_of_runs_and_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = []
    for option, base, wrongs in (("--run", RUN, RUNS), ("--optimize", STUDY, STUDIES)):
        for title, lines in wrongs.items():
            Path("run.yaml").write_text(RUN)
            Path("wrong.yaml").write_text(with_lines(base, lines))
            code = main([option, "wrong.yaml"])
            answers.append(f"== {title} ({code})\n{LATER.sub('', capsys.readouterr().err)}")
            left = [str(path) for name in ("runs/*", "studies*") for path in Path().glob(name)]
            assert (title, code, left) == (title, 2, [])
    compare("errors.txt", "\n".join(answers))


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
