"""The user's own module, written by the test."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lab.config import ConfigError, OptimizeConfig, import_policy

_numbers = itertools.count()
RUN = """\
epochs: 3
batch_size: 16
data: {target: lab.data.function, train_count: 48}
net: {target: model.MLP, width: 8, layers: 2}
metrics: {mae: lab.metrics.MAE}
monitor: {metric: val_loss, mode: min}
optimizer: {target: torch.optim.AdamW, lr: 1e-3}
"""
STUDY = """\
study_name: small
run: run.yaml
set:
  epochs: 4
n_trials: 12
time_budget: 1h30m
sampler: {target: optuna.samplers.TPESampler, n_startup_trials: 3}
pruner:
  target: optuna.pruners.PatientPruner
  patience: 2
  wrapped_pruner: {target: optuna.pruners.MedianPruner, n_startup_trials: 2}
search_space:
  optimizer:
    choices:
      - {target: torch.optim.SGD, nesterov: false}
      - torch.optim.AdamW
  optimizer.lr: {type: float, low: 1e-5, high: 0.1, log: true}
  optimizer.momentum: {type: float, low: 0.0, high: 0.9, when: {optimizer.target: torch.optim.SGD}}
  net.layers: {type: int, low: 1, high: 4}
  batch_size: {choices: [8, 16]}
"""


@pytest.fixture(autouse=True)
def _granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of Python's own that stand in for components."""
    monkeypatch.setenv(import_policy.VARIABLE, "tests,builtins,collections,math,operator")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module where `main.py` would look for it; returns its name, new each time."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = []

    def write(source: str) -> str:
        names.append(f"mine_{next(_numbers)}")
        (tmp_path / f"{names[-1]}.py").write_text(source)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


class StudyFiles:
    """A study's file and its run's, in a folder of their own and with slips where a test wants them."""

    def __init__(self, folder: Path) -> None:
        self.study, self.run = folder / "opt.yaml", folder / "run.yaml"
        self.run.write_text(RUN)

    def read(self, written: str = "", instead: str = "", overrides: Sequence[str] = ()) -> OptimizeConfig:
        """The config, one text of the study's file put in the place of another."""
        assert not written or STUDY.count(written) == 1
        self.study.write_text(STUDY.replace(written, instead) if written else STUDY)
        return OptimizeConfig.from_yaml(self.study, overrides)

    def problems(self, written: str = "", instead: str = "", overrides: Sequence[str] = ()) -> list[str]:
        """What reading, or else the check, finds; without the folder's name."""
        with pytest.raises(ConfigError) as caught:
            self.read(written, instead, overrides).check()
        return [str(problem).replace(f"{self.study.parent}/", "") for problem in caught.value.problems]


@pytest.fixture
def study(tmp_path: Path) -> StudyFiles:
    """A sound study on a small network."""
    return StudyFiles(tmp_path)
