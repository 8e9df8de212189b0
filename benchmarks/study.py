"""The cost of a study compared with raw Optuna, on the same objective and the same kind of storage.

Every variant trains the same 25 configurations of a small network (10 epochs, reported each) in a command of
its own. "Plain" trains them one after the other in one process without any study. What a variant costs is the
CPU time of its whole process tree beyond plain's, start-up included, divided by the number of trials.
Variants take turns, so that a machine that slows down slows them all.

    python -m benchmarks.study [--trials 25] [--rounds 3]
"""

import argparse
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna

ROOT = Path(__file__).parent.parent
PR_SET_CHILD_SUBREAPER = 36
CONFIG = """
epochs: 10
batch_size: 64
device: cpu
threads: 1
data: {target: lab.data.function, train_count: 1024, val_count: 256}
net: {target: model.MLP, layers: 2, width: 32}
optimizer: {target: torch.optim.AdamW, lr: 1e-3}
pictures: {enabled: false}
"""
SPACE = """
search_space:
  optimizer.lr: {type: float, low: 1e-4, high: 1e-1, log: true}
  net.width: {type: int, low: 8, high: 64}
"""
PLAIN = """
import sys
import optuna
from lab.config import RunConfig
from util import run

base = RunConfig.from_yaml("run.yaml")
for number in range(int(sys.argv[1])):
    values = {"optimizer.lr": 1e-4 * 1.3**(number % 25), "net.width": 8 + number % 57}
    run(base.with_values(values), console="quiet")
"""
RAW = """
import sys
import optuna
from benchmarks.prune_by_trial import Pruning
from lab.config import RunConfig
from util import run

optuna.logging.set_verbosity(optuna.logging.WARNING)
base = RunConfig.from_yaml("run.yaml")
study = optuna.create_study(storage="sqlite:///raw.db", study_name="raw", load_if_exists=True)

def objective(trial):
    values = {
        "optimizer.lr": trial.suggest_float("optimizer.lr", 1e-4, 1e-1, log=True),
        "net.width": trial.suggest_int("net.width", 8, 64),
    }
    return float(run(base.with_values(values), callbacks=[Pruning(trial, "val_loss")], console="quiet"))

study.optimize(objective, n_trials=int(sys.argv[1]))
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    # Orphans come to this process when their parent ends, so that their CPU time is seen.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    variants = variants_of(options.trials)
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(options.rounds):
        for name, variant in variants.items():
            costs[name].append(measured(variant))
            print(f"round {number + 1}  {name:<34} CPU {costs[name][-1][0]:6.2f} s", flush=True)
    show(costs, options.trials)
    return 0


def variants_of(trials: int) -> dict[str, Callable[[Path], None]]:
    """The compared variants, by name."""

    def script(text: str, count: int, processes: int = 1) -> Callable[[Path], None]:
        def go(folder: Path) -> None:
            (folder / "script.py").write_text(text)
            shares = [count // processes + (n < count % processes) for n in range(processes)]
            if processes > 1:  # that create one database at once crash: it is there before them
                optuna.storages.RDBStorage(f"sqlite:///{folder / 'raw.db'}").engine.dispose()
            started = [_start([sys.executable, "script.py", str(share)], folder) for share in shares]
            for process in started:
                assert process.wait() == 0, name(folder)

        return go

    def study(**settings: object) -> Callable[[Path], None]:
        def go(folder: Path) -> None:
            wandb = settings.get("wandb", False)
            trackers = "trackers: [{type: wandb, mode: offline}]\n" if wandb else ""
            (folder / "run.yaml").write_text(CONFIG + trackers)
            head = f"study_name: s\nrun: run.yaml\nn_trials: {trials}\n"
            head += (
                f"workers: {settings.get('workers', 1)}\nisolation: {settings.get('isolation', 'process')}\n"
            )
            head += "pruner: {target: optuna.pruners.MedianPruner, n_startup_trials: 1000}\n"
            (folder / "opt.yaml").write_text(head + SPACE)
            command = [sys.executable, str(ROOT / "main.py"), "--optimize", "opt.yaml", "--quiet"]
            assert _start(command, folder).wait() == 0

        return go

    return {
        "plain training, no study": script(PLAIN, trials),
        "raw Optuna, 1 process": script(RAW, trials),
        "raw Optuna, 2 processes": script(RAW, trials, 2),
        "study, in process": study(isolation="none"),
        "study, 1 worker": study(),
        "study, 2 workers": study(workers=2),
        "study, 1 worker, W&B offline": study(wandb=True),
    }


def measured(variant: Callable[[Path], None]) -> tuple[float, float]:
    """CPU seconds of the whole process tree, and seconds on the clock."""
    folder = Path(tempfile.mkdtemp(prefix="study-"))
    try:
        (folder / "run.yaml").write_text(CONFIG)
        before, started = _cpu(), time.perf_counter()
        variant(folder)
        seconds = time.perf_counter() - started
        _reap()
        return _cpu() - before, seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(costs: dict[str, list[tuple[float, float]]], trials: int) -> None:
    """The table: medians over the rounds; the difference is taken within each round."""
    plain = [cpu for cpu, _ in costs["plain training, no study"]]
    raw = [cpu - base for (cpu, _), base in zip(costs["raw Optuna, 1 process"], plain, strict=True)]
    print(f"\n{trials} trials; CPU seconds of all processes, medians of {len(plain)} rounds")
    print(f"{'':<34}{'CPU':>9}{'clock':>9}{'above plain, a trial':>23}{'of raw Optuna':>15}")
    for name, found in costs.items():
        above = [cpu - base for (cpu, _), base in zip(found, plain, strict=True)]
        ratio = (
            statistics.median(above) / statistics.median(raw) if name != "plain training, no study" else 0.0
        )
        print(
            f"{name:<34}{statistics.median(cpu for cpu, _ in found):7.2f} s"
            f"{statistics.median(clock for _, clock in found):7.2f} s"
            f"{statistics.median(above) / trials:21.3f} s{f'{ratio:13.2f} x' if ratio else ''}"
        )


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline",
        "WANDB_API_KEY": "",
    }  # fmt: skip
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def _reap() -> None:
    """Wait for orphans, which ended or will end in a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.05)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def name(folder: Path) -> str:
    """For a message."""
    return f"a command failed in {folder}"


if __name__ == "__main__":
    sys.exit(main())
