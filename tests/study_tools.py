"""What the tests of studies share: a small study file, the real command, and a look into its database."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

ROOT = Path(__file__).parent.parent
FAULTY = '''
"""A network that does what its parameter says."""
import os, time
import torch
from torch import nn

class Faulty(nn.Module):
    calls = 0  # in this process: an attribute of the instance would be restored with a checkpoint

    def __init__(self, fault="none", width=8, seconds=0.0, die_file=""):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self.fault, self.seconds, self.die_file = fault, seconds, die_file

    def forward(self, x):
        Faulty.calls += 1
        time.sleep(self.seconds)
        if self.fault == "type_error":
            raise TypeError("planted: unsupported operand")
        if self.fault == "nan":
            return self.net(x) * float("nan")
        if self.fault == "oom" or (self.fault == "oom_large" and len(x) > 16):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if self.fault == "memory_error":
            raise MemoryError("no more")
        if self.fault == "exit" or (self.fault == "exit_often" and Faulty.calls == 8):
            os._exit(7)
        if self.fault == "segfault":
            os.kill(os.getpid(), 11)
        if self.fault == "sleep":
            time.sleep(600)
        return self.net(x)
'''


def study_file(folder: Path, name: str = "opt.yaml", **changes: Any) -> Path:
    """A small study's file; dotted keys change its parts: `**{"run.epochs": 3}`."""
    data: dict[str, Any] = {
        "study_name": "small",
        "run": {
            "epochs": 4,
            "batch_size": 32,
            "device": "cpu",
            "data": {"target": "lab.data.function", "train_count": 128, "val_count": 32},
            "net": {"target": "model.MLP", "layers": 1, "width": 8},
            "optimizer": {"target": "torch.optim.AdamW", "lr": 1e-3},
            "pictures": {"enabled": False},
            "threads": 1,
        },
        "n_trials": 4,
        "seed": 3,
        "sampler": {"target": "optuna.samplers.RandomSampler"},
        "search_space": {
            "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
            "net.width": {"type": "int", "low": 4, "high": 64},
        },
    }
    path = folder / name
    path.write_text(yaml.safe_dump(changed(data, changes), sort_keys=False))
    return path


def changed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with some values by path, `section/key` or `section.key`; `...` removes one."""
    result = copy.deepcopy(dict(data))
    for path, value in changes.items():
        here = result
        *parents, last = path.split("/") if "/" in path else path.split(".")
        for part in parents:
            here = here.setdefault(part, {})
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return result


def environment(folder: Path) -> dict[str, str]:
    """The test's folder holds the user's modules."""
    (folder / "faulty.py").write_text(FAULTY)
    return {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_API_KEY": "", "PYTHONPATH": str(folder)}


def start(folder: Path, *arguments: str, prefix: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """The real `python main.py ...`, in the background and in a process group of its own."""
    return subprocess.Popen(
        [*prefix, sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", timeout: float = 120) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def optimize(folder: Path, path: Path, *arguments: str, timeout: float = 120) -> tuple[int, str, str]:
    """`python main.py --optimize`, to its end."""
    return finish(start(folder, "--optimize", str(path), *arguments), timeout)


def trials(folder: Path, name: str = "small") -> list[FrozenTrial]:
    """What the database holds."""
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'studies.db'}").get_trials()


def results(folder: Path, name: str = "small") -> list[tuple[Any, ...]]:
    """What has to be equal in two equal studies."""
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs.get("outcome"))
        for t in trials(folder, name)
    ]


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it has not happened")


def epochs_done(trial: Path) -> int:
    """How many epochs a trial's own record has."""
    file = trial / "metrics.csv"
    return max(0, len(file.read_text().splitlines()) - 1) if file.exists() else 0


def pid_of(trial: Path) -> int:
    """The process that a trial runs in."""
    return int(json.loads((trial / "summary.json").read_text())["pid"])


def running(folder: Path, name: str = "small") -> list[int]:
    """The numbers of trials that are said to be running."""
    return [t.number for t in trials(folder, name) if t.state == TrialState.RUNNING]


def kill(pid: int) -> None:
    """As a machine does that has run out of memory."""
    os.kill(pid, signal.SIGKILL)
