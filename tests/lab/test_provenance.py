import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lab import provenance, rundir
from lab.provenance import collect, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "model.py").write_text("width = 64\n")
    (folder / ".gitignore").write_text("runs/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_project_is_its_commit(project: Path) -> None:
    (project / "runs").mkdir()
    (project / "runs" / "ignored").touch()
    assert git_state(project) == {
        "commit": git(project, "rev-parse", "HEAD"),
        "branch": "trunk",
        "dirty": False,
        "diff": "",
        "diff_cut": False,
        "untracked": [],
        "untracked_count": 0,
    }


def test_the_diff_brings_the_code_back(project: Path, tmp_path: Path) -> None:
    (project / "model.py").write_text("width = 128\n")
    (project / "new.py").write_text("staged = True\n")
    git(project, "add", "new.py")
    (project / "ünversioned file.txt").touch()
    state = git_state(project)
    assert state is not None
    assert state["dirty"] and state["untracked"] == ["ünversioned file.txt"] and state["untracked_count"] == 1
    git(tmp_path, "clone", "-q", "project", "copy")
    (tmp_path / "patch").write_text(state["diff"])
    git(tmp_path / "copy", "checkout", "-q", state["commit"])
    git(tmp_path / "copy", "apply", "../patch")
    assert (tmp_path / "copy" / "model.py").read_text() == "width = 128\n"
    assert (tmp_path / "copy" / "new.py").read_text() == "staged = True\n"


def test_an_untracked_file_alone_is_dirty(project: Path) -> None:
    (project / "new.py").touch()
    state = git_state(project)
    assert state is not None and state["dirty"] and state["diff"] == ""


def test_the_user_s_settings_of_git_change_nothing(project: Path) -> None:
    git(project, "config", "color.ui", "always")
    git(project, "config", "diff.external", "false")
    git(project, "config", "status.showUntrackedFiles", "no")
    (project / "model.py").write_text("width = 128\n")
    (project / "new.py").touch()
    state = git_state(project)
    assert state is not None and state["untracked"] == ["new.py"]
    assert state["diff"].endswith("-width = 64\n+width = 128\n")


def test_a_hook_of_another_repository_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(project, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(project.parent / "another"))
    state = git_state(project)
    assert state is not None and state["commit"] == commit


def test_a_secret_in_a_changed_file_is_hidden(project: Path) -> None:
    (project / "model.py").write_text("width = 64\nAPI_KEY = 'abc123'\n")
    state = git_state(project)
    assert state is not None and "abc123" not in state["diff"] and "+API_KEY = '***'" in state["diff"]


def test_a_huge_diff_is_cut_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF", 100)
    monkeypatch.setattr(provenance, "MAX_UNTRACKED", 2)
    (project / "model.py").write_text("x = 1\n" * 100)
    for number in range(3):
        (project / f"{number}.txt").touch()
    state = git_state(project)
    assert state is not None and len(state["diff"]) == 100 and state["diff_cut"]
    assert state["untracked"] == ["0.txt", "1.txt"] and state["untracked_count"] == 3


def test_a_folder_within_a_repository_sees_its_own_changes(project: Path) -> None:
    inner = project / "inner"
    inner.mkdir()
    (project / "model.py").write_text("changed outside\n")
    state = git_state(inner)
    assert state is not None and not state["dirty"] and state["commit"] == git(project, "rev-parse", "HEAD")


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "a.py")
    state = git_state(tmp_path)
    assert state is not None
    assert state["commit"] is None and state["branch"] == "trunk" and state["dirty"]


def test_a_detached_head_has_its_commit(project: Path) -> None:
    git(project, "checkout", "-q", "--detach")
    state = git_state(project)
    assert state is not None and state["branch"] == "(detached)" and len(state["commit"]) == 40


def test_no_repository_no_git_and_a_slow_git_are_none(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "absent") is None
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setattr(provenance, "_PATIENCE", 0.2)
    monkeypatch.setenv("PATH", f"{slow}{os.pathsep}{os.environ['PATH']}")
    assert git_state(project) is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert git_state(project) is None
    assert collect(["main.py"], 0, "cpu", project)["git"] is None


def test_the_record_is_plain_data_and_complete(project: Path) -> None:
    command = ["python", "main.py", "--set", "trackers.0.api_key=abc"]
    record = collect(command, 7, "cpu", project)
    assert json.loads(rundir.to_json(record)) == record
    assert record["command"] == [*command[:3], "trackers.0.api_key=***"]
    assert (record["seed"], record["device"], record["gpu"]) == (7, "cpu", None)
    assert record["python"] == platform.python_version() and record["folder"] == str(project)
    for name in ("torch", "numpy", "optuna", "pydantic"):
        assert record["packages"][name] == importlib.metadata.version(name)
    assert 1 <= record["cpus"] <= (os.cpu_count() or 1) and record["processor"]


def test_settings_of_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    environment = collect([], 0, "cpu")["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "3" and "WANDB_API_KEY" not in environment


def test_no_package_is_imported_to_learn_its_version() -> None:
    code = (
        "import sys; from lab.provenance import collect; collect([], 0, 'cuda:0');"
        "print({'torch', 'numpy', 'optuna', 'pydantic', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_gpu_is_named_where_torch_is_loaded() -> None:
    import torch

    gpu = collect([], 0, "cuda")["gpu"]
    if not torch.cuda.is_available():
        assert gpu is None
    else:
        assert gpu["name"] == torch.cuda.get_device_name(0) and gpu["memory_bytes"] > 0
