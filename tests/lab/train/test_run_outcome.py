"""The outcome of a run that an exception ended."""

from pathlib import Path

import pytest

from lab.console.signals import Interrupted
from lab.events import Stopped
from lab.store import run_folder
from lab.train.run_events import outcome_of


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - handed back
        return raised


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "Ctrl-C"), (Interrupted("SIGHUP"), "SIGHUP")]
)
def test_interrupted_by_a_signal(tmp_path: Path, error: BaseException, reason: str) -> None:
    assert outcome_of(caught(error), tmp_path) == ("interrupted", reason)
    assert not (tmp_path / run_folder.TRACEBACK).exists()


def test_stopped_says_why(tmp_path: Path) -> None:
    assert outcome_of(caught(Stopped("too long", "timed_out")), tmp_path) == ("timed_out", "too long")


def test_an_exit_of_the_users_own_code_is_a_failure(tmp_path: Path) -> None:
    assert outcome_of(caught(SystemExit(3)), tmp_path) == ("failed", "SystemExit: 3")
    assert "SystemExit: 3" in (tmp_path / run_folder.TRACEBACK).read_text()


def test_failed_keeps_the_traceback_without_secrets(tmp_path: Path) -> None:
    error = caught(OSError("can't reach https://me:hunter2@example.org"))
    outcome, reason = outcome_of(error, tmp_path)
    assert (outcome, reason) == ("failed", "OSError: can't reach https://me:***@example.org")
    text = (tmp_path / run_folder.TRACEBACK).read_text()
    assert "Traceback (most recent call last)" in text and "in caught" in text and "hunter2" not in text
