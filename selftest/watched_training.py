"""A small training that has all that a resumed run must get right, and what watches it step by step."""

import hashlib
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.config import RunConfig
from lab.config.validation import validate
from lab.events import Callback, PhaseStart, StepsDone
from lab.hpo.worker_main import Run
from selftest.studies import small_run

STEPS = "steps.txt"
_STATEFUL = "selftest.stateful_parts"
Config = dict[str, Any]
"""The sections of a run's config."""
BATCH = 4  # of all samples


def variant(number: int, **values: object) -> Config:
    """The config of one of many trainings: loader, average, schedule and accumulation take turns."""
    schedules: tuple[Config | None, ...] = (
        {"target": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.02, "total_steps": "auto",
         "interval": "step"},
        None,
        {"target": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0},
        {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
    )  # fmt: skip
    chosen: Config = {
        "data": {"target": "selftest.faulty_parts.points", "in_memory": number % 5 == 4},
        "net": {"target": "selftest.faulty_parts.Forgetful", "seconds": 0.002},
        "optimizer": {"target": "torch.optim.AdamW", "lr": 0.01},
        "scheduler": schedules[number // 2 % len(schedules)],
        "criterion": "torch.nn.MSELoss",
        "metrics": {"mae": "lab.metrics.MAE", "r2": "lab.metrics.R2"},
        "ema": {"decay": 0.9} if number % 3 else None,
        "accumulate_grad_batches": (1, 1, 3)[number % 3],
        "gradient_clip_norm": 1.0 if number % 4 == 1 else None,
        "batch_size": BATCH,
        "epochs": 3,
        "seeds": number,
        "loader": {"workers": 0 if number % 5 == 4 else 2 * (number % 2)},
        "log_every_steps": 1,
    }
    return small_run(**chosen | values)


def stateful(number: int, **values: object) -> Config:
    """The config of a training whose parts have a state: loss, stream, two-mode optimizer, frozen layers."""
    config = variant(number)
    kind = number % 5
    if kind in (0, 2):
        # A worker's copy of a generator of its own can't be kept.
        config["data"] = {"target": f"{_STATEFUL}.points", "own": not config["loader"]["workers"]}
    if kind in (0, 2, 4):
        config["criterion"] = {"target": f"{_STATEFUL}.Remembering", "learns": kind == 2}
    if kind in (1, 2):
        config["optimizer"] = {"target": f"{_STATEFUL}.TwoModes", "lr": 0.01}
        config["net"] = {**config["net"], "target": f"{_STATEFUL}.PartlyFrozen"}
        if "total_steps" in (config["scheduler"] or {}):
            config["scheduler"] = {**config["scheduler"], "cycle_momentum": False}
    config["metrics"] = {**config["metrics"], "smooth": f"{_STATEFUL}.Smoothed"}
    return {**config, **values}


class Footprints(Callback):
    """Writes each batch that was trained into a file, `epoch step`, and may kill its process at one of them.

    Args:
        fatal: the epoch and step, and seconds after it.
    """

    def __init__(self, path: Path, fatal: tuple[int, int, float] | None = None) -> None:
        self._path, self._fatal = path, fatal
        self._epoch, self._training = 0, False

    def on_phase_start(self, event: PhaseStart) -> None:
        """Note the epoch."""
        self._epoch, self._training = event.epoch, event.phase == "train"

    def on_steps(self, event: StepsDone) -> None:
        """Told of each step where `log_every_steps` is 1."""
        if not self._training:
            return
        with self._path.open("a") as file:
            file.write(f"{self._epoch} {event.step}\n")
        if self._fatal is not None and (self._epoch, event.step) == self._fatal[:2]:
            killer = threading.Timer(self._fatal[2], os.killpg, [os.getpgrp(), signal.SIGKILL])
            killer.daemon = True
            killer.start()


def train(run: Run, config: Mapping[str, object], fatal: tuple[int, int, float] | None = None) -> None:
    """Go on with the run in the working folder, or begin it."""
    listener = Footprints(Path(STEPS), fatal)
    made = validate(RunConfig, config)
    run(made, run_dir=Path("run"), resume=True, callbacks=[listener], console="plain", command=["selftest"])


def footprints(folder: Path) -> list[tuple[int, int]]:
    """(epoch, step) of all batches that were trained, in order; a last line that was torn is left out."""
    path = folder / STEPS
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(int(epoch), int(step)) for epoch, step in (line.split() for line in lines)]


def digest(state: object) -> str:
    """The sha256 of nested plain data and tensors, bit by bit, with its name."""
    made = hashlib.sha256()
    _take_in(made, state)
    return f"sha256 {made.hexdigest()}"


def _take_in(made: Any, state: Any) -> None:
    if isinstance(state, Tensor):
        made.update(f"{state.dtype}{tuple(state.shape)}".encode())
        made.update(state.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(state, Mapping):
        made.update(b"mapping")
        _take_in(made, list(state.items()))
    elif isinstance(state, (list, tuple)):
        made.update(b"[")
        for value in state:
            _take_in(made, value)
        made.update(b"]")
    else:
        made.update(repr(state).encode())
