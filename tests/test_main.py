"""The commands of the README, each as a real process: what it prints, what it leaves, its exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import checkpoint
from lab.store import run_folder

ROOT = Path(__file__).parent.parent
CONFIG = """\
project: demo
name: small
epochs: 2
batch_size: 16
device: cpu
data: {target: lab.data.function, train_count: 48, val_count: 16}
net: {target: model.MLP, width: 8, layers: 1}
metrics: {mae: lab.metrics.MAE}
"""
OWN = """\
import time
from torch import nn
from torch.utils.data import ConcatDataset
from lab.data import function

class Slow(nn.Linear):
    def forward(self, x):
        time.sleep(0.005)
        return super().forward(x)

class Fails(nn.Linear):
    def forward(self, x):
        raise KeyError("a mistake of my own")

def rows(**options):
    return tuple(ConcatDataset([data]) for data in function(**options)[:2])  # read row by row, by workers
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), *arguments]


def environment(folder: Path) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "WANDB_API_KEY": "", "PYTHONPATH": str(folder)}
    return {**os.environ, **own, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache")}


def main(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )


def prepared(folder: Path) -> Path:
    (folder / "run.yaml").write_text(CONFIG)
    (folder / "own.py").write_text(OWN)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a config and a module of the user's own."""
    return prepared(tmp_path)


def only(folder: Path) -> Path:
    (run,) = (path for path in (folder / "runs").iterdir() if path.is_dir())
    return run


def summary(run: Path) -> dict[str, Any]:
    found = run_folder.read_summary(run)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, str]:
    """Two finished runs, their names, and what the first printed; a test that changes them takes a copy."""
    folder = prepared(tmp_path_factory.mktemp("main"))
    first = main(folder, "--run", "run.yaml")
    assert first.returncode == 0, first.stderr
    a = only(folder).name
    other = ("--set", "optimizer.lr=1e-2", "--set", "project=other")
    second = main(folder, "--run", "run.yaml", *other, "--no-plots", "--quiet")
    assert second.returncode == 0, second.stderr
    (b,) = {path.name for path in (folder / "runs").iterdir()} - {a}
    return folder, a, b, first.stdout


def copied(runs: tuple[Path, str, str, str], target: Path) -> Path:
    shutil.copytree(runs[0], target, dirs_exist_ok=True)
    return target


def test_run_shows_it_happening_and_leaves_what_it_says(runs: tuple[Path, str, str, str]) -> None:
    folder, a, b, printed = runs
    lines = printed.splitlines()
    assert lines[0] == f"Run      runs/{a}  (seed 0)"
    assert [line.split()[0] for line in lines[3:5]] == ["Epoch", "Epoch"]
    assert lines[5].startswith("Completed. 2 epochs in ")
    for line in lines[8:]:
        assert (folder / line[13:]).is_file(), line
    left = {str(path.relative_to(folder / "runs" / a)) for path in (folder / "runs" / a).rglob("*")}
    assert left >= {
        "config.yaml", "metrics.csv", "events.jsonl", "provenance.json", "summary.json", "history.png",
        "predictions.png", "checkpoints/last.pt", "checkpoints/best.pt", "checkpoints/final.pt",
    }  # fmt: skip
    assert summary(folder / "runs" / a)["outcome"] == "completed"
    assert summary(folder / "runs" / b)["config"]["optimizer"]["lr"] == 0.01  # --set
    assert not list((folder / "runs" / b).glob("*.png"))  # --no-plots
    provenance = json.loads((folder / "runs" / a / "provenance.json").read_text())
    assert "--run run.yaml" in " ".join(provenance["command"])


def test_list(runs: tuple[Path, str, str, str]) -> None:
    folder, a, b, _ = runs
    done = main(folder, "--list", "--sort", "val_mae")
    assert done.returncode == 0 and done.stderr == ""
    best = {name: summary(folder / "runs" / name)["best"]["val_mae"] for name in (a, b)}
    rows = [line for line in done.stdout.splitlines() if "completed" in line]
    assert [row.split()[0] for row in rows] in (
        sorted(best, key=best.__getitem__),
        sorted(best, key=lambda n: -best[n]),
    )
    assert all(f"{best[name]:.4f}" in row for name in best for row in rows if row.startswith(name))
    ascending = main(folder, "--list", "--sort", "val_mae", "--ascending").stdout
    rows = [line.split()[0] for line in ascending.splitlines() if "completed" in line]
    assert rows == sorted(best, key=best.__getitem__)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "ab"),
        (["--where", "optimizer.lr=1e-2"], "b"),
        (["--where", "optimizer.lr=1e-2", "--where", "net.width=9"], ""),
        (["--project", "demo", "--outcome", "completed"], "a"),
        (["--outcome", "failed"], ""),
    ],
)
def test_list_as_json(runs: tuple[Path, str, str, str], arguments: list[str], found: str) -> None:
    folder, a, b, _ = runs
    done = main(folder, "--list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    names = {"a": a, "b": b}
    assert {row["run_id"] for row in json.loads(done.stdout)} == {names[letter] for letter in found}


def test_compare(runs: tuple[Path, str, str, str]) -> None:
    folder, a, b, _ = runs
    done = main(folder, "--compare", a, f"runs/{b}")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("optimizer.lr"))
    assert line.split() == ["optimizer.lr", "0.001", "0.01"]
    (picture,) = (folder / "runs").glob("*.png")
    assert picture.name in done.stdout and picture.stat().st_size > 1000


@pytest.mark.parametrize(
    "named",
    [
        "folder",
        pytest.param("name", marks=pytest.mark.slow),
        pytest.param("beginning", marks=pytest.mark.slow),
    ],
)
def test_resume_extends(runs: tuple[Path, str, str, str], tmp_path: Path, named: str) -> None:
    a = runs[1]
    place = copied(runs, tmp_path)
    (place / "runs" / runs[2]).rename(place / "runs" / f"other_{runs[2]}")
    given = {"folder": f"runs/{a}", "name": a, "beginning": a[:-1]}[named]
    done = main(place, "--resume", given, "--set", "epochs=4", "--no-plots")
    assert done.returncode == 0, done.stderr
    assert f"Run      runs/{a}  (seed 0, continuing at epoch 3)" in done.stdout.splitlines()
    assert "epochs: 2 -> 4" in done.stdout
    run = place / "runs" / a
    assert (summary(run)["epochs"], summary(run)["outcome"]) == (4, "completed")
    assert checkpoint.load(run / "checkpoints" / "final.pt")["course"]["epoch"] == 4
    assert (run / "metrics.csv").read_text().count("\n") == 5
    assert len(list((place / "runs").iterdir())) == len(list((runs[0] / "runs").iterdir()))


def test_resume_with_another_network_is_refused(runs: tuple[Path, str, str, str], tmp_path: Path) -> None:
    place = copied(runs, tmp_path)
    done = main(place, "--resume", runs[1], "--set", "net.width=9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "--set net.width=9: net.width: the checkpoint" in done.stderr
    assert "has 8, the config has 9" in done.stderr
    assert summary(place / "runs" / runs[1]) == summary(runs[0] / "runs" / runs[1])


def test_resume_with_damaged_checkpoints_says_so(runs: tuple[Path, str, str, str], tmp_path: Path) -> None:
    place = copied(runs, tmp_path)
    for path in (place / "runs" / runs[1] / "checkpoints").glob("*.pt"):
        path.write_bytes(b"damaged")
    done = main(place, "--resume", runs[1])
    assert done.returncode == 2
    assert "last.pt: is truncated, or not a checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


def test_quiet(place: Path) -> None:
    done = main(place, "--run", "run.yaml", "--quiet", "--no-plots")
    assert done.returncode == 0 and done.stderr == ""
    best = summary(only(place))["best"]["val_loss"]
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("Completed. 2 epochs")
    assert lines[1].startswith("Best     epoch ") and f"val_loss {best:.4f}" in lines[1]
    assert lines[2].startswith("Training finished. Final validation loss: ")


def test_json_and_nothing_else(place: Path) -> None:
    """With seeds, pictures and every shipped tracker, whatever those have to say."""
    done = main(
        place, "--run", "run.yaml", "--json",
        "--set", "seeds=[3, 4]",
        "--set", "trackers=[{type: wandb, mode: offline}, {type: tensorboard}]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [line["event"] for line in lines if line["event"] != "note"]
    assert kinds == [*["run_start", "epoch", "epoch", "run_end"] * 2, "seeds_end"]
    ends = [line["value"] for line in lines if line["event"] == "run_end"]
    assert lines[-1]["value"] == pytest.approx(sum(ends) / 2) == summary(only(place))["value"]


def test_check(place: Path) -> None:
    done = main(place, "--check", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Ready to run.\n") and "(whole) MLP" in done.stdout
    fails = "net={target: own.Fails, in_features: 1, out_features: 1}"
    bad = main(place, "--check", "run.yaml", "--json", "--set", fails)
    assert bad.returncode == 1
    report = json.loads(bad.stdout)
    assert report["passed"] is False
    (fault,) = report["faults"]
    assert "KeyError: 'a mistake of my own' (own.py:13); input 16x1 float32, target 16x1 float32" in fault
    assert not (place / "runs").exists()


def test_diverged(place: Path) -> None:
    done = main(
        place, "--run", "run.yaml", "--no-plots", "--set", "optimizer={target: torch.optim.SGD, lr: 1e+30}"
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    found = summary(only(place))
    assert found["outcome"] == "diverged" and "of epoch 1" in found["reason"]
    assert f"Stopping: {found['reason']}" in done.stdout.splitlines()


def test_failed(place: Path) -> None:
    done = main(
        place, "--run", "run.yaml", "--set", "net={target: own.Fails, in_features: 1, out_features: 1}"
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "net: the first training batch failed: KeyError: 'a mistake of my own' (own.py:13)" in done.stderr
    found = summary(only(place))
    assert (found["outcome"], found["reason"]) == ("failed", "KeyError: 'a mistake of my own'")
    text = (only(place) / "traceback.txt").read_text()
    assert 'own.py", line 13, in forward' in text and "KeyError: 'a mistake of my own'" in text


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(place: Path) -> list[str]:
    files = list((place / "runs").glob("*/metrics.csv"))
    return files[0].read_text().splitlines()[1:] if files else []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGHUP, 129),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_stopped_from_outside(place: Path, number: signal.Signals, code: int) -> None:
    """As a terminal does, with the signal to the whole group: the loader's workers too."""
    slow = "net={target: own.Slow, in_features: 1, out_features: 1}"
    endless = command(
        "--run", "run.yaml", "--no-plots",
        "--set", slow, "--set", "epochs=10000",
        "--set", "data.target=own.rows", "--set", "loader.workers=1",
    )  # fmt: skip
    process = subprocess.Popen(
        endless,
        cwd=place,
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len(rows(place)) >= 3)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    run = only(place)
    assert process.returncode == code and "Traceback" not in err, err
    found = summary(run)
    done = found["epochs"]
    assert found["outcome"] == "interrupted" and done >= 3 and len(rows(place)) == done
    assert f"--resume runs/{run.name}" in out
    # The signal may come after the epoch's row and before its checkpoint: then the epoch is done again.
    assert checkpoint.load(run / "checkpoints" / "last.pt")["course"]["epoch"] in (done - 1, done)
    again = main(place, "--resume", run.name, "--set", f"epochs={done + 1}", "--quiet")
    assert again.returncode == 0, again.stderr
    assert (summary(run)["outcome"], summary(run)["epochs"]) == ("completed", done + 1)
    assert [int(row.split(",")[0]) for row in rows(place)] == list(range(1, done + 2))


def test_a_second_process_in_the_same_run_is_refused(
    runs: tuple[Path, str, str, str], tmp_path: Path
) -> None:
    place = copied(runs, tmp_path)
    with run_folder.lock(place / "runs" / runs[1]):
        done = main(place, "--resume", runs[1])
    assert done.returncode == 2
    assert "another process is running in this folder; wait for it, or start a new run" in done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr


def test_runs_that_cannot_be_written_are_said(place: Path) -> None:
    (place / "runs").write_text("a file")
    done = main(place, "--run", "run.yaml")
    assert done.returncode == 2
    assert (
        done.stderr.startswith("main.py: runs: runs can't be written there: ")
        and "\n" not in done.stderr[:-1]
    )
