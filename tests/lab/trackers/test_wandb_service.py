"""Where W&B may write."""

import os
from pathlib import Path

import pytest

from lab.trackers import wandb_service


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
