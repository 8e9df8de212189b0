"""Where W&B may write, what it has written, and whether its process lives."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.config.tracker_config import WandbConfig
from lab.trackers import wandb_service
from lab.trackers.wandb_session import Described, WandbSession
from tests.wandb_scenario import kill_service


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbSession]:
    """Offline, for several runs in this process."""
    for name in ("CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    session = WandbSession(WandbConfig(type="wandb", mode="offline"), lambda note: None, tmp_path)
    yield session
    session.close()


def described(folder: Path) -> Described:
    return Described(folder, folder.name, "spheroids", "unet", None, {})


def test_each_run_stages_below_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several runs in one process, from any current folder; what the user has set stays."""
    monkeypatch.setattr(wandb_service, "_SET_BY_US", set())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_CACHE_DIR", "/the/users/own")
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    for run in ("first", "second"):
        wandb_service.keep_quiet(Path("runs") / run)
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "runs" / run / ".data")
        assert os.environ["WANDB_CACHE_DIR"] == "/the/users/own"
        assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_the_steps_of_offline_files_are_read_back(tmp_path: Path, session: WandbSession) -> None:
    """In several files of one run, across blocks of 32 KiB, and up to a record that a kill has torn."""
    run = described(tmp_path / "trial_00000")
    for first in (1, 6):
        begun = session.begin(run)
        for step in range(first, first + 5):
            begun.log({"text": "x" * 20_000, "loss": 1 / step}, step=step, commit=True)
        begun.finish()
        time.sleep(1.1)  # W&B's folders are named by the second
    folder = run.folder / "wandb"
    assert wandb_service.logged_steps([folder], run.id) == set(range(1, 11))
    assert wandb_service.logged_steps([folder], "another") == set()
    _, last = sorted(folder.glob("offline-run-*/*.wandb"))
    data = last.read_bytes()
    assert len(data) > 3 * 32 * 1024
    last.write_bytes(data[: data.rindex(b"x" * 1000)])
    assert wandb_service.logged_steps([folder], run.id) == set(range(1, 10))
    last.write_bytes(b"no such format" * 100)
    assert wandb_service.logged_steps([folder], run.id) == set(range(1, 6))


def test_after_its_process_was_killed_there_is_another(tmp_path: Path, session: WandbSession) -> None:
    session.begin(described(tmp_path / "trial_00000")).finish()
    kill_service()
    time.sleep(0.2)  # until it is dead
    begun = session.begin(described(tmp_path / "trial_00001"))
    begun.log({"loss": 0.5}, step=3)
    begun.finish()
    session.close()  # `finish` does not wait for the file
    folder = tmp_path / "trial_00001" / "wandb"
    assert wandb_service.logged_steps([folder], begun.id) == {3}


@pytest.fixture
def no_process(session: WandbSession) -> Iterator[None]:
    """End W&B's process before and after, so that it reads the environment again."""
    wandb_service.kill()
    yield
    wandb_service.kill()


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WANDB_TAGS", "a,,b"), ("WANDB_TAGS", "t" * 65), ("WANDB_PROJECT", "a/b"),
        ("WANDB_RESUME", "perhaps"), ("WANDB_RUN_ID", "a:b"), ("WANDB_MODE", "onlin"),
        ("WANDB_SILENT", "so so"), ("WANDB_CONSOLE", "none"),
    ],
)  # fmt: skip
def test_a_variable_that_wandb_refuses_and_that_does_not_count_ends_no_mirror(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert wandb_service.start().run_tags is None


@pytest.mark.usefixtures("no_process")
def test_of_the_rest_the_one_that_wandb_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "soon")
    with pytest.raises(
        ValueError, match=r"^WANDB_INIT_TIMEOUT is 'soon' in the environment, which W&B rejects"
    ):
        wandb_service.start()
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "7")
    wandb_service.kill()
    assert wandb_service.start().init_timeout == 7
