"""A trial's folder is its lease's: who comes with an older token changes nothing."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.events import StepsDone, Stopped
from lab.hpo.trial_folder import CONSOLE, TAKEN, LeaseCheck, clear, fenced
from lab.store import file_io


def test_an_older_token_is_refused_and_the_same_may_come_again(tmp_path: Path) -> None:
    for token in (2, 2, 10):
        with fenced(tmp_path, token):
            pass
    with pytest.raises(Stopped) as stop, fenced(tmp_path, 9):
        raise AssertionError("it must not get in")
    assert (stop.value.reason, stop.value.outcome) == (TAKEN, "interrupted")
    with fenced(tmp_path, 11):
        pass


def test_nobody_gets_in_while_it_is_held_not_even_a_later_token(tmp_path: Path) -> None:
    with fenced(tmp_path, 1), pytest.raises(file_io.RunInUse), fenced(tmp_path, 2):
        raise AssertionError("it must not get in")
    with fenced(tmp_path, 2):
        pass


@pytest.mark.parametrize("torn", ["", "1", "\n1\n2", "\n\0\0"])
def test_a_token_that_was_torn_joins_no_other(tmp_path: Path, torn: str) -> None:
    (tmp_path / ".lease").write_text(torn)
    for token in (3, 4):
        with fenced(tmp_path, token):
            pass
    with pytest.raises(Stopped), fenced(tmp_path, 3):
        pass


def test_clearing_leaves_the_console_and_the_locks(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "link").symlink_to(tmp_path.parent)
    for name in (CONSOLE, "metrics.csv", "checkpoints/last.pt", ".lock", ".lease"):
        (tmp_path / name).write_text("x")
    clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CONSOLE, ".lock", ".lease"}


def test_a_run_ends_at_its_next_steps_once_its_trial_is_anothers() -> None:
    @dataclass
    class Claimed:
        lost: bool = False

    trial = Claimed()
    listener = LeaseCheck(trial)
    listener.on_steps(StepsDone("train", 1, None))
    trial.lost = True
    with pytest.raises(Stopped, match="143"):
        listener.on_steps(StepsDone("train", 2, None))
