"""Modules of a user's own: found in the current folder and beside a YAML below it, and nowhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.config import ConfigError, import_policy, module_locations
from lab.config.import_target import resolve

MAIN = Path(__file__).parents[3] / "main.py"
MINE = """
import torch
from torch.utils.data import TensorDataset
import helper  # beside it, too


def data():
    x = torch.arange(12.0).view(12, 1)
    return TensorDataset(x, 2 * x), TensorDataset(x, 2 * x)


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(1, 1)
"""
RUN = """
data: mine.data
net: mine.Net
epochs: 1
batch_size: 6
device: cpu
threads: 1
pictures: {enabled: false}
"""
STUDY = """
study_name: s
run: run.yaml
n_trials: 2
search_space: {optimizer.lr: {choices: [0.1, 0.01]}}
"""
SHADOWS = ("random", "torch", "numpy", "signal", "yaml", "optuna", "tempfile", "lab")


def place(folder: Path, below: str = ".") -> Path:
    """A user's folder: a config with its modules, and names of Python's and of packages beside them."""
    home = folder / below
    home.mkdir(parents=True, exist_ok=True)
    (home / "mine.py").write_text(MINE)
    (home / "helper.py").write_text("")
    (home / "run.yaml").write_text(RUN)
    (home / "study.yaml").write_text(STUDY)
    for name in SHADOWS:
        for where in {folder, home}:
            (where / f"{name}.py").write_text("raise SystemExit('imported in place of the real one')\n")
    return home


def main(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH", module_locations.VARIABLE, import_policy.VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.run(
        [sys.executable, str(MAIN), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of this process, and Python's path as it was before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(module_locations, "_appended", [])
    monkeypatch.setenv(module_locations.VARIABLE, "")
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    return tmp_path


def test_a_run_whose_modules_lie_beside_its_yaml_below_the_current_folder(tmp_path: Path) -> None:
    place(tmp_path, "exp")
    done = main(tmp_path, "--run", "exp/run.yaml", "--set", "loader.workers=1")
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = (tmp_path / "runs").iterdir()
    assert json.loads((run / "provenance.json").read_text())["modules"] == ["exp"]


@pytest.mark.slow
@pytest.mark.parametrize("below", [".", "exp"])
def test_every_verb_finds_them(tmp_path: Path, below: str) -> None:
    place(tmp_path, below)
    commands = [
        ["--check", f"{below}/run.yaml"],
        ["--run", f"{below}/run.yaml", "--set", "seeds=[1,2]"],
        ["--evaluate", "RUN/seed_1", "--split", "val"],
        ["--resume", "RUN", "--set", "epochs=2"],
        ["--check", f"{below}/study.yaml"],
        ["--optimize", f"{below}/study.yaml"],
        ["--optimize", f"{below}/study.yaml", "--set", "n_trials=3", "--set", "isolation=none"],
    ]
    for command in commands:
        runs = [str(path) for path in tmp_path.glob("runs/*")]
        done = main(tmp_path, *(part.replace("RUN", runs[0] if runs else "") for part in command))
        assert done.returncode == 0, (command, done.stdout + done.stderr)


def test_one_beside_a_yaml_elsewhere_stays_closed(tmp_path: Path) -> None:
    place(tmp_path / "theirs")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "theirs")
    for path in ("../theirs/run.yaml", str(tmp_path / "theirs" / "run.yaml"), "link/run.yaml"):
        done = main(tmp_path / "here", "--run", path)
        assert done.returncode == 2
        assert "there is no module 'mine' beside main.py, in the current folder or installed" in done.stderr


def test_what_is_opened(here: Path) -> None:
    for name in ("a/b", "runs/old", "kept/inner", "..x"):
        (here / name).mkdir(parents=True)
    (here / "kept" / "summary.json").write_text("{}")
    for yaml, opened in [
        ("a/run.yaml", ["a"]), ("a/b/run.yaml", ["a/b"]), ("run.yaml", []), (None, []), ("a/../run.yaml", []),
        ("runs/old/config.yaml", []), ("kept/run.yaml", []), ("kept/inner/run.yaml", []), ("../run.yaml", []),
        ("none/run.yaml", []), ("..x/run.yaml", ["..x"]),
    ]:  # fmt: skip
        module_locations.open_homes(yaml)
        assert module_locations.below() == opened, yaml
        assert module_locations.homes() == [
            module_locations.PROJECT,
            here.resolve(),
            *(here.resolve() / name for name in opened),
        ]
        assert sys.path[-1 - len(opened) :] == [str(here.resolve()), *(str(here / name) for name in opened)]


def test_a_runs_record_opens_only_what_was_opened_here(here: Path) -> None:
    (here / "exp").mkdir()
    for run, modules, opened in [
        ("runs/one", ["exp"], ["exp"]), ("runs/two", ["runs/two"], []), ("runs/three", ["/"], []),
        ("runs/four", ["../"], []), ("runs/five", "exp", []), ("sent/runs/one", ["exp"], []),
        ("studies/s/trial_0", ["exp", "exp"], ["exp"]), ("runs/six", [["exp"]], []),
    ]:  # fmt: skip
        (here / run).mkdir(parents=True)
        (here / run / "provenance.json").write_text(json.dumps({"modules": modules}))
        module_locations.open_homes()
        assert module_locations.open_as_recorded(Path(run)) == Path(run)
        assert module_locations.below() == opened, run


def test_two_modules_of_one_name_are_refused(here: Path) -> None:
    module_locations.open_homes()
    (here / "model.py").write_text("class Net: ...\n")
    with pytest.raises(ConfigError, match=r"'model' may be either of .*model\.py and .*: rename yours"):
        resolve("model.MLP")
    (here / "model.py").write_bytes(
        (module_locations.PROJECT / "model.py").read_bytes()
    )  # a copy of the project
    assert callable(resolve("model.MLP"))


def test_one_that_an_installed_module_hides_is_named(here: Path) -> None:
    module_locations.open_homes()
    (here / "colorsys.py").write_text("def net(): ...\n")
    with pytest.raises(ConfigError, match=r"colorsys\.py isn't it, for an installed module has"):
        resolve("colorsys.net")
