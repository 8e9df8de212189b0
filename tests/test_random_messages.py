"""Equal behaviour whatever the messages say: each flow runs once as it is and once with random texts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config import ConfigError, OptimizeConfig, Problem, RunConfig
from lab.config.problems import ProblemKind
from main import main
from tests import study_tools as tools
from tests.lab.config.conftest import StudyFiles
from tests.lab.config.test_study_check import test_a_slip_in_the_space as slips_in_the_space
from tests.random_messages import environment, make_random

OWN = """
import os
import torch
from torch import nn
from lab import Infeasible

def ragged():
    items = [(torch.zeros(n), torch.zeros(1)) for n in (1, 2, 3)]
    return items, items

class Net(nn.Module):
    interrupted = False

    def __init__(self, fault="none", width=4):
        super().__init__()
        if fault == "infeasible":
            raise Infeasible("no such network")
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self.fault, self.calls = fault, 0

    def forward(self, x):
        self.calls += 1
        match self.fault:
            case "nan":
                return self.net(x) * float("nan")
            case "error":
                raise TypeError("unsupported operand")
            case "shape":
                return self.net(x)[:, :0]
            case "oom":
                raise torch.OutOfMemoryError("CUDA out of memory")
            case "oom_large" if len(x) > 16:
                raise torch.OutOfMemoryError("CUDA out of memory")
            case "exit":
                os._exit(7)
            case "large":
                return self.net(x) + 1e3
            case "interrupt" if self.calls > 4 and not Net.interrupted:
                Net.interrupted = True
                raise KeyboardInterrupt
        return self.net(x)
"""
RUN: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "device": "cpu",
    "threads": 1,
    "data": {"target": "lab.data.function", "train_count": 64, "val_count": 32},
    "net": {"target": "own.Net"},
    "pictures": {"enabled": False},
}
Flow = Callable[[], Any]
Twice = Callable[[Flow], Any]


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twice]:
    """Runs a flow twice, each time in a folder of its own, and compares; returns its result."""

    def call(flow: Flow) -> Any:
        found = []
        for name in ("as they are", "random"):
            with monkeypatch.context() as patch:
                folder = tmp_path / name
                folder.mkdir()
                (folder / "own.py").write_text(OWN)
                patch.chdir(folder)
                patch.syspath_prepend(folder)
                patch.delitem(sys.modules, "own", raising=False)
                if name == "random":
                    make_random(patch.setattr)
                    assert str(Problem((), "a text")) != "a text"
                found.append(flow())
        assert found[0] == found[1]
        return found[1]

    yield call


def kinds(config: Callable[[], RunConfig | OptimizeConfig]) -> list[Any]:
    """Everything but the texts of what reading and checking a config finds; equal texts are one problem."""
    with pytest.raises(ConfigError) as caught:
        config().check()
    found = [(p.path, p.kind, Path(p.where).name, bool(p.hint)) for p in caught.value.problems]
    return list(dict.fromkeys(found))


def run_file(**changes: Any) -> str:
    """A run's file in the current folder; dotted keys change its parts."""
    data = json.loads(json.dumps(RUN))
    for name, value in changes.items():
        here = data
        *parents, last = name.split(".")
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
    Path("run.yaml").write_text(yaml.safe_dump(data))
    return "run.yaml"


def runs() -> list[tuple[Any, ...]]:
    """How each run here ended."""
    summaries = [json.loads(file.read_text()) for file in sorted(Path("runs").glob("*/summary.json"))]
    return [(s["outcome"], s["epochs"], s["best_epoch"], repr(s["value"])) for s in summaries]


(SLIPS,) = (mark.args[1] for mark in slips_in_the_space.pytestmark if "written" in mark.args[0])


@pytest.mark.parametrize(("written", "instead"), [slip[:2] for slip in SLIPS])
def test_slips_in_a_study(twice: Twice, written: str, instead: str) -> None:
    twice(lambda: kinds(lambda: StudyFiles(Path()).read(written, instead)))


KINDS = ProblemKind
RUN_SLIPS: list[tuple[dict[str, Any], list[tuple[Any, ...]]]] = [
    ({"epohs": 3}, [(("epohs",), KINDS.UNKNOWN_KEY)]),
    ({"scheduler": {"gamma": 0.5}}, [(("scheduler", "target"), KINDS.MISSING_KEY)]),
    ({"net.widht": 3}, [(("net", "widht"), KINDS.UNKNOWN_ARGUMENT)]),
    ({"optimizer": {"target": "torch.optim.SGD", "params": 3}},
     [(("optimizer", "params"), KINDS.GIVEN_BY_RUN)]),
    ({"net": {"target": "torch.nn.Bilinear", "in1_features": 1, "in2_features": 1}},
     [(("net",), KINDS.MISSING_ARGUMENT)]),
    ({"net": "torch.nn.Liner"}, [(("net", "target"), KINDS.VALUE)]),
    ({"epochs": 0, "batch_size": "x"}, [(("epochs",), KINDS.VALUE), (("batch_size",), KINDS.VALUE)]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), RUN_SLIPS)
def test_slips_in_a_run(twice: Twice, changes: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    def flow() -> Any:
        file = run_file(**changes)
        return main(["--run", file]), runs(), kinds(lambda: RunConfig.from_yaml(file))

    code, made, found = twice(flow)
    assert (code, made) == (2, [])
    assert sorted(each[:2] for each in found) == sorted(expected)


def test_a_setting_that_leads_nowhere(twice: Twice) -> None:
    def flow() -> Any:
        return kinds(lambda: RunConfig.from_yaml(run_file(), ["epochs.x=3"]))

    assert twice(flow) == [(("epochs",), KINDS.NO_SUCH_PART, "--set epochs.x=3", False)]


@pytest.mark.parametrize(
    ("changes", "code", "outcome"),
    [
        ({}, 0, "completed"),
        ({"epochs": 4, "early_stopping_config": {"patience": 1, "min_delta": 100.0}}, 0, "early_stopped"),
        ({"net.fault": "nan"}, 1, "diverged"),
        ({"net.fault": "error"}, 2, "failed"),
        ({"net.fault": "shape"}, 2, "failed"),
        ({"net.fault": "infeasible"}, 2, "infeasible"),
        ({"data": {"target": "own.ragged"}}, 2, "failed"),
    ],
)
def test_the_end_of_a_run(twice: Twice, changes: dict[str, Any], code: int, outcome: str) -> None:
    ends = twice(lambda: (main(["--run", run_file(**changes)]), runs()))
    assert ends[0] == code
    assert [each[0] for each in ends[1]] in ([outcome], [])


def test_a_run_is_interrupted_and_resumed(twice: Twice) -> None:
    def flow() -> Any:
        codes = [main(["--run", run_file(**{"net.fault": "interrupt", "epochs": 3})])]
        states = [runs()]
        (folder,) = Path("runs").iterdir()
        codes.append(main(["--resume", str(folder)]))
        states.append(runs())
        for checkpoint in folder.rglob("*.pt"):
            checkpoint.write_bytes(b"damaged")
        codes.append(main(["--resume", str(folder), "--set", "epochs=4"]))
        return codes, states

    codes, ((interrupted,), (resumed,)) = twice(flow)
    assert codes == [130, 0, 2]
    assert (interrupted[0], *resumed[:2]) == ("interrupted", "completed", 3)


def study_file(faults: list[str], **changes: Any) -> str:
    """A study that tries each fault, and then a point of its own."""
    name = tools.study_file(
        Path(),
        **{
            "run": {**RUN, "optimizer": {"target": "torch.optim.AdamW", "lr": 0.01}},
            "isolation": "none",
            "n_trials": len(faults) + 1,
            "preflight": "off",
            "pruner": {"target": "optuna.pruners.ThresholdPruner", "upper": 100.0},
            "search_space": {
                "net.fault": {"choices": [*dict.fromkeys(faults)]},
                "net.width": {"type": "int", "low": 2, "high": 8},
            },
            "enqueue": [{"net.fault": fault, "net.width": 2 + i} for i, fault in enumerate(faults)],
            "max_consecutive_failures": 9,
            **changes,
        },
    )
    return str(name)


def ends() -> list[tuple[Any, ...]]:
    """How each trial ended, and what was noted of it but for texts and times."""
    noted = ("outcome", "fault", "attempts", "accumulate")
    return [
        (t.number, t.state, t.params, repr(t.values), repr(t.intermediate_values),
         {name: t.user_attrs.get(name) for name in noted})
        for t in tools.trials(Path())
    ]  # fmt: skip


FAULTS = ["none", "nan", "large", "error", "oom", "infeasible"]
OUTCOMES = ["completed", "diverged", "pruned", "failed", "out_of_memory", "infeasible"]


def test_a_study_with_every_outcome(twice: Twice) -> None:
    code, found = twice(lambda: (main(["--optimize", study_file(FAULTS)]), ends()))
    assert code == 0
    assert [each[-1]["outcome"] for each in found[:6]] == OUTCOMES


def test_a_study_that_fails_alike(twice: Twice) -> None:
    changes = {"max_consecutive_failures": 2}
    code, found = twice(lambda: (main(["--optimize", study_file(["error"] * 4, **changes)]), ends()))
    assert (code, len(found)) == (1, 2)


def test_a_changed_study(twice: Twice) -> None:
    def flow() -> Any:
        codes = [main(["--optimize", study_file(["none"])])]
        codes.append(main(["--optimize", study_file(["none"], **{"run/batch_size": 16})]))
        codes.append(main(["--optimize", study_file(["none"], n_trials=3)]))
        return codes, ends()

    codes, found = twice(flow)
    assert codes == [0, 2, 0]
    assert len(found) == 3


@pytest.mark.slow
def test_a_study_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ["none", "exit", "error", "oom_large", "none", "infeasible"]
    outcomes = ["completed", "failed", "failed", "completed", "completed", "infeasible"]
    results = []
    for name in ("as they are", "random"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "own.py").write_text(OWN)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_API_KEY": ""}
        if name == "random":
            variables = environment(folder / "random", variables)
        file = study_file(faults, isolation="process", on_oom="accumulate")
        command = [sys.executable, str(tools.ROOT / "main.py"), "--optimize", file]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
        results.append((done.returncode, ends()))
    assert results[0] == results[1]
    assert results[1][0] == 0
    assert [each[-1]["outcome"] for each in results[1][1][:6]] == outcomes
