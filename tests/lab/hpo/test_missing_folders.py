"""A study whose folder, or parts of it, were removed while its database remained."""

import shutil
from pathlib import Path

import pytest

import main
from tests import study_tools as tools

HEAD = "were removed, or are on another machine"


@pytest.fixture
def file(workplace: Path) -> Path:
    """The file of a study of two trials, which are done."""
    file = tools.study_file(workplace, isolation="none", n_trials=2)
    assert main.main(["--optimize", str(file), "--quiet"]) == 0
    return file


def again(file: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Run the same command again, and return what it prints."""
    capsys.readouterr()
    assert main.main(["--optimize", str(file), *more]) == 0
    return capsys.readouterr().out


def test_all_folders_are_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert HEAD not in again(file, capsys, "--quiet")


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_the_folder_is_gone(
    left: str, file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workplace / "studies" / "small")
    if left != "nothing":
        (workplace / "studies" / "small").mkdir()
    out = again(file, capsys, "--quiet")
    assert "small has none of the 2 trained trials of sqlite:///studies.db: the folders were" in out
    assert "take another study_name to start from scratch" in out
    assert "Again" not in out, "no command that runs what is gone"
    assert (workplace / "studies/small/report.html").exists()


def test_new_trials_go_on_beside_what_is_gone(
    file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workplace / "studies" / "small")
    more = ["--set", "n_trials=4", "--set", "confirm={top: 3, seeds: 2}"]
    assert HEAD in again(file, capsys, *more)
    assert (workplace / "studies/small/trial_00003/summary.json").exists()


def test_a_single_folder_is_gone(file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workplace / "studies/small/trial_00001")
    out = again(file, capsys)
    assert "\nstudies/small has no trial 1 of sqlite:///studies.db" in out
    best = int(out.split("Best     trial ")[1].split(":")[0])
    assert ("Again" in out) == (best == 0)


def test_confirmation_without_any_folder(
    file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workplace / "studies" / "small")
    assert HEAD in again(file, capsys, "--set", "confirm={top: 2, seeds: 2}")


def test_report_and_dashboard_name_the_database_that_remains(
    file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workplace / "studies" / "small")
    for verb in ("--report", "--dashboard"):
        capsys.readouterr()
        assert main.main([verb, "small"]) == 2
        err = capsys.readouterr().err
        assert "; sqlite:///studies.db has a study of this name, whose folder is gone: --optimize with" in err
        assert main.main([verb, "other"]) == 2
        assert "is gone" not in capsys.readouterr().err


def test_report_does_not_mix_two_studies_of_one_name(
    file: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "studies" / "small" / "study_id.txt").write_text("0" * 32 + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main.main(["--report", "small"]) == 2
    assert "has another study 'small' than the one of studies/small" in capsys.readouterr().err
