"""The duration of `--list`: many summaries in a temporary folder, read by a fresh process.

    python -m benchmarks.listing [--runs 10000] [--repeats 5]

Target: ten thousand runs in under two seconds, the start of Python included.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.config import RunConfig
from lab.store import file_io, run_folder

PROJECT = Path(__file__).resolve().parent.parent
CODE = """
import sys
from pathlib import Path
from lab.report import run_list
rows = run_list.read_runs([Path(sys.argv[1])])
total = len(rows)
if "--where" in sys.argv:
    rows = run_list.select(rows, project="bench", outcome="completed", where=["optimizer.lr=1e-3"])
if "--sort" in sys.argv:
    rows = run_list.sort(rows, "val_dice")
print(run_list.as_json(rows) if "--json" in sys.argv else run_list.as_table(rows, width=120, total=total))
"""
CONFIG = {
    "project": "bench",
    "name": "spheroids",
    "data": {"target": "lab.data.Wells", "size": 128, "count": 240, "noise": 0.1},
    "net": {
        "target": "segmentation_models_pytorch.Unet",
        "encoder_name": "resnet18",
        "encoder_weights": None,
    },
    "metrics": {"dice": "lab.metrics.Dice", "iou": "lab.metrics.IoU"},
    "monitor": {"metric": "val_dice", "mode": "max"},
}
CASES = {
    "--list": [],
    "--sort val_dice": ["--sort"],
    "--where and --sort": ["--where", "--sort"],
    "--json": ["--json"],
}


def main() -> None:
    """Print the best and the median wall time of each case."""
    options = argparse.ArgumentParser(description="How long --list takes.")
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = fill(Path(folder), chosen.runs)
        print(f"{chosen.runs} runs, {size / chosen.runs:.0f} bytes a summary")
        for name, flags in CASES.items():
            seconds = sorted(listing(Path(folder), flags) for _ in range(chosen.repeats))
            print(f"{name:<20} best {seconds[0]:.2f} s   median {seconds[len(seconds) // 2]:.2f} s")


def fill(root: Path, count: int) -> int:
    """Write summaries as a run leaves them behind, with a whole config; returns their bytes in all."""
    config = RunConfig.model_validate(CONFIG).as_data()
    source, written = random.Random(0), 0
    for number in range(count):
        folder = root / f"20261121-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}_spheroids"
        folder.mkdir()
        values = {
            f"{phase}_{name}": source.random()
            for phase in ("train", "val")
            for name in ("loss", "dice", "iou")
        }
        config["optimizer"]["lr"] = source.choice([1e-2, 1e-3, 1e-4])
        content = file_io.to_json(
            {
                **{"run_id": folder.name, "pid": 1, "host": "bench", "project": "bench", "name": "spheroids"},
                **{"outcome": source.choice(["completed", "early_stopped", "diverged"]), "reason": ""},
                **{"monitor": {"metric": "val_dice", "mode": "max"}, "value": values["val_dice"]},
                **{"best_epoch": 17, "best": values, "last": values, "epochs": 20, "seconds": 161.2},
                **{"samples_per_second": 71.3, "device": "cpu", "parameters": 14_321_937, "seed": 0},
                **{"started": "2026-11-21T10:00:00+00:00", "ended": "2026-11-21T10:02:41+00:00"},
                "config": config,
            },
            indent=2,
        )
        (folder / run_folder.SUMMARY).write_text(content)
        written += len(content)
    return written


def listing(folder: Path, flags: list[str]) -> float:
    """Wall seconds of one fresh process."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", CODE, str(folder), *flags], cwd=PROJECT, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
