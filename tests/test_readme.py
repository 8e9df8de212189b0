"""What README.md shows is what happens: its snippets run, its commands parse, its output is the real one."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.config import OptimizeConfig, RunConfig, config_file, is_study
from lab.config.validation import validate
from lab.console import command_line
from tests.conftest import ROOT
from tests.test_architecture import LAYERS

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = {
    match.group(1): body
    for language, body in BLOCKS
    if language in ("python", "yaml") and (match := re.match(r"# (\w+\.(?:py|yaml))\n", body))
}
COMMANDS = [
    shlex.split(line, comments=True)
    for language, body in BLOCKS
    if language == "sh"
    for line in body.splitlines()
    if line.startswith("python main.py")
]


def python(folder: Path, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that has the README's files, as a user would who put them beside main.py."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
        "WANDB_API_KEY": "",
    }
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file of the README, and the configs."""
    folder = tmp_path_factory.mktemp("readme")
    for name, body in FILES.items():
        (folder / name).write_text(body)
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@pytest.fixture(scope="module")
def own_run(place: Path) -> Path:
    """The folder of the run of the reader's own model, data, loss, metric and tracker."""
    python(place, ROOT / "main.py", "--run", "my_run.yaml")
    (folder,) = (place / "runs").glob("*_rings")
    return folder


@pytest.fixture(scope="module")
def run_from_python(place: Path) -> str:
    """The last line of the snippet that makes a run from Python: value, outcome, a metric, folder."""
    return python(place, "from_config.py").stdout.splitlines()[-1]


def test_the_readers_own_parts_run(own_run: Path) -> None:
    lines = (own_run / "journal.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5"]
    header = (own_run / "metrics.csv").read_text().splitlines()[0]
    assert "val_recall" in header and "val_accuracy" in header


def test_each_of_them_takes_at_most_15_lines() -> None:
    own = {name: body for name, body in FILES.items() if name.startswith("my_") and name.endswith(".py")}
    assert set(own) == {"my_model.py", "my_data.py", "my_loss.py", "my_metric.py", "my_tracker.py"}
    assert {name: n for name, body in own.items() if (n := len(body.splitlines()) - 1) > 15} == {}


def test_a_run_leaves_the_files_that_are_listed(own_run: Path) -> None:
    table = TEXT[TEXT.index("| file | what it is |") :].split("\n\n")[0]
    listed: set[str] = set()
    for line in table.splitlines()[2:]:
        first, *others = re.findall(r"`([^`]+)`", line.split(" | ")[0])
        listed |= {first, *(str(Path(first).with_name(other.rstrip("/"))) for other in others)}
    elsewhere = {"checkpoints/epoch_0010.pt", "predictions.png", "traceback.txt", "tensorboard/", "wandb"}
    assert listed > elsewhere
    for name in listed - elsewhere:
        assert (own_run / name).is_file(), name
    present = {str(path.relative_to(own_run)) for path in own_run.rglob("*") if path.is_file()}
    assert present <= listed | {".lock", "journal.txt"}


def test_a_run_can_be_listed_resumed_and_compared(own_run: Path, run_from_python: str, place: Path) -> None:
    script = ROOT / "main.py"
    resumed = python(place, script, "--resume", own_run.name, "--set", "epochs=6").stdout
    assert "Epoch 6/6" in resumed and "Epoch 5/6" not in resumed
    refused = python(place, script, "--resume", own_run.name, "--set", "net.rings=4", status=2).stderr
    assert "net.rings" in refused and "16" in refused
    other = Path(run_from_python.split()[-1]).name
    listed = python(place, script, "--list").stdout
    assert own_run.name in listed and other in listed
    compared = python(place, script, "--compare", own_run.name, other).stdout
    assert "my_model.Rings" in compared and len(list((place / "runs").glob("compare_*.png"))) == 1


def test_the_best_network_comes_back(own_run: Path, place: Path) -> None:
    code = "import runpy, sys; sys.argv.pop(0); print(runpy.run_path(sys.argv[0])['model'].training)"
    assert python(place, "-c", code, "load_best.py", own_run).stdout == "False\n"


@pytest.mark.slow
def test_the_study_runs_and_its_winner_again(place: Path) -> None:
    script = ROOT / "main.py"
    searched = python(place, script, "--optimize", "my_study.yaml").stdout
    searched = searched.replace(
        shlex.join([sys.executable, str(script)]), "python main.py"
    )  # as it was called
    shown = next(body for language, body in BLOCKS if language == "text" and "Study    " in body)
    for line in (
        line for line in shown.splitlines() if not line.startswith(("Trial", "Best", " ", "[", "Done"))
    ):
        assert line in searched.splitlines(), line
    best = re.search(r"Best     trial \d+: val_loss (\S+)\n", searched)
    assert best is not None and "16/16 done" in searched
    winner = "studies/rate_and_width/best/config.yaml"
    assert f"val_loss {best.group(1)}" in python(place, script, "--run", winner, "--quiet").stdout
    assert python(place, script, "--report", "rate_and_width").stdout.endswith("report.html\n")


def test_the_study_of_the_other_page_has_every_key_and_is_sound() -> None:
    text = (ROOT / "docs" / "studies.md").read_text()
    body = next(found for found in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    document = config_file.parse(body, str(ROOT / "every_study_key.yaml"))
    assert set(document.data) | {"devices", "prune_on"} == set(OptimizeConfig.model_fields)
    OptimizeConfig.from_document(document).check()


def test_the_loop_alone(place: Path) -> None:
    python(place, "loop_alone.py")


def test_a_run_from_python(run_from_python: str) -> None:
    value, outcome, *_ = run_from_python.split()
    assert outcome == "completed" and 0 < float(value) < 1


def test_the_example_has_every_key_and_is_sound() -> None:
    data = yaml.safe_load(FILES["every_key.yaml"])
    assert set(data) == set(RunConfig.model_fields)
    config = validate(RunConfig, {**data, "optimizer": {**data["optimizer"], "lr": 0.001}})
    config.check()


@pytest.mark.slow
def test_the_example_passes_a_check(place: Path) -> None:
    assert "Ready to run." in python(place, ROOT / "main.py", "--check", "every_key.yaml").stdout


def _one_liners() -> list[str]:
    table = TEXT[TEXT.index("| you want | line |") :].split("\n\n")[0]
    return [line.split("|")[2].strip().strip("`") for line in table.splitlines()[2:]]


@pytest.mark.parametrize("line", _one_liners())
def test_one_line_of_config(line: str) -> None:
    key, value = line.split(": ", 1)
    config = RunConfig.from_yaml(ROOT / "configs" / "regression.yaml", [f"{key}={value}"])
    config.check()
    assert key in config.as_data()


def test_what_a_wrong_config_answers(place: Path) -> None:
    answer = python(place, ROOT / "main.py", "--run", "bad.yaml", status=2)
    assert answer.stderr == _answers()[0]
    (place / "bad.yaml").write_text(FILES["bad.yaml"].replace("epocs", "epochs").replace("32.5", "32"))
    assert python(place, ROOT / "main.py", "--run", "bad.yaml", status=2).stderr == _answers()[1]


def _answers() -> list[str]:
    return [body for language, body in BLOCKS if language == "text" and "with the config" in body]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_parses(command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    redirected = command.index(">") if ">" in command else len(command)
    options = command_line.parser().parse_args(command[2:redirected])
    command_line.refuse_idle(options)
    if options.run and "studies/" in options.run:
        return  # what a study of this page leaves, which another test runs
    for path in filter(None, (options.run, options.check, options.optimize)):
        kind = OptimizeConfig if is_study(config_file.read(path)) else RunConfig
        kind.from_yaml(path, options.set).check()


def test_the_schema_is_the_shipped_one(place: Path) -> None:
    (relative,) = re.findall(r"yaml-language-server: \$schema=(\S+)", TEXT)
    shipped = json.loads((ROOT / "configs" / relative).read_text())
    assert json.loads(python(place, ROOT / "main.py", "--schema", "run").stdout) == shipped


def test_the_two_commands_do_all_the_set_up() -> None:
    commands = [body for language, body in BLOCKS if language == "sh" and "-m venv" in body]
    assert len(commands) == 2
    for body in commands:
        assert len(body.splitlines()) == 1
        (requirements,) = re.findall(r"-r (\S+)", body)
        assert (ROOT / requirements).is_file()
    assert (ROOT / re.findall(r"--run (\S+)", commands[0])[0]).is_file()


def test_the_check_of_everything_reads_the_same_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for marker, body in re.findall(r"<!-- ci: ([\w-]+) -->\n```sh\n(.*?)```", TEXT, re.DOTALL):
        assert f"readme_command {marker}" in script and body.strip()
    assert len(re.findall(r"<!-- ci: [\w-]+ -->", TEXT)) == 2


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_tests_that_the_checklist_names_exist() -> None:
    current = Path()
    for file, test in re.findall(
        r"`([\w/]*test_\w+\.py)?(?:::(\w+))?`", (ROOT / "docs" / "requirements.md").read_text()
    ):
        current = ROOT / "tests" / file if file else current
        if file or test:
            assert current.is_file(), file
            assert not test or f"def {test}(" in current.read_text(), f"{current.name}::{test}"


def test_links_of_the_documents_lead_somewhere() -> None:
    documents = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [(d, link) for d in documents for link in re.findall(r"\]\(([^)#:]+)\)", d.read_text())]
    assert links and [link for d, link in links if not (d.parent / link).exists()] == []


def test_the_page_on_architecture_names_what_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"\b(?:lab|selftest)(?:\.[a-z_]\w*)+", text))
    paths = {name: ROOT.joinpath(*name.split(".")) for name in names}
    assert names and [n for n, p in paths.items() if not (p.is_dir() or p.with_suffix(".py").is_file())] == []
    questions = re.findall(r"^\| .*\? \| \[(\S+)\]\(\.\./(\S+)\) \|$", text, re.MULTILINE)
    assert len(questions) == len(set(questions)) == 20
    assert [file for file, link in questions if file != link or not (ROOT / file).is_file()] == []


def test_the_table_of_layers_is_that_of_the_test() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (`.+?`) \|", text, re.MULTILINE)
    assert [(int(level), re.findall(r"`([\w.]+)`", parts)) for level, parts in rows] == list(
        zip(reversed(range(len(LAYERS))), LAYERS, strict=True)
    )
