"""The form of printed commands; that each works is tried in tests/test_commands.py."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from lab.console import shell_commands


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a blank and a quote, an environment in it, and a path that knows nothing of it."""
    home = tmp_path / "bob's work"
    folder = home / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "python3", "wandb"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    (home / "elsewhere").mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(shell_commands, "MAIN", home / "main.py")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(home)
    return home


def test_in_the_folder_of_the_program(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell_commands.main("--run", Path("a b.yaml")) == ".venv/bin/python main.py --run 'a b.yaml'"
    assert shell_commands.tool("wandb", "sync") == ".venv/bin/wandb sync"
    monkeypatch.setenv("PATH", str(machine / ".venv" / "bin"))
    assert shell_commands.main("--list") == "python main.py --list"
    assert shell_commands.tool("wandb", "sync", Path("it's")) == """wandb sync 'it'"'"'s'"""
    assert shell_commands.install("onnx") == "python -m pip install onnx"


def test_in_another_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine / "elsewhere")
    words = shlex.split(shell_commands.main("--resume", machine / "elsewhere" / "runs" / "r 1"))
    assert words == [f"{machine}/.venv/bin/python", f"{machine}/main.py", "--resume", "runs/r 1"]
    assert shlex.split(shell_commands.tool("wandb", "login")) == [f"{machine}/.venv/bin/wandb", "login"]
    assert shlex.split(shell_commands.anywhere("x"))[:3] == ["cd", f"{machine}/elsewhere", "&&"]


def test_a_name_of_another_python_or_tool_is_not_taken(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside python3 there may be a python of version 2, and W&B of another environment in the path."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("python", "wandb", "tensorboard"):
        (other / name).write_text("#!/bin/sh\n")
        (other / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert shell_commands.main() == ".venv/bin/python main.py"
    assert shell_commands.tool("wandb", "sync") == ".venv/bin/wandb sync"
    assert shell_commands.tool("tensorboard") == "tensorboard", "this environment has none"
    monkeypatch.setattr(sys, "executable", str(machine / ".venv" / "bin" / "python3"))
    monkeypatch.setenv("PATH", str(machine / ".venv" / "bin"))
    assert shell_commands.main() == "python3 main.py"


def test_a_tool_that_is_nowhere_is_run_as_a_module(machine: Path) -> None:
    assert shell_commands.tool("optuna") == ".venv/bin/python -m optuna"


def test_a_path_that_looks_like_an_option(machine: Path) -> None:
    assert shell_commands.typed(Path("-run")) == "./-run"
    assert shell_commands.typed(machine) == "." and shell_commands.typed(machine.parent) == str(
        machine.parent
    )
    assert shell_commands.typed(Path("elsewhere/../runs")) == "elsewhere/../runs", "elsewhere may be a link"


def test_a_record_is_read_here_as_it_works_here(machine: Path) -> None:
    kept = shell_commands.recorded(["--optimize", "my study.yaml"])
    assert kept == ["python", "main.py", "--optimize", "my study.yaml"]
    assert shell_commands.again(kept) == ".venv/bin/python main.py --optimize 'my study.yaml'"
    assert shell_commands.again(["mine.py", "a b"]) == "mine.py 'a b'"


def test_settings_and_tunnels(machine: Path) -> None:
    assert shlex.split(shell_commands.setting("data.root", "my data/set")) == [
        "--set",
        "data.root=my data/set",
    ]
    assert shell_commands.tunnel(99) == "ssh -L 99:127.0.0.1:99 MACHINE"


def test_where_the_current_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert shell_commands.typed(Path("/runs/a")) == "/runs/a"
        assert shell_commands.main("--list").endswith("main.py --list")
    finally:
        os.chdir(tmp_path)
