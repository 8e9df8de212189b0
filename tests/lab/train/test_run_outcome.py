"""The outcome of a run that an exception ended, its reason and its traceback."""

import errno
from pathlib import Path

import pytest

from lab.console.signals import Interrupted
from lab.events import Stopped
from lab.store import run_folder
from lab.train.run_events import outcome_of, reason_of


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - handed back
        return raised


def ending(error: BaseException, folder: Path) -> tuple[str, str]:
    found = caught(error)
    return outcome_of(found, folder), reason_of(found, folder)


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "Ctrl-C"), (Interrupted("SIGHUP"), "SIGHUP")]
)
def test_interrupted_by_a_signal(tmp_path: Path, error: BaseException, reason: str) -> None:
    assert ending(error, tmp_path) == ("interrupted", reason)
    assert not (tmp_path / run_folder.TRACEBACK).exists()


def test_stopped_says_why(tmp_path: Path) -> None:
    assert ending(Stopped("too long", "timed_out"), tmp_path) == ("timed_out", "too long")


def test_a_folder_that_cannot_be_written_interrupts_the_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    fault = PermissionError(errno.EACCES, "x", str(path))
    assert ending(fault, tmp_path) == ("interrupted", f"storage fails: {path}: Permission denied")
    assert not (tmp_path / run_folder.TRACEBACK).exists()


def test_an_exit_of_the_users_own_code_is_a_failure(tmp_path: Path) -> None:
    assert ending(SystemExit(3), tmp_path) == ("failed", "SystemExit: 3")
    assert "SystemExit: 3" in (tmp_path / run_folder.TRACEBACK).read_text()


def test_failed_keeps_the_traceback_without_secrets(tmp_path: Path) -> None:
    outcome, reason = ending(OSError("can't reach https://me:hunter2@example.org"), tmp_path)
    assert (outcome, reason) == ("failed", "OSError: can't reach https://me:***@example.org")
    text = (tmp_path / run_folder.TRACEBACK).read_text()
    assert "Traceback (most recent call last)" in text and "in caught" in text and "hunter2" not in text


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad \ud800 text"), r"ValueError: bad \ud800 text"),
        (RuntimeError("out of \udcff memory"), r"RuntimeError: out of \udcff memory"),
        (Mute(), "Mute: <its text can't be made: LookupError>"),
        (ValueError(Mute()), "ValueError: <its text can't be made: LookupError>"),
        (ValueError("a\0b"), "ValueError: a\0b"),
    ],
)
def test_a_text_that_cannot_be_written_is_a_failure_all_the_same(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    assert ending(error, tmp_path) == ("failed", reason)
    assert "in caught" in (tmp_path / run_folder.TRACEBACK).read_text(encoding="utf-8")
