import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.store import file_io, run_folder

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Leaves a run folder behind, as a run does; keywords replace parts of its summary."""

    def make_run(
        name: str,
        best: dict[str, float] | None = None,
        curve: dict[str, list[float]] | None = None,
        **parts: Any,
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        best = {"val_loss": 0.5} if best is None else best
        summary = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "project": "cells",
            "outcome": "completed",
            "monitor": {"metric": "val_loss", "mode": "min", "returns": "best"},
            "value": best.get("val_loss"),
            "best_epoch": 3,
            "best": best,
            "last": {key: value + 0.1 for key, value in best.items()},
            "epochs": 5,
            "seconds": 161.2,
            "started": "2026-01-01T00:00:00+00:00",
            "config": {"optimizer": {"target": "torch.optim.AdamW", "lr": 1e-3}, "seeds": [0]},
            **parts,
        }
        file_io.atomic_write(folder / run_folder.SUMMARY, file_io.to_json({"run_id": name, **summary}))
        if curve:
            lines = [",".join(["epoch", *curve, "seconds"])]
            lines += [
                ",".join(map(str, [epoch, *values, 1.0]))
                for epoch, values in enumerate(zip(*curve.values(), strict=True), 1)
            ]
            (folder / run_folder.METRICS).write_text("\n".join(lines) + "\n")
        return folder

    return make_run
