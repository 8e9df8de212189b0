"""Time from starting Python to the first finished training step: `main.py` beside a bare script.

    python -m benchmarks.startup [--repeats N]

Both train the MLP of `benchmarks.loop` on its rows. The processes take turns; the medians are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.tasks import Regression, StepResult

ROOT = Path(__file__).parent.parent
BARE = """
import sys, torch
sys.path.insert(0, {root!r})
from torch.utils.data import DataLoader, TensorDataset
import model
x = torch.randn(8000, 8); y = torch.sin(x.sum(1, keepdim=True))
loader = DataLoader(TensorDataset(x, y), batch_size=256, shuffle=True)
net = model.MLP(in_features=8, layers=4, width=64)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
for x, y in loader:
    loss = torch.nn.functional.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    break
import json, os, time
print(json.dumps([time.process_time(), time.time() - float(os.environ["STARTED"])]), flush=True)
os._exit(0)
"""
CONFIG = """
name: startup
device: cpu
epochs: 1
batch_size: 256
task: benchmarks.startup.FirstStep
data: benchmarks.loop.rows
net: {target: model.MLP, in_features: 8, layers: 4, width: 64}
"""


class FirstStep(Regression):
    """Ends the process when the first training step is done."""

    steps = 0

    def step(self, *arguments: Any) -> StepResult:
        """Run the task's step; print the time and exit before the second one."""
        self.steps += 1
        if self.steps == 2:
            print(json.dumps([time.process_time(), time.time() - float(os.environ["STARTED"])]), flush=True)
            os._exit(0)
        return super().step(*arguments)


def measure(command: list[str], folder: str) -> tuple[float, float]:
    """CPU and wall seconds of one fresh process, to the end of its first step."""
    environment = {**os.environ, "STARTED": str(time.time()), "PYTHONPATH": str(ROOT)}
    environment["LAB_ALLOW_IMPORT"] = "benchmarks"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall


def main() -> None:
    """Print both medians and their ratio."""
    arguments = argparse.ArgumentParser(description="Start-up to the first step beside bare torch.")
    arguments.add_argument("--repeats", type=int, default=7)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run.yaml").write_text(CONFIG)
        commands = {
            "bare torch": [sys.executable, "-c", BARE.format(root=str(ROOT))],
            "main.py": [sys.executable, str(ROOT / "main.py"), "--run", "run.yaml"],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.repeats + 1):  # the first round fills the file cache
            for name, command in commands.items():
                times[name].append(measure(command, folder))
    for index, kind in enumerate(("CPU", "wall")):
        median = {name: statistics.median(row[index] for row in rows[1:]) for name, rows in times.items()}
        ratio = median["main.py"] / median["bare torch"]
        both = ", ".join(f"{name} {value:.2f} s" for name, value in median.items())
        print(f"{kind}: {both}; main.py / bare = {ratio:.2f} (target 1.10)")


if __name__ == "__main__":
    main()
