"""`python main.py` on wrong configs and command lines: what it says, how soon, and its exit code."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.config import RunConfig
from lab.console import command_line

ROOT = Path(__file__).parent.parent
Main = Callable[..., subprocess.CompletedProcess[str]]
GOOD = """\
data: {target: lab.data.function, train_count: 8, val_count: 4}
net: {target: model.MLP, width: 4, layers: 1}
epochs: 1
device: cpu
pictures: {enabled: false}
"""
LATER = "Fix these first; the arguments of components are checked afterwards."


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of an orderly refusal."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_a_misspelt_key_is_answered_at_once(main_py: Main) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = main_py("--run", "run.yaml", config=GOOD.replace("epochs", "epohcs"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert told(done) == [
        "1 problem with the config:",
        "  run.yaml:3: epohcs: unknown key 'epohcs'; did you mean 'epochs'?",
        LATER,
    ]
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


@pytest.mark.parametrize("verb", ["--run", "--check"])
def test_shape_errors_come_without_torch(tmp_path: Path, verb: str) -> None:
    (tmp_path / "run.yaml").write_text(GOOD.replace("epochs: 1", "epochs: one"))
    code = f"import sys, main; print(main.main(['{verb}', 'run.yaml']), 'torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "2 False\n", done.stderr


def test_all_shape_errors_at_once_by_line_and_alone(main_py: Main) -> None:
    config = GOOD + "optimizer: {target: torch.optim.AdamW, lrr: 1}\nname: 3\nepochs: 2\n"
    done = main_py("--run", "run.yaml", "--set", "seeds.7=1", "--set", "ema.deca=1", config=config)
    assert told(done) == [
        "4 problems with the config:",
        "  run.yaml:7: name: found 3 (whole number), expected text",
        "  run.yaml:8: the key 'epochs' is given twice, first in line 3; keep one",
        "  --set seeds.7=1: seeds.7: '7' is no position in it: found a list of 1, counted from 0",
        "  --set ema.deca=1: ema.deca: unknown key 'deca'; did you mean 'decay'?",
        LATER,
    ]


def test_then_all_errors_of_the_components_by_line(main_py: Main) -> None:
    config = GOOD.replace("width", "widht") + (
        "monitor: {metric: val_mea, mode: min}\n"
        "metrics: {mae: lab.metrics.MAE}\n"
        "optimizer:\n  target: torch.optim.AdamW\n  lr: 1e-3x\n  betas: [0.9, 0.99]\n"
        "criterion: torch.nn.MSELos\n"
    )
    done = main_py("--run", "run.yaml", "--set", "optimizer.betas.1=x", config=config)
    assert told(done) == [
        "5 problems with the config:",
        "  run.yaml:2: net.widht: MLP takes no 'widht'; did you mean 'width'?",
        "  run.yaml:6: monitor.metric: nothing is logged as 'val_mea'; did you mean 'val_mae'?",
        "  run.yaml:10: optimizer.lr: found '1e-3x' (text), expected a number",
        "  run.yaml:12: criterion.target: 'torch.nn' has no 'MSELos'; did you mean 'MSELoss'?",
        "  --set optimizer.betas.1=x: optimizer.betas.1: found 'x' (text), expected a number",
        "Fix these first; component-specific checks run afterwards.",
    ]


@pytest.mark.parametrize("verb", ["--run", "--check"])
def test_what_a_component_refuses_when_it_is_built(main_py: Main, verb: str) -> None:
    done = main_py(verb, "run.yaml", "--set", "optimizer.lr=-1", config=GOOD)
    assert told(done) == [
        "1 problem with the config:",
        "  --set optimizer.lr=-1: optimizer: torch.optim.AdamW can't be built: Invalid learning rate: -1",
    ]


def test_the_users_own_module_beside_main(tmp_path: Path) -> None:
    for path in [*ROOT.glob("*.py")]:
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "lab").symlink_to(ROOT / "lab")
    (tmp_path / "mine.py").write_text("import torch\n\nclass Net(torch.nn.Module:\n    pass\n")
    (tmp_path / "run.yaml").write_text(
        "data: lab.data.function\nepochs: 1\n\nnet: {target: mine.Net, width: 3}\n"
    )
    command = [sys.executable, "main.py", "--run", "run.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = told(done)
    assert len(lines) == 2
    assert lines[1].startswith("  run.yaml:4: net.target: importing 'mine' failed: SyntaxError: ")
    assert lines[1].endswith("(mine.py, line 3)")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("", "  run.yaml:1: a config is a mapping of keys to values; it is empty"),
        (
            "a: [1\nb: 2\n",
            "  run.yaml:2: is not valid YAML: while parsing a flow sequence that begins in line 1 ",
        ),
        ("a: &a [*a]\n", "  run.yaml:1: a.0: contains itself"),
        ("a: " + "[" * 100_000, "  run.yaml:1: is nested more than 50 deep"),
        ("- 1\n", "  run.yaml:1: a config is a mapping of keys to values; found [1] (list)"),
    ],
)
def test_files_that_are_no_config(main_py: Main, config: str, line: str) -> None:
    lines = told(main_py("--run", "run.yaml", config=config))
    assert lines[0] == "1 problem with the config:"
    assert lines[1].startswith(line)
    assert len(lines) == 2


def test_a_missing_file_and_a_missing_run(main_py: Main, tmp_path: Path) -> None:
    assert told(main_py("--run", "rnu.yaml", config=GOOD))[1] == (
        "  rnu.yaml: there is no such file here; did you mean 'run.yaml'?"
    )
    (tmp_path / "runs" / "20260101-000000_run").mkdir(parents=True)
    said = main_py("--resume", "20260101-000000_rum")
    assert told(said) == ["main.py: there is no run '20260101-000000_rum'; did you mean 20260101-000000_run?"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "specify exactly one of --run, --resume, --optimize, --predict, --evaluate, --export, --check, "
            "--list, --compare, --report, --dashboard, --selftest or --schema; found nothing",
        ),
        (["--list", "--check", "x"], "found --check and --list"),
        (["--resume", "x", "--check", "x"], "found --resume and --check"),
        (["--run", "x", "--list", "--compare", "x"], "found --run, --list and --compare"),
        (["--schema", "rum"], "invalid choice: 'rum'"),
        (["--compare"], "expected at least one argument"),
        (["--predict", "x", "--input", "y"], "--predict needs --input PATH and --output FOLDER"),
        (["--export", "tflite"], "expected 2 arguments"),
        (
            ["--run", "x", "--allow-import", "a-b"],
            "--allow-import takes a package's name, such as einops; found 'a-b'",
        ),
        (["--list", "--ascending"], "--ascending has no effect without --sort"),
        (["--run", "x", "--quiet", "--json"], "--quiet has no effect with --json"),
        (["--run", "x", "--quiet", "--print-config"], "--quiet has no effect with --print-config"),
    ],
)
def test_a_wrong_command_line(main_py: Main, arguments: list[str], message: str) -> None:
    assert message in told(main_py(*arguments))[-1]


LIST = "sort ascending project outcome where"
PREDICT = (
    "input force probabilities min-area pixel-size sequence tile overlap flips threshold output value-range"
)
JUDGE = "split tune-threshold"
RECIPE = "set print-config no-plots quiet fork"
NO_SET = RECIPE.removeprefix("set ")
EVERY_ONE = f"{RECIPE} allow-import json {LIST} {PREDICT} {JUDGE}"


@pytest.mark.parametrize(
    ("verb", "refused"),
    [
        (["--run", "x"], f"fork {LIST} {PREDICT} {JUDGE}"),
        (["--resume", "x"], f"fork {LIST} {PREDICT} {JUDGE}"),
        (["--run", "x", "--resume", "x"], f"fork {LIST} {PREDICT} {JUDGE}"),
        (["--optimize", "x"], f"no-plots {LIST} {PREDICT} {JUDGE}"),
        (["--check", "x"], f"no-plots quiet fork {LIST} {PREDICT} {JUDGE}"),
        (["--predict", "x"], f"set print-config no-plots fork json {LIST} {JUDGE}"),
        (["--evaluate", "x"], f"{NO_SET} {LIST} input force probabilities min-area sequence value-range"),
        (["--export", "onnx", "x"], f"{NO_SET} json {LIST} {JUDGE} probabilities min-area pixel-size "
                                    "sequence tile overlap flips threshold value-range"),
        (["--list"], f"{RECIPE} allow-import {PREDICT} {JUDGE}"),
        (["--compare", "x", "y"], EVERY_ONE),
        (["--report", "x"], EVERY_ONE),
        (["--schema", "run"], EVERY_ONE),
        (["--dashboard"], EVERY_ONE),
        (["--selftest", "faults"], EVERY_ONE.replace("json ", "").replace("output", "")),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused(
    verb: list[str], refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "fork": "new",
        "set": "epochs=1",
        "sort": "val_loss",
        "project": "",
        "outcome": "failed",
        "where": "epochs=1",
        "input": "images",
        "output": "out",
        "min_area": "5",
        "pixel_size": "0.5",
        "value_range": "0,4095",
        "sequence": "3",
        "tile": "64",
        "overlap": "8",
        "threshold": "0.5",
        "split": "val",
        "allow_import": "einops",
        "host": "localhost",
        "port": "99",
        "token": "0123456789abcdef",
        "only": "1",
    }
    own = {"--dashboard": "full only", "--selftest": "host port token"}
    refused = f"{refused} {own.get(verb[0], 'host port token full only')}"
    needs = {"ascending": ["--sort", "val_loss"]}
    enough = ["--input", "images", "--output", "out"] if "--predict" in verb else []
    verbs = " and ".join(word for word in verb if word.startswith("--"))
    for name in command_line.GOES_WITH:
        option = [f"--{name.replace('_', '-')}", *(values[name].split(",") if name in values else [])]
        given = command_line.parser().parse_args([*verb, *enough, *option, *needs.get(name, [])])
        if option[0][2:] not in refused.split():
            command_line.refuse_idle(given)
            continue
        with pytest.raises(SystemExit) as left:
            command_line.refuse_idle(given)
        assert left.value.code == 2
        said = capsys.readouterr().err
        first = "--sort" if name == "ascending" else option[0]  # the one that it needs comes before it
        goes = " and ".join(f"--{each}" for each in command_line.GOES_WITH[name])
        goes = goes.replace(" and ", ", ", goes.count(" and ") - 1)
        assert said.endswith(f"error: {first} has no effect with {verbs}; it goes with {goes}\n")


def test_every_option_is_in_the_table() -> None:
    assert set(vars(command_line.parser().parse_args([]))) == {*command_line.VERBS, *command_line.GOES_WITH}


def test_print_config_shows_what_would_run_and_stops(main_py: Main, tmp_path: Path) -> None:
    override = ["--set", "optimizer.lr=1e-5", "--set", "seeds=[1, 2]", "--set", "ema.decay=0.5"]
    done = main_py("--run", "run.yaml", "--print-config", *override, config=GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "again.yaml").write_text(done.stdout)
    config = RunConfig.from_yaml(tmp_path / "again.yaml")
    assert config == RunConfig.from_yaml(tmp_path / "run.yaml", override[1::2])
    assert config.optimizer.arguments == {"lr": 1e-5}
    assert config.seeds == (1, 2)
    assert not (tmp_path / "runs").exists()
    as_json = main_py("--check", "run.yaml", "--print-config", "--json", *override)
    assert json.loads(as_json.stdout) == config.as_data()
    without = main_py("--run", "run.yaml", "--print-config", "--no-plots")
    assert "pictures:\n  enabled: false\n" in without.stdout


def test_schema_is_json_and_needs_no_torch(main_py: Main) -> None:
    done = main_py("--schema", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == RunConfig.model_json_schema()
