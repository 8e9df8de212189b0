"""A study's folder is its own: a new one never goes on with what another of its name has left."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from uuid import UUID

import optuna
import pytest

import main
from lab.config.problems import ConfigError
from lab.hpo.open_study import fork_study, open_study, renamed
from lab.hpo.storage import Database
from lab.hpo.study_id import FILE, IDENTITY, numbers
from tests import study_tools as tools
from tests.lab.hpo.small_study import config_of, made_in, search

REFUSED = r"study_name: .*small holds the trials of another study of this name, which sqlite.* doesn't have"


def opened(folder: Path, database: str = "studies.db") -> optuna.Study:
    """The study, by a database and a studies' folder in `folder`."""
    url = f"sqlite:///{folder / database}"
    return open_study(config_of(url), Database(url), folder / "small")


def leave_trial(folder: Path) -> None:
    (folder / "small" / "trial_00000").mkdir(parents=True)


def settle(database: Path) -> Path:
    """The database with all that this process has written to it in one file."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in ("-wal", "-shm"):
        database.with_name(f"{database.name}{name}").unlink(missing_ok=True)
    return database


def names(url: str) -> list[str]:
    return optuna.get_all_study_names(url)


def test_the_study_and_its_folder_say_the_same(tmp_path: Path) -> None:
    study = opened(tmp_path)
    identity = (tmp_path / "small" / FILE).read_text().strip()
    assert study.user_attrs[IDENTITY] == identity == UUID(identity).hex
    study.ask()
    leave_trial(tmp_path)
    assert opened(tmp_path).user_attrs[IDENTITY] == identity
    assert (tmp_path / "small" / FILE).read_text().strip() == identity


def test_a_lost_database_or_another_one_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    opened(tmp_path)
    leave_trial(tmp_path)
    before = (tmp_path / "small" / FILE).read_text()
    with pytest.raises(ConfigError, match=REFUSED):
        opened(tmp_path, "other.db")
    assert names(f"sqlite:///{tmp_path / 'other.db'}") == []
    (tmp_path / "studies.db").unlink()
    for _ in range(2):
        with pytest.raises(ConfigError, match=REFUSED):
            opened(tmp_path)
    assert (tmp_path / "small" / FILE).read_text() == before
    (tmp_path / "small").rename(tmp_path / "old")
    assert opened(tmp_path).user_attrs[IDENTITY] != before.strip()


@pytest.mark.parametrize("trace", ["confirm/trial_00001/seed_5", "best/trial.json"])
def test_what_else_another_study_left_counts_too(tmp_path: Path, trace: str) -> None:
    (tmp_path / "small" / trace).mkdir(parents=True)
    with pytest.raises(ConfigError, match=REFUSED):
        opened(tmp_path)


def test_a_machine_without_trials_of_its_own_joins(tmp_path: Path) -> None:
    url = made_in(tmp_path)
    here, there = tmp_path / "here" / "small", tmp_path / "there" / "small"
    first = open_study(config_of(url), Database(url), here)
    there.mkdir(parents=True)
    (there / FILE).write_text("of another study, whose trials are gone\n")
    second = open_study(config_of(url), Database(url), there)
    assert first.user_attrs[IDENTITY] == second.user_attrs[IDENTITY]
    assert (here / FILE).read_text() == (there / FILE).read_text() == f"{first.user_attrs[IDENTITY]}\n"


def test_a_study_of_before_gets_one_and_keeps_its_folder(tmp_path: Path) -> None:
    url = made_in(tmp_path)  # opened without a folder, as there were no identities
    assert IDENTITY not in optuna.load_study(study_name="small", storage=url).user_attrs
    leave_trial(tmp_path)
    study = opened(tmp_path)
    assert study.user_attrs[IDENTITY] == (tmp_path / "small" / FILE).read_text().strip()
    assert len(study.get_trials()) == 6


def test_a_study_of_before_does_not_get_the_folder_of_another(tmp_path: Path) -> None:
    made_in(tmp_path)
    leave_trial(tmp_path)
    (tmp_path / "small" / FILE).write_text("0" * 32)
    with pytest.raises(ConfigError, match=REFUSED):
        opened(tmp_path)


def test_a_refused_change_gives_no_identity(tmp_path: Path) -> None:
    url = made_in(tmp_path)
    with pytest.raises(ConfigError, match=r"run\.epochs"):
        open_study(config_of(url, **{"run/epochs": 9}), Database(url), tmp_path / "small")
    assert not (tmp_path / "small").exists()
    assert IDENTITY not in optuna.load_study(study_name="small", storage=url).user_attrs


def test_a_fork_has_its_own(tmp_path: Path) -> None:
    first = opened(tmp_path)
    search(config_of(f"sqlite:///{tmp_path / 'studies.db'}"), first, 3)
    url = f"sqlite:///{tmp_path / 'studies.db'}"

    def fork(name: str) -> optuna.Study:
        config = config_of(url)
        return fork_study(renamed(config, name), "small", Database(url), lambda text: None, tmp_path / name)

    second = fork("next")
    assert second.user_attrs[IDENTITY] == (tmp_path / "next" / FILE).read_text().strip()
    assert second.user_attrs[IDENTITY] != first.user_attrs[IDENTITY]
    assert fork("next").user_attrs[IDENTITY] == second.user_attrs[IDENTITY]
    (tmp_path / "third" / "trial_00004").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"^--fork third: .*third holds the trials of another study"):
        fork("third")
    assert "third" not in names(url)


def test_two_that_begin_at_once_agree(url: str, tmp_path: Path) -> None:
    found: list[str] = []
    gate = threading.Barrier(4)

    def begin() -> None:
        database = Database(url)
        gate.wait()
        study = open_study(config_of(url), database, tmp_path / "small")
        found.append(study.user_attrs[IDENTITY])

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and set(found) == {(tmp_path / "small" / FILE).read_text().strip()}


def test_the_command_says_where_and_leaves_the_trials_alone(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tools.study_file(workplace, isolation="none", n_trials=2)
    assert main.main(["--optimize", str(file), "--quiet"]) == 0

    def state() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (workplace / "studies").rglob("*")}

    before = state()
    capsys.readouterr()
    assert main.main(["--optimize", str(file), "--quiet", "--set", "storage=sqlite:///other.db"]) == 2
    err = capsys.readouterr().err
    assert f"{file}:1: study_name: studies/small holds the trials of a study with storage: sqlite:" in err
    assert "and this one's is sqlite:///other.db; set that one, or move the folder away, or take" in err
    settle(workplace / "studies.db").rename(workplace / "kept.db")
    for gone in ("not there", "empty"):
        assert main.main(["--optimize", str(file), "--quiet"]) == 2
        err = capsys.readouterr().err
        assert f"small holds trials, and their database studies.db is {gone}; put it back, or move the" in err
        (workplace / "studies.db").touch()
    (workplace / "studies.db").unlink()
    for arguments in (["--optimize", str(file), "--fork", "further"], ["--report", "small"]):
        assert main.main(arguments) == 2
        assert "database studies.db is not there; put it back" in capsys.readouterr().err
        assert not (workplace / "studies.db").exists() and not (workplace / "studies" / "further").exists()
    assert not (workplace / "other.db").exists()
    assert state() == before
    (workplace / "kept.db").replace(workplace / "studies.db")
    assert main.main(["--optimize", str(file), "--quiet", "--set", "n_trials=3"]) == 0


def test_a_database_that_is_older_than_the_folder_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tools.study_file(workplace, isolation="none", n_trials=1)
    assert main.main(["--optimize", str(file), "--quiet"]) == 0
    shutil.copyfile(settle(workplace / "studies.db"), workplace / "backup.db")
    assert main.main(["--optimize", str(file), "--quiet", "--set", "n_trials=3"]) == 0
    for left in workplace.glob("studies.db*"):
        left.unlink()
    (workplace / "backup.db").rename(workplace / "studies.db")
    before = (workplace / "studies/small/trial_00001/metrics.csv").read_bytes()
    capsys.readouterr()
    assert main.main(["--optimize", str(file), "--quiet", "--set", "n_trials=3"]) == 2
    err = capsys.readouterr().err
    assert "study_name: studies/small has trials 1 and 2, and sqlite:///studies.db doesn't" in err
    assert (workplace / "studies/small/trial_00001/metrics.csv").read_bytes() == before
    for number in (1, 2):
        shutil.move(workplace / f"studies/small/trial_0000{number}", workplace)
    assert main.main(["--optimize", str(file), "--quiet", "--set", "n_trials=3"]) == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [([3], "trial 3"), ([5, 3], "trials 3 and 5"), ([1, 2, 3, 4, 9], "trials 1, 2, 3, 4 and 9"),
     (range(9), "trials 0, 1, 2, 3 and 5 more")],
)  # fmt: skip
def test_numbers(found: list[int], expected: str) -> None:
    assert numbers(found) == expected
