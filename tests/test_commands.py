"""Every command and option that is printed, executed as it is printed, by a shell in a folder with a quote.

`USES` and `OPTIONS` say which test executes what; a command or an option that the source has and they have
not fails here.
"""

import ast
import html
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from lab.config import ConfigError
from lab.config.saved_config import read_run
from lab.console import command_line, shell_commands
from tests.wandb_moods import wandb_server

ROOT = Path(__file__).parent.parent
RUN = {
    "name": "it's slow", "epochs": 3000, "batch_size": 16, "device": "cpu", "threads": 1,
    "pictures": {"enabled": False},
    "data": {"target": "lab.data.function", "train_count": 32, "val_count": 16},
    "net": {"target": "model.MLP", "width": 4, "layers": 1}, "trackers": [{"type": "wandb"}],
}  # fmt: skip
STUDY = {
    "study_name": "night", "n_trials": 40, "preflight": "off", "run": {**RUN, "epochs": 60, "trackers": []},
    "search_space": {"optimizer.lr": {"type": "float", "low": 0.001, "high": 0.1}},
}  # fmt: skip

# file and function -> the tests that execute what it makes
USES = {
    ("lab/console/command_line.py", "_examples"): "test_the_examples_of_the_help",
    ("lab/hpo/dashboard.py", "refuse_open_door"): "test_the_tunnel_is_one",
    ("lab/hpo/open_study.py", "_fork_command"): "test_the_fork_of_a_changed_study",
    ("lab/hpo/storage.py", "without_folder"): "test_a_study_whose_folder_is_gone",
    ("lab/hpo/storage.py", "_outdated"): "test_a_database_of_an_earlier_optuna",
    ("lab/hpo/study.py", "_begin"): "test_the_dashboard_of_a_study",
    ("lab/hpo/study.py", "_end"): "test_a_stopped_study_and_its_winner",
    ("lab/hpo/best_trial.py", "_fill"): "test_what_a_studys_files_say_from_anywhere",
    ("lab/predict/export.py", "_require_packages"): "test_packages_are_installed_into_this_python",
    ("lab/predict/moved_data.py", "hint"): "tests/test_moved_data.py",
    ("lab/predict/segmentation_run.py", "_threshold"): "tests/test_moved_data.py",
    ("lab/report/run_list.py", "as_table"): "test_the_first_run",
    ("lab/report/study.py", "commands_of"): "test_what_a_studys_files_say_from_anywhere",
    ("lab/train/run_events.py", "run_end"): "test_a_stopped_run_and_its_upload",
    ("lab/trackers/wandb_files.py", "_typed"): "test_a_stopped_run_and_its_upload",
    ("lab/trackers/wandb_session.py", "_why_offline"): "test_a_stopped_run_and_its_upload",
    ("lab/trackers/wandb_session.py", "how_to_upload"): "test_a_stopped_run_and_its_upload",
    ("main.py", "main"): "test_a_run_that_found_the_disk_full",
}
# file -> (option, the test in which it works where the message appears)
OPTIONS = {
    "lab/config/import_policy.py": ("--allow-import", "tests/lab/config/test_import_policy.py"),
    "lab/hpo/dashboard.py": ("--token", "tests/lab/hpo/test_dashboard.py"),
    "lab/data/source_arguments.py": ("--set", "test_data_that_is_not_named"),
    "lab/data/bit_depths.py": ("--value-range", "tests/test_moved_data.py"),
    "lab/data/layouts/pairs.py": ("--set", "tests/test_moved_data.py"),
    "lab/hpo/compatibility.py": ("--fork", "test_the_fork_of_a_changed_study"),
    "lab/hpo/storage.py": ("--optimize", "test_a_study_whose_folder_is_gone"),
    "lab/evaluate/classification.py": ("--predict", "tests/test_classification.py"),
    "lab/predict/export.py": ("--input", "tests/lab/predict/test_export.py"),
    "lab/evaluate/segmentation.py": ("--predict", "tests/test_segmentation.py"),
    "lab/predict/prediction.py": ("--force", "tests/test_segmentation.py"),
    "lab/config/saved_config.py": ("--set", "test_a_secret_that_a_record_hides_is_given_again"),
    "lab/report/run_list.py": ("--list", "test_the_first_run"),
    "lab/train/resume.py": ("--set", "test_a_finished_run_is_extended"),
}
_OPTION = re.compile(
    r"(?:[;:(,]|\b(?:add|pass|or|give|by|with|use|choose|it:|folder|file))\s*(--[a-z][a-z-]+)"
)


def sources() -> Iterator[tuple[str, ast.AST]]:
    """Yield the program's files, parsed; without the fault suite, which calls it."""
    for path in [ROOT / "main.py", ROOT / "util.py", *sorted((ROOT / "lab").rglob("*.py"))]:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts of a file that are no docstrings and no help of the command line."""
    alone = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    left_out = {id(node.value) for node in alone if isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def calls(tree: ast.AST, function: str = "") -> Iterator[str]:
    """The functions in which a command is made."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef) else function
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("shell_commands."):
            yield inner
        yield from calls(node, inner)


def test_commands_are_made_in_one_place() -> None:
    pattern = re.compile(r"main\.py -|\bpython3? -|wandb (sync|login)|pip install|tensorboard --|ssh -L")
    found = {(name, text) for name, tree in sources() for text in texts(tree) if pattern.search(text)}
    assert {each for each in found if each[0] != "lab/console/shell_commands.py"} == set()


def test_every_command_has_a_test() -> None:
    found = {(name, function) for name, tree in sources() for function in calls(tree)}
    assert found == set(USES)
    for test in USES.values():
        assert test in globals() or (ROOT / test).is_file(), test


def test_every_option_in_a_message_has_a_test() -> None:
    found: dict[str, set[str]] = {}
    for name, tree in sources():
        for text in texts(tree):
            if name not in (
                "lab/console/command_line.py",
                "lab/console/shell_commands.py",
                "lab/provenance.py",
            ):
                options = set(_OPTION.findall(text)) | set(re.findall(r"^(--fork) NAME$", text))
                if options:
                    found.setdefault(name, set()).update(options)
    assert set(found) == set(OPTIONS)
    known = set(command_line.parser()._option_string_actions)
    for name, (option, test) in OPTIONS.items():
        assert option in found[name] and option in known, (name, found[name])
        assert test in globals() or option in (ROOT / test).read_text(), test


@dataclass(frozen=True)
class Place:
    """A folder from which the program is called, and the environment of its shell: no tool is in the path."""

    folder: Path

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_")}
        beside = str(Path(sys.executable).parent)
        path = os.pathsep.join(part for part in clean["PATH"].split(os.pathsep) if part != beside)
        return clean | {"PATH": path, "HOME": str(self.folder), "OMP_NUM_THREADS": "1"} | values

    def shell(self, command: str, code: int = 0, folder: Path | None = None, **values: str) -> str:
        """Run a command, and return what it prints, errors included."""
        done = subprocess.run(
            command, shell=True, cwd=folder or self.folder, env=self.environment(values),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def lab(self, *arguments: str, code: int = 0, **values: str) -> str:
        return self.shell(shlex.join([sys.executable, str(ROOT / "main.py"), *arguments]), code, **values)

    def stopped(self, *arguments: str, at: str) -> str:
        """Return what a command prints that Ctrl-C ends once a line has `at` in it."""
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments], cwd=self.folder, env=self.environment({}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if at in line:
                process.send_signal(signal.SIGINT)
                at = "\0"
        assert process.wait(60) == 130, "".join(lines)
        return "".join(lines)

    def write(self, name: str, data: Mapping[str, Any]) -> str:
        (self.folder / name).write_text(yaml.safe_dump(dict(data)))
        return name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("commands") / 'bob\'s "new" work'
    folder.mkdir()
    return Place(folder)


def after(text: str, mark: str) -> str:
    """Return the rest of the only line with a mark, behind it."""
    (line,) = [line for line in text.splitlines() if mark in line]
    return line.partition(mark)[2].strip()


def test_the_first_run(place: Place) -> None:
    command = after(place.lab("--list"), "Make one: ")
    assert "data" in place.shell(f"{command} --print-config")


def test_the_examples_of_the_help(place: Place) -> None:
    examples = place.lab("--help").partition("Examples:")[2].strip().splitlines()
    assert len(examples) > 5
    for example in map(str.strip, examples):
        words = shlex.split(example)
        assert Path(words[0]).is_file() and Path(words[1]) == ROOT / "main.py"
        options = command_line.parser().parse_args(words[2:])
        command_line.refuse_idle(options)
        if options.run or options.optimize:
            place.shell(f"{example} --print-config")


def test_a_stopped_run_and_its_upload(place: Place) -> None:
    """Both parts of it, and the W&B of this environment, which is not in the path."""
    out = place.stopped("--run", place.write("a run.yaml", RUN), at="Epoch   20/3000")
    login = re.search(r"no key is configured \((.+)\); to upload: ", out)
    assert login and "Usage: wandb login" in place.shell(f"{login[1]} --help")
    again = after(out, "Resume  ")
    (run,) = (place.folder / "runs").iterdir()
    done = len((run / "metrics.csv").read_text().splitlines()) - 1
    out = place.shell(f"{again} --set epochs={done + 2}")
    with wandb_server() as server:
        place.shell(after(out, "to upload: "), WANDB_BASE_URL=server.url, WANDB_API_KEY="0123456789" * 4)
        steps = Counter(int(row["_step"]) for row in server.streamed.get("wandb-history.jsonl", []))
    assert steps == Counter(range(1, done + 3))


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    """A run that is finished."""
    elsewhere = Place(place.folder / "finished")
    elsewhere.folder.mkdir()
    elsewhere.lab("--run", elsewhere.write("run.yaml", {**RUN, "epochs": 2, "trackers": []}))
    (found,) = (elsewhere.folder / "runs").iterdir()
    return found.relative_to(place.folder)


def test_a_finished_run_is_extended(place: Place, run: Path) -> None:
    out = place.lab("--resume", str(run), "--set", "epochs=2")
    option = re.search(r"(--set epochs=)N to train longer", out)
    assert option
    place.lab("--resume", str(run), *shlex.split(f"{option[1]}3"))
    assert len((place.folder / run / "metrics.csv").read_text().splitlines()) == 4


def test_a_run_that_found_the_disk_full(place: Place, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    command = shell_commands.main("--resume", "RUN").replace("RUN", shlex.quote(str(run)))
    assert "epochs" in place.shell(f"{command} --print-config")


@pytest.fixture(scope="module")
def study(place: Place) -> tuple[str, str]:
    """The output of a study that Ctrl-C ended, and that of the command that continues it."""
    out = place.stopped("--optimize", place.write("a study.yaml", STUDY), at="trial 1")
    return out, place.shell(f"{after(out, 'Continue ')} --set n_trials=4")


def test_a_stopped_study_and_its_winner(place: Place, study: tuple[str, str]) -> None:
    assert "Done" in study[1]
    command = after(study[1], "Again  ")
    assert "completed" in place.shell(command).lower()


def test_the_dashboard_of_a_study(place: Place, study: tuple[str, str]) -> None:
    serve(place, after(study[0], "Storage").partition("(")[2].removesuffix(")"))


def test_a_study_whose_folder_is_gone(place: Place, study: tuple[str, str]) -> None:
    home, away = place.folder / "studies" / "night", place.folder / "away"
    home.rename(away)
    try:
        error = place.lab("--report", "night", code=2)
        command = re.search(r"makes it again, and (.+) shows its values", error)
        assert command, error
        serve(place, command[1])
    finally:
        away.rename(home)


def test_a_database_of_an_earlier_optuna(place: Place, study: tuple[str, str]) -> None:
    """Made by its own downgrade; a copy of the database is restored by the command that made it."""
    file, copy = place.folder / "studies.db", place.folder / "studies-copy.db"
    with closing(sqlite3.connect(file)) as connection:
        trials = connection.execute("SELECT count(*) FROM trials").fetchone()
        connection.executescript(
            "DROP INDEX ix_trials_study_id; UPDATE alembic_version SET version_num = 'v3.0.0.d'"
        )
    error = place.lab("--report", "night", code=2)
    backup, upgrade = (line.strip() for line in error.splitlines() if line.startswith("  "))
    place.shell(backup)
    place.shell(upgrade)
    place.lab("--report", "night")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == trials
    words = shlex.split(backup)
    place.shell(shlex.join([*words[:-2], *reversed(words[-2:])]))
    assert "by an earlier version of Optuna" in place.lab("--report", "night", code=2)
    place.shell(upgrade)


def serve(place: Place, command: str) -> None:
    """Start a dashboard by its command, until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["exec", command, "--port", str(port)]
    server = subprocess.Popen(
        " ".join(words), shell=True, cwd=place.folder, env=place.environment({}),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.2)
    finally:
        server.kill()
        server.wait()


def test_what_a_studys_files_say_from_anywhere(place: Place, study: tuple[str, str], tmp_path: Path) -> None:
    home = place.folder / "studies" / "night"
    page = html.unescape(re.sub(r"<[^>]+>", "\n", (home / "report.html").read_text()))
    found = [line.strip() for line in page.splitlines() if line.strip().startswith("cd ")]
    assert len(found) == 3, found
    head = (home / "best" / "config.yaml").read_text().splitlines()[1]
    for command in (*found, head.partition("again: ")[2]):
        dry = "" if "--report" in command else " --print-config"
        assert place.shell(f"{command}{dry}", folder=tmp_path)


def test_the_fork_of_a_changed_study(place: Place, study: tuple[str, str]) -> None:
    changed = yaml.safe_load((place.folder / "a study.yaml").read_text())
    changed["run"]["batch_size"] = 8
    place.write("a study.yaml", {**changed, "n_trials": 1})
    error = place.lab("--optimize", "a study.yaml", code=2)
    (command,) = [line.strip() for line in error.splitlines() if "--fork night-2" in line]
    assert "night-2" in place.shell(command)


def test_packages_are_installed_into_this_python(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    command = shell_commands.install("onnx", "numpy")
    assert "already satisfied: numpy" in place.shell(f"{command} --dry-run --no-index --no-deps")


def test_the_tunnel_is_one(place: Place) -> None:
    error = place.lab("--dashboard", "sqlite:///x.db", "--host", "0.0.0.0", "--port", "8099", code=2)
    command = error.strip().rpartition("a tunnel: ")[2]
    assert command == "ssh -L 8099:127.0.0.1:8099 MACHINE"
    if shutil.which("ssh"):
        assert "localforward 8099 [127.0.0.1]:8099" in place.shell(command.replace("ssh ", "ssh -G ", 1))


def test_a_secret_that_a_record_hides_is_given_again(place: Place) -> None:
    """The option that the error names is taken."""
    run = {**RUN, "epochs": 1, "trackers": [], "net": {**RUN["net"], "token": "hunter2-and-more"}}  # type: ignore[dict-item]
    hidden = {**run, "net": {**run["net"], "token": "***"}}  # type: ignore[dict-item]
    error = place.lab("--run", place.write("hidden.yaml", hidden), "--print-config", code=2)
    option = re.search(r"provide it: (--set \S+=)VALUE", error)
    assert option, error
    out = place.lab("--run", "hidden.yaml", "--print-config", *f"{option[1]}hunter2-and-more".split(" "))
    assert "width" in out


@pytest.mark.parametrize(
    ("data", "key"),
    [("image_folder", "root"), ("class_folder", "root"), ("manifest", "path"), ("class_table", "path")],
)
def test_data_that_is_not_named(place: Place, data: str, key: str) -> None:
    """The option that the message names is taken: another error follows."""
    file = place.folder / place.write(
        "unnamed.yaml", {**RUN, "trackers": [], "data": {"target": f"lab.data.{data}", key: None}}
    )
    with pytest.raises(ConfigError) as first:
        read_run(file, [])[0].create_data()
    option = re.search(rf"pass --set (data\.{key}=)", str(first.value))
    assert option
    with pytest.raises(ConfigError) as second:
        read_run(file, [f"{option[1]}nowhere"])[0].create_data()
    assert "nowhere" in str(second.value) and "is not set" not in str(second.value)


def test_data_that_is_not_named_in_a_study(place: Place) -> None:
    run = {**RUN, "trackers": [], "data": {"target": "lab.data.image_folder", "root": None}}
    file = place.write("unnamed_study.yaml", {**STUDY, "study_name": "unnamed", "run": run})
    error = place.lab("--check", file, code=1)
    option = re.search(r"pass (--set data\.root=)PATH", error)
    assert option, error
    assert "nowhere/images" in place.lab("--check", file, *f"{option[1]}nowhere".split(" "), code=1)
