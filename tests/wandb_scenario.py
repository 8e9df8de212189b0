"""A run in its own process, mirrored to W&B: `python tests/wandb_scenario.py FOLDER OPTIONS` (as JSON).

Prints one JSON line when training ends, before the interpreter does: the notes, and how long W&B held it up.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from lab.config.tracker_config import WandbConfig
from lab.events import Note
from lab.train.callbacks.tracking import create_tracking
from tests.run_events import epoch_end, run_end, run_start


def main(folder: Path, options: dict[str, Any]) -> None:
    notes: list[Note] = []
    config = WandbConfig(
        type="wandb", mode=options["mode"], tags=("unet", "small"), timeout=options["timeout"]
    )
    tracking = create_tracking([config], notes.append)
    held: list[float] = []
    first = options["first_epoch"]
    tracking.on_run_start(run_start(folder, first_epoch=first))
    for epoch in range(first, first + options["epochs"]):
        time.sleep(options["pause"])
        if epoch == options["kill_service_at"]:
            kill_service()
        began = time.monotonic()
        values = {"train_loss": 1 / epoch, "val_loss": float("nan") if epoch == 2 else 2 / epoch, "lr": 0.1}
        tracking.on_epoch_end(epoch_end(epoch, values))
        tracking.image(epoch, "predictions", np.full((4, 6, 3), epoch, np.uint8))
        held.append(time.monotonic() - began)
    began = time.monotonic()
    if options["ends"]:
        tracking.on_run_end(run_end(best={"val_loss": 0.5}, epochs=first + options["epochs"] - 1))
    print(
        json.dumps(
            {
                "notes": [[note.level, note.message] for note in notes],
                "worst_epoch": max(held),
                "finish": time.monotonic() - began,
                "ended": time.time(),
            }
        )
    )


def kill_service() -> None:
    """End W&B's process as an out-of-memory killer would."""
    setup = sys.modules["wandb.sdk.wandb_setup"]
    os.kill(setup._singleton._connection._proc._process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
