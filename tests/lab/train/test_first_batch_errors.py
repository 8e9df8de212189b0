"""An error in the first batch of a real run: a located message with shapes and dtypes, and no traceback."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import main
from lab.store import run_folder
from lab.train.first_batch_errors import described, problem_of
from util import Trainer

OWN = """\
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

class Net(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

class Scaled(Net):
    def forward(self, x):
        return super().forward(x) @ torch.eye(3, dtype=torch.float64)

class Judged(Net):
    def forward(self, x):
        return super().forward(x) if self.training else x.view(7, 7)

class Detached(Net):
    def forward(self, x):
        return super().forward(x).detach()

class Late(Net):
    calls = 0
    def forward(self, x):
        type(self).calls += 1
        if type(self).calls == 2:
            raise KeyError("late")
        return super().forward(x)

class NoMemory(Net):
    def forward(self, x):
        raise MemoryError("no more")

class Flagged(Net):
    def forward(self, x):
        if Path("flag").exists():
            raise KeyError("flagged")
        return super().forward(x)

class Spare(Net):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(1, 1)

def loss(output, target):
    return {"a": 1}["b"]

class Metric(nn.Module):
    def update(self, prediction, target):
        assert prediction.shape == (1, 1), "a shape of mine"
    def compute(self):
        return 0.0
    def reset(self):
        pass

def rows(inputs=1):
    parts = [torch.rand(16, 4) for _ in range(inputs)]
    return TensorDataset(*parts, torch.rand(16, 3)), TensorDataset(*parts, torch.rand(16, 3))

class Broken(Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, index):
        raise OSError("a file of mine")

def broken():
    return Broken(), rows()[1]
"""


def at(code: str) -> str:
    """The place of a line of the user's, as it is printed."""
    (number,) = [number for number, line in enumerate(OWN.splitlines(), 1) if code in line]
    return f"(first_batch_own.py:{number})"


CONFIG = """\
epochs: 2
batch_size: 8
device: cpu
data: first_batch_own.rows
net: first_batch_own.Net
criterion: torch.nn.MSELoss
metrics: {}
pictures: {enabled: false}
"""
SHAPES = "input 8x4 float32, target 8x3 float32"


class Done(NamedTuple):
    code: int
    out: str
    err: str
    folder: Path | None


Main = Callable[..., Done]


@pytest.fixture
def run_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    (tmp_path / "first_batch_own.py").write_text(OWN)
    (tmp_path / "run.yaml").write_text(CONFIG)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("first_batch_own", None)

    def call(*arguments: str, **values: Any) -> Done:
        settings = [
            word
            for name, value in values.items()
            for word in ("--set", f"{name.replace('__', '.')}={json.dumps(value)}")
        ]
        code = main.main([*(arguments or ("--run", "run.yaml")), *settings])
        out, err = capsys.readouterr()
        runs = sorted(path for path in (tmp_path / "runs").glob("*") if path.is_dir())
        return Done(code, out, err, runs[-1] if runs else None)

    return call


LINEAR = {"target": "torch.nn.Linear", "in_features": 9, "out_features": 3}
FAULTS = {
    "features": (
        {"net": LINEAR},
        "run.yaml:5|--set|net: the first training batch failed: RuntimeError: mat1 and mat2 shapes cannot be "
        f"multiplied (8x4 and 9x3)|; {SHAPES}",
    ),
    "dtype": (
        {"net": "first_batch_own.Scaled"},
        f"net: the first training batch failed: RuntimeError: |{at('torch.eye(3')}; {SHAPES}",
    ),
    "inputs": (
        {"data": {"target": "first_batch_own.rows", "inputs": 2}},
        "net: the first training batch failed: TypeError: |"
        "positional argument|; inputs 8x4 float32, 8x4 float32, target 8x3 float32",
    ),
    "loss": (
        {"criterion": "first_batch_own.loss"},
        f"criterion: the first training batch failed: KeyError: 'b' {at('return {')}; "
        f"{SHAPES}, output 8x3 float32",
    ),
    "metric": (
        {"metrics": {"own": "first_batch_own.Metric"}},
        "metrics.own: the first training batch failed: AssertionError: a shape of mine "
        f"{at('a shape of mine')}; {SHAPES}, output 8x3 float32",
    ),
    "validation": (
        {"net": "first_batch_own.Judged"},
        f"net: the first validation batch failed: RuntimeError: |{at('x.view(7, 7)')}; {SHAPES}",
    ),
    "no graph": (
        {"net": "first_batch_own.Detached"},
        "the first training batch failed: RuntimeError: |does not require grad|"
        f"; {SHAPES}, output 8x3 float32",
    ),
    "item": (
        {"data": "first_batch_own.broken"},
        f"data: the first training batch can't be read: OSError: a file of mine {at('a file of mine')}",
    ),
    "item in a worker": (
        {"data": "first_batch_own.broken", "loader__workers": 1},
        f"data: the first training batch can't be read: OSError: a file of mine {at('a file of mine')}",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_reports_it_and_keeps_the_traceback(run_main: Main, name: str) -> None:
    values, parts = FAULTS[name]
    done = run_main(**values)
    assert done.code == 2, done
    assert "Traceback (most recent call last)" not in done.err + done.out
    head, line = done.err.splitlines()
    assert head == "1 problem with the config:"
    for part in parts.removeprefix("run.yaml:5|").split("|"):
        assert part in line
    assert done.folder is not None
    assert line.endswith(f"; traceback: runs/{done.folder.name}/traceback.txt")
    assert "Traceback (most recent call last)" in (done.folder / "traceback.txt").read_text()
    summary = run_folder.read_summary(done.folder)
    assert summary is not None and summary["outcome"] == "failed"


@pytest.mark.parametrize("name", FAULTS)
def test_a_check_reports_the_same(run_main: Main, name: str) -> None:
    values, parts = FAULTS[name]
    done = run_main("--check", "run.yaml", "--json", **values)
    assert done.code == 1
    (fault,) = json.loads(done.out)["faults"]
    for part in parts.removeprefix("run.yaml:5|--set|").split("|"):
        assert part in fault


def test_the_file_and_the_line_are_named(run_main: Main, tmp_path: Path) -> None:
    net = "net: {target: torch.nn.Linear, in_features: 9, out_features: 3}"
    (tmp_path / "run.yaml").write_text(CONFIG.replace("net: first_batch_own.Net", net))
    done = run_main()
    assert done.code == 2 and done.folder is not None
    assert done.err.splitlines()[1].startswith("  run.yaml:5: net: the first training batch failed: ")
    assert f"The first training batch: {SHAPES}\n" in (done.folder / "traceback.txt").read_text()


def test_several_seeds_are_recorded_as_failed(run_main: Main) -> None:
    done = run_main(net=LINEAR, seeds=[1, 2])
    assert done.code == 2 and done.folder is not None
    assert f"runs/{done.folder.name}/seed_1/traceback.txt" in done.err
    for folder in (done.folder, done.folder / "seed_1"):
        summary = run_folder.read_summary(folder)
        assert summary is not None and summary["outcome"] == "failed"
        assert summary["reason"].startswith("RuntimeError: mat1 and mat2")


def test_a_resumed_run_has_a_first_batch_too(run_main: Main, tmp_path: Path) -> None:
    done = run_main(net="first_batch_own.Flagged")
    assert done.code == 0 and done.folder is not None
    (tmp_path / "flag").touch()
    again = run_main("--resume", done.folder.name, epochs=4)
    assert again.code == 2
    failed = f"the first training batch failed: KeyError: 'flagged' {at('flagged')}"
    assert f"net: {failed}; {SHAPES}" in again.err


def test_an_error_in_a_later_batch_keeps_its_kind(run_main: Main) -> None:
    with pytest.raises(KeyError, match="late") as caught:
        run_main(net="first_batch_own.Late")
    assert problem_of(caught.value) is None


def test_memory_that_runs_out_is_no_error_of_the_config(run_main: Main) -> None:
    with pytest.raises(MemoryError) as caught:
        run_main(net="first_batch_own.NoMemory")
    assert problem_of(caught.value) is None
    (folder,) = Path("runs").iterdir()
    summary = run_folder.read_summary(folder)
    assert summary is not None and summary["outcome"] == "out_of_memory"


def test_run_and_check_print_the_same_hints(run_main: Main) -> None:
    values = {
        "net": "first_batch_own.Spare",
        "loader__workers": 1,
        "steps_per_epoch": 3,
        "scheduler": {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 1},
    }
    checked = json.loads(run_main("--check", "run.yaml", "--json", **values).out)
    events = [json.loads(line) for line in run_main("--run", "run.yaml", "--json", **values).out.splitlines()]
    run = [event["message"] for event in events if event["event"] == "note" and event["level"] == "warning"]
    assert sorted(run) == sorted(checked["warnings"])
    hints = (
        "spare.weight, spare.bias",
        "loader.workers has",
        "steps_per_epoch has",
        "rises again after T_max",
    )
    for hint in hints:
        assert sum(hint in message for message in run) == 1, hint


def test_described_lists_nested_parts() -> None:
    half, ints = torch.zeros(2, 3, dtype=torch.float16), torch.zeros(2, dtype=torch.int64)
    assert described([half, {"mask": half, "label": ints}]) == (
        "input 2x3 float16, target mask: 2x3 float16, label: 2 int64"
    )
    assert described({"x": half}) == "batch x: 2x3 float16"
    assert described((half, ints, [1, "a"])) == "inputs 2x3 float16, 2 int64, target int, str"
    assert described([half, torch.tensor(1.5)]) == "input 2x3 float16, target scalar float32"


def test_a_network_of_torchscript_is_trained_as_it_is_without() -> None:
    """It takes no forward hook."""
    inputs = torch.linspace(-1, 1, 24).reshape(8, 3)
    loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=4)

    def trained(script: bool) -> float:
        torch.manual_seed(0)
        plain = nn.Linear(3, 1)
        net = torch.jit.script(plain) if script else plain
        trainer = Trainer(net, torch.optim.SGD(net.parameters(), lr=0.1), None, nn.MSELoss(), callbacks=())
        return trainer.train(loader, loader, 2)

    assert trained(script=True) == trained(script=False)
