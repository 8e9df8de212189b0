"""`main.py` with W&B's variables set, in processes of their own; W&B's own files show what reached it."""

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.wandb_files import WandbRun, read_run
from tests.wandb_moods import wandb_server

ROOT = Path(__file__).parent.parent
RUN = {
    "epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1, "pictures": {"enabled": False},
    "data": {"target": "lab.data.function", "train_count": 32, "val_count": 16},
    "net": {"target": "model.MLP", "width": 4, "layers": 1}, "trackers": [{"type": "wandb"}],
}  # fmt: skip
ALL = {
    "WANDB_MODE": "dryrun", "WANDB_PROJECT": "own", "WANDB_ENTITY": "team", "WANDB_NAME": "shown",
    "WANDB_RUN_GROUP": "sweep", "WANDB_JOB_TYPE": "eval", "WANDB_TAGS": "a,b", "WANDB_NOTES": "for the paper",
    "WANDB_RUN_ID": "my-id",
}  # fmt: skip


def environment(folder: Path, **values: str) -> dict[str, str]:
    """One without any variable of W&B's but these, and without the tools of this Python in its path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return clean | {"HOME": str(folder), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"} | values


def lab(folder: Path, *arguments: str, code: int = 0, **values: str) -> str:
    """Run `main.py`, and return what it prints, errors included."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=folder, env=environment(folder, **values), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def write(folder: Path, **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({**RUN, **changes}))
    return "run.yaml"


def wandb_runs(folder: Path) -> list[WandbRun]:
    """The runs in W&B's folders below this one, in their order."""
    files = sorted(folder.rglob("*run-2*/*.wandb"), key=lambda file: file.parent.name)
    return [read_run(file.parent) for file in files]


def facts(run: WandbRun) -> tuple[object, ...]:
    about = run.run
    return (
        about.project, about.entity, about.display_name, about.run_group, about.job_type, tuple(about.tags),
        about.notes, about.run_id,
    )  # fmt: skip


def test_a_run_takes_all_of_it_keeps_it_and_is_uploaded_whole(tmp_path: Path) -> None:
    """A folder with a blank and a quote; resumed with another environment, in another W&B folder."""
    home = tmp_path / "bob's work"
    files, others = home / "w & b", home / "other"
    out = lab(home, "--run", write(home), **ALL, WANDB_DIR="w & b")
    expected = ("own", "team", "shown", "sweep", "eval", ("a", "b"), "for the paper", "my-id")
    (run,) = (home / "runs").iterdir()
    assert [facts(each) for each in wandb_runs(files / "wandb")] == [expected]
    assert not list(run.rglob("*.wandb")), "W&B's files are in WANDB_DIR"
    assert "W&B: offline, set by WANDB_MODE=dryrun; to upload: " in out
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["project"], summary["name"]) == ("own", "run")
    assert yaml.safe_load((run / "config.yaml").read_text())["project"] == "own"
    assert run.name in lab(home, "--list", "--project", "own") and run.name.endswith("_run")
    out = lab(
        home, "--resume", f"runs/{run.name}", "--set", "epochs=4", WANDB_DIR=str(others),
        WANDB_PROJECT="elsewhere", WANDB_ENTITY="rivals", WANDB_TAGS="c", WANDB_RUN_ID="their-id",
    )  # fmt: skip
    (note,) = [line for line in out.splitlines() if "environment variables not used" in line]
    for words in ("WANDB_PROJECT (it is own)", "WANDB_ENTITY (it is team)", "WANDB_TAGS (it is a,b)",
                  "WANDB_RUN_ID (it is my-id)"):  # fmt: skip
        assert words in note
    assert [facts(each) for each in wandb_runs(others / "wandb")] == [expected]
    first, second = [*wandb_runs(files / "wandb"), *wandb_runs(others / "wandb")]
    assert (sorted(first.history), sorted(second.history)) == ([1, 2], [3, 4])
    assert uploaded(home, out) == Counter({1: 1, 2: 1, 3: 1, 4: 1})


def uploaded(folder: Path, out: str) -> Counter[int]:
    """Count how often a server gets each step by the command that was printed."""
    (line,) = [line for line in out.splitlines() if "to upload: " in line]
    with wandb_server() as server:
        env = environment(folder, WANDB_BASE_URL=server.url, WANDB_API_KEY="0123456789" * 4)
        command = line.partition("to upload: ")[2]
        done = subprocess.run(command, shell=True, env=env, cwd=folder, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return Counter(int(row["_step"]) for row in server.streamed.get("wandb-history.jsonl", []))


@pytest.mark.slow
def test_several_seeds_are_one_project_with_ids_of_their_own_and_one_command(tmp_path: Path) -> None:
    out = lab(tmp_path, "--run", write(tmp_path, seeds=[3, 5], name="two"), **ALL)
    (run,) = (tmp_path / "runs").iterdir()
    found = {path.parent.parent.name: read_run(path).run for path in run.glob("seed_*/wandb/*run-2*")}
    assert {seed: (each.project, each.display_name) for seed, each in found.items()} == {
        "seed_3": ("own", "two"), "seed_5": ("own", "two"),
    }  # fmt: skip
    assert len({each.run_id for each in found.values()}) == 2
    assert out.count("WANDB_RUN_ID is not used: the seeds or folds of") == 2
    last = [line for line in out.splitlines() if "to upload: " in line][-1]
    words = shlex.split(last.partition("to upload: ")[2])
    assert words[-1] == f"runs/{run.name}/*/wandb/offline-run-*"
    assert uploaded(tmp_path, last) == Counter({1: 2, 2: 2})


@pytest.mark.slow
def test_an_id_that_another_run_has_is_not_taken_twice(tmp_path: Path) -> None:
    write(tmp_path)
    lab(tmp_path, "--run", "run.yaml", WANDB_RUN_ID="mine")
    out = lab(tmp_path, "--run", "run.yaml", WANDB_RUN_ID="mine")
    assert "WANDB_RUN_ID is not used: it is the id of 2" in out
    assert len({each.run.run_id for each in wandb_runs(tmp_path / "runs")}) == 2


def test_print_config_shows_what_would_count(tmp_path: Path) -> None:
    out = lab(tmp_path, "--run", write(tmp_path), "--print-config", "--json", **ALL)
    shown = json.loads(out)
    assert (shown["project"], shown["trackers"][0]["entity"]) == ("own", "team")


def test_disabled_means_no_run_and_a_line(tmp_path: Path) -> None:
    out = lab(tmp_path, "--run", write(tmp_path), WANDB_MODE="disabled", WANDB_PROJECT="own")
    assert out.count("W&B: no run, set by WANDB_MODE=disabled") == 1
    assert not list(tmp_path.rglob("wandb"))


@pytest.mark.parametrize(
    "arguments", [("--run", "run.yaml"), ("--check", "run.yaml"), ("--optimize", "opt.yaml")]
)
def test_a_mode_that_wandb_does_not_know_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write(tmp_path)
    write_study(tmp_path)
    out = lab(tmp_path, *arguments, code=2, WANDB_MODE="onlin")
    assert "WANDB_MODE is 'onlin' in the environment" in out and "offline, disabled" in out
    assert not (tmp_path / "runs").exists() and not (tmp_path / "studies").exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_named_and_the_run_has_its_files(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "file").write_text("")
    out = lab(tmp_path, "--run", "run.yaml", WANDB_DIR="file")
    assert f"WANDB_DIR: {tmp_path / 'file'}: File exists; W&B's files are in the run's folder" in out
    assert [each.run.project for each in wandb_runs(tmp_path / "runs")] == ["lab"]


def write_study(folder: Path, **changes: Any) -> None:
    search = {"optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1}}
    study = {"study_name": "night", "n_trials": 1, "preflight": "off", "search_space": search}
    (folder / "opt.yaml").write_text(yaml.safe_dump({**study, "run": RUN, **changes}))


@pytest.mark.slow
def test_a_study_stays_in_its_project_and_is_uploaded_from_wherever_it_is(tmp_path: Path) -> None:
    write_study(tmp_path)
    out = lab(tmp_path, "--optimize", "opt.yaml", **{**ALL, "WANDB_DIR": "kept here"})
    assert "W&B: not used: WANDB_NAME, WANDB_JOB_TYPE, WANDB_RUN_ID;" in out
    write_study(tmp_path, n_trials=2)
    out = lab(tmp_path, "--optimize", "opt.yaml", WANDB_PROJECT="elsewhere", WANDB_DIR="kept here")
    assert "W&B: not used: WANDB_PROJECT (it is own);" in out
    found = wandb_runs(tmp_path / "kept here")
    assert {(each.run.project, each.run.entity, each.run.run_group) for each in found} == {
        ("own", "team", "sweep")
    }
    assert sorted(each.run.job_type for each in found) == ["study", "study", "trial", "trial"]
    assert not list((tmp_path / "studies").rglob("*.wandb"))
    summary = json.loads((tmp_path / "studies/night/trial_00001/summary.json").read_text())
    assert summary["project"] == "own"
    steps = uploaded(tmp_path, out)
    assert (steps[1], steps[2]) == (3, 3), "two trials, and the study's own after the first and the second"
