"""What needs no W&B process; the rest is in test_wandb_run.py and tests/lab/hpo/test_wandb_sync.py."""

from pathlib import Path
from threading import Thread

import pytest

from lab.config.tracker_config import WandbConfig
from lab.console import shell_commands
from lab.events import Note
from lab.trackers.wandb_files import FOLDER, ID
from lab.trackers.wandb_session import Described, WandbSession


def described(folder: Path, suffix: str = "") -> Described:
    return Described(folder, "trial_00003", "spheroids", "unet", None, {}, suffix=suffix)


def test_an_id_is_made_once_and_kept_in_the_folder(tmp_path: Path) -> None:
    first = described(tmp_path).id
    assert first == described(tmp_path).id == (tmp_path / FOLDER / ID).read_text().strip()
    assert first.startswith("trial_00003-")
    assert described(tmp_path, "-half1").id == f"{first}-half1"
    assert described(tmp_path / "another").id != first


@pytest.mark.parametrize(("timeout", "patience"), [(5.0, 4.0), (1.0, 0.5)])
def test_patience_leaves_time_to_end_it_by_force(timeout: float, patience: float) -> None:
    assert WandbSession(WandbConfig(type="wandb", timeout=timeout), print).patience == patience


def test_what_was_given_up_begins_no_more_runs(tmp_path: Path) -> None:
    notes: list[Note] = []
    session = WandbSession(WandbConfig(type="wandb"), notes.append, tmp_path)
    assert (session.give_up(), session.give_up()) == (True, False)
    with pytest.raises(RuntimeError, match="abandoned before the run started"):
        session.begin(described(tmp_path / "trial_00003"))
    session.close()
    assert notes == []


def test_how_to_upload_a_study_quotes_its_folder(tmp_path: Path) -> None:
    session = WandbSession(WandbConfig(type="wandb"), print, Path("studies/a night's work"))
    quoted = "'studies/a night'\"'\"'s work'"
    assert session.how_to_upload() == (
        f"to upload: find {quoted} -name 'offline-run-*' -exec {shell_commands.tool('wandb', 'sync')} {{}} +"
    )


def test_threads_that_begin_runs_in_one_folder_get_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id is made under the session's lock: two threads wrote the same temporary file."""
    for name in ("CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    session = WandbSession(WandbConfig(type="wandb", mode="offline"), print, tmp_path)
    errors: list[BaseException] = []

    def begin(suffix: str) -> None:
        try:
            session.begin(described(tmp_path / "trial_00003", suffix)).finish()
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [Thread(target=begin, args=(f"-half{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.close()
    assert errors == []
    ids = {path.name.partition("trial_00003-")[2][:8] for path in (tmp_path / "trial_00003").rglob("*.wandb")}
    assert len(ids) == 1
