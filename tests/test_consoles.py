"""The real command on consoles that can write little, are narrow, or go away."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml

from tests import study_tools as tools
from tests.terminal import read_to_end

MAIN = tools.ROOT / "main.py"
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
RUN = {
    "project": "größe ≥ 3", "name": "t", "epochs": 3, "device": "cpu", "pictures": {"enabled": False},
    "data": {"target": "lab.data.function", "train_count": 64, "val_count": 32},
    "net": {"target": "model.MLP", "layers": 1, "width": 8}, "batch_size": 16,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a run's file."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN, allow_unicode=True), encoding="utf-8")
    return tmp_path


def command(place: Path, text: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """A command of bash, in which `lab` is this project's."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    lab = f'lab() {{ "{sys.executable}" "{MAIN}" "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", lab + text], cwd=place, env=env, capture_output=True, timeout=120, check=False
    )


def outcomes(place: Path) -> list[str]:
    found = sorted([*place.glob("runs/*/summary.json"), *place.glob("studies/*/trial_*/summary.json")])
    return [json.loads(path.read_text(encoding="utf-8"))["outcome"] for path in found]


def test_a_run_whose_readers_leave_goes_on_to_its_end(place: Path) -> None:
    done = command(place, "lab --run run.yaml 2>&1 | head -1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Run ") and outcomes(place) == ["completed"]
    listed = command(place, "lab --list --json | cat", PYTHONIOENCODING="ascii")
    (row,) = json.loads(listed.stdout)
    assert row["project"] == "größe ≥ 3" and listed.stdout.isascii()
    shown = command(
        place, "lab --run run.yaml --print-config; lab --list --project 'größe ≥ 3' >&-", **C_LOCALE
    )
    assert (shown.returncode, shown.stderr) == (0, b"") and shown.stdout.isascii()
    assert yaml.safe_load(shown.stdout)["project"] == "größe ≥ 3", "YAML keeps its values, too"


def test_a_study_on_ascii_whose_trials_print_what_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        'import model, warnings\nprint("größer ≥ 3")\nwarnings.warn("Maß …")\n'
        'class Net(model.MLP):\n    def forward(self, x):\n        print("é")\n'
        "        return super().forward(x)\n",
        encoding="utf-8",
    )
    file = tools.study_file(tmp_path, n_trials=2, **{"run.net.target": "mine.Net"})
    done = command(tmp_path, f"lab --optimize {file.name}", **C_LOCALE)
    assert done.returncode == 0 and done.stdout.isascii() and done.stderr.isascii()
    assert b"1/2 done - best " in done.stdout and outcomes(tmp_path) == ["completed"] * 2
    console = (tmp_path / "studies/small/trial_00001/console.log").read_text(encoding="utf-8")
    assert "é\n" in console, "a file keeps all signs"


def on_terminal(place: Path, columns: int, *arguments: str, **environment: str) -> str:
    """Run the command on a terminal of a width, and return what it is sent."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    env.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, str(MAIN), *arguments], cwd=place, env=env, stdin=follower, stdout=follower,
        stderr=follower,
    )  # fmt: skip
    os.close(follower)
    seen = read_to_end(leader)
    assert process.wait(60) == 0, seen
    return seen.decode()


def test_a_narrow_terminal_and_a_dumb_one(place: Path) -> None:
    seen = on_terminal(place, 30, "--run", "run.yaml", TERM="xterm")
    bars = [part for part in re.split(r"[\r\n]+", seen) if re.search(r"^\d/\d Epoch", part)]
    assert bars and all(len(bar) < 30 for bar in bars)
    dumb = on_terminal(place, 30, "--run", "run.yaml", TERM="dumb", NO_COLOR="1")
    lines = dumb.replace("\r\n", "\n")
    assert "\r" not in lines and "\x1b" not in lines and lines.count("Epoch ") == 3
    table = on_terminal(place, 30, "--list", TERM="xterm").replace("\r\n", "\n").split("\n")
    assert max(map(len, table)) <= 30 and any(line.startswith("run") for line in table)
    tiny = on_terminal(place, 9, "--list", TERM="xterm")
    assert "outcome   completed\r\n" in tiny, "a line a cell, which the terminal itself breaks"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["--run run.yaml", "--optimize opt.yaml", "--check run.yaml"])
@pytest.mark.parametrize(
    "streams",
    [
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        ">/dev/full 2>/dev/full",
        "2>&1 | true; exit ${PIPESTATUS[0]}",
    ],
)
def test_all_kinds_of_streams(place: Path, verb: str, streams: str) -> None:
    tools.study_file(place, n_trials=2)
    done = command(place, f"lab {verb} {streams}")
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"xception" not in done.stderr
    assert outcomes(place) == ["completed"] * {"--r": 1, "--o": 2, "--c": 0}[verb[:3]]
