"""The record of whole runs, started from a folder of the user's own that is under git."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.git_tools import alone, git, repository

ROOT = Path(__file__).parent.parent
Command = Callable[..., str]
MINE = """
import torch
from torch.utils.data import Dataset


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(1, 1)


class Rows(Dataset):
    def __init__(self, count, lazy):
        self.count, self.lazy = count, lazy

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.lazy:
            import lazily  # only once the first sample is asked for
        x = torch.tensor([index / self.count])
        return x, 2 * x


def data(lazy: bool = False):
    return Rows(12, lazy), Rows(6, lazy)
"""
RUN = """
# why this run: the-reason-55
name: recorded
data: mine.data   # token: abc123def456
net: mine.Net
epochs: 1
batch_size: 6
device: cpu
threads: 1
trackers: []
pictures: {enabled: false}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's repository, with a change since its commit."""
    alone(monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve()))
    folder = repository(tmp_path.resolve() / "project", mine__py=MINE, run__yaml=RUN)
    (folder / "mine.py").write_text(MINE + "CHANGED = 'the-change-77'\n")
    return folder


def main(folder: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run `python main.py …` in a folder, and return what it prints."""
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH", "LAB_ALLOW_IMPORT", "LAB_MODULES")
    ours = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=folder,
        env={**ours, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def record(folder: Path, pattern: str = "runs/*") -> tuple[dict[str, Any], Path]:
    [run] = folder.glob(f"{pattern}/provenance.json")
    return json.loads(run.read_bytes()), run.parent


def entries(data: dict[str, Any], part: int = -1) -> tuple[dict[str, Any], dict[str, Any]]:
    """A part's repositories by folder, and modules by name, with texts for keys."""
    repositories, modules = {}, {}
    for each in data["parts"][part]["repositories"]:
        repositories[each["folder"]] = {**each, "diff": data["texts"].get(each["diff"], each["diff"])}
    for each in data["parts"][part]["code"]:
        modules[each["module"]] = {**each, "text": data["texts"].get(each["text"])}
    return repositories, modules


def everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_run_resumed_after_an_edit_keeps_what_each_part_was_trained_with(project: Path) -> None:
    main(project, "--run", "run.yaml")
    first, run = record(project)
    head = git(project, "rev-parse", "HEAD")
    repositories, modules = entries(first)
    assert repositories[str(project)]["commit"] == head and repositories[str(project)]["dirty"]
    assert "+CHANGED = 'the-change-77'" in repositories[str(project)]["diff"]
    assert repositories[str(project)]["modules"] == ["mine"] and modules["mine"]["named"]
    assert modules["mine"]["text"] == (project / "mine.py").read_text()
    tool = first["parts"][0]["tool"]
    assert tool["commit"] == first["git"]["commit"] == git(ROOT, "rev-parse", "HEAD")
    assert tool["folder"] == str(ROOT) and first["folder"] == str(project)
    yaml = first["texts"][first["parts"][0]["yaml"]]
    assert yaml == RUN.replace("abc123def456", "'***'")
    assert (run / "provenance.json").stat().st_mode & 0o777 == 0o600

    (project / "mine.py").write_text(MINE + "CHANGED = 'another-88'\n")
    git(project, "commit", "-q", "-a", "-m", "second")
    main(project, "--resume", str(run), "--set", "epochs=2")
    data, _ = record(project)
    assert data["parts"][0] == first["parts"][0] and len(data["parts"]) == 2
    assert data["texts"].items() >= {key: first["texts"][key] for key in (first["parts"][0]["yaml"],)}.items()
    before, after = entries(data, 0)[0][str(project)], entries(data, 1)[0][str(project)]
    assert (before["commit"], after["commit"]) == (head, git(project, "rev-parse", "HEAD"))
    assert "the-change-77" in before["diff"] and after["diff"] == "" and not after["dirty"]
    assert entries(data, 1)[1]["mine"]["committed"]
    assert [part["first_epoch"] for part in data["parts"]] == [1, 2]
    assert data["parts"][1]["command"][2:] == ["--resume", str(run), "--set", "epochs=2"]
    assert data["parts"][1]["packages"]["torch"] and data["parts"][1]["yaml"] is None


def test_no_tracker_gets_code_and_later_imports_are_added(project: Path) -> None:
    (project / "lazily.py").write_text("LATE = 'the-late-module-33'\n")
    (project / "mine.py").write_text(MINE + "CHANGED = 'the-change-77'\n")
    trackers = "trackers=[{type: wandb, mode: offline}, {type: tensorboard}]"
    main(project, "--run", "run.yaml", "--set", "data.lazy=true", "--set", trackers)
    data, run = record(project)
    _, modules = entries(data)
    assert (
        not modules["lazily"]["edited"] and modules["lazily"]["text"] == (project / "lazily.py").read_text()
    )
    assert not modules["mine"]["edited"]
    for mirror in ("wandb", "tensorboard"):
        content = everything_below(run / mirror)
        assert len(content) > 300
        for secret in (b"the-change-77", b"the-late-module-33", b"the-reason-55"):
            assert secret not in content, (mirror, secret)
    others = [path for path in run.iterdir() if path.is_file() and path.name != "provenance.json"]
    assert others and not any(b"the-change-77" in path.read_bytes() for path in others)


def test_git_that_refuses_is_named_on_the_console_and_in_the_record(project: Path) -> None:
    printed = main(project, "--run", "run.yaml", "--quiet", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    [line] = [line for line in printed.splitlines() if line.startswith(f"Warning: {project}: ")]
    assert "dubious ownership" in line and "safe.directory" in line and "mine" in line
    data, run = record(project)
    repositories, modules = entries(data)
    assert (repositories[str(project)]["commit"], repositories[str(project)]["missing"]) == (None, "refused")
    assert "the-change-77" in modules["mine"]["text"] and len(data["parts"][0]["tool"]["digest"]) == 64
    assert "dubious ownership" in (run / "events.jsonl").read_text()


def test_without_a_repository_the_text_is_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve()))
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "run.yaml").write_text(RUN)
    printed = main(tmp_path, "--run", "run.yaml", "--set", "seeds=[1,2]")
    assert printed.count("in no git repository: mine;") == 1 and "Warning" not in printed
    for seed in (1, 2):
        data, _ = record(tmp_path, f"runs/*/seed_{seed}")
        assert entries(data)[1]["mine"]["text"] == MINE and data["seed"] == seed


@pytest.mark.parametrize("isolation", ["process", pytest.param("none", marks=pytest.mark.slow)])
def test_a_study_names_what_it_lacks_once_and_each_trial_has_a_record(project: Path, isolation: str) -> None:
    study = (
        "study_name: s\nrun: run.yaml\nn_trials: 2\nsearch_space: {optimizer.lr: {choices: [0.1, 0.01]}}\n"
        f"isolation: {isolation}\npreflight: 'off'\n"
    )
    (project / "study.yaml").write_text(study)
    printed = main(project, "--optimize", "study.yaml", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert printed.count("dubious ownership") == 2  # of the project's, and of the program's
    assert printed.count(f"{project}: the commit can't be recorded") == 1
    for trial in ("trial_00000", "trial_00001"):
        data, _ = record(project, f"studies/s/{trial}")
        repositories, modules = entries(data)
        assert repositories[str(project)]["missing"] == "refused"
        assert "the-change-77" in modules["mine"]["text"]
