"""U-Net ResNet-18 at 256 x 256, batch 64, on a GPU: this Trainer beside a bare float32 loop.

The Trainer computes in bf16, channels_last and compiled.

    python -m benchmarks.gpu [--epochs N]

Both see the same tensors, which lie on the GPU; wall time of whole epochs, after a warm-up, in turns.
Without a GPU it prints that and exits with code 0.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lab.losses import BCEDice
from lab.tasks import Segmentation
from lab.train.runtime import Runtime
from model import segmenter
from util import Trainer

BATCH, BATCHES, SIZE = 64, 8, 256


def batches(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Noise and masks of it, on the device."""
    generator = torch.Generator(device).manual_seed(0)
    images = torch.rand(BATCHES, BATCH, 3, SIZE, SIZE, device=device, generator=generator)
    return [(image, (image.mean(1, keepdim=True) > 0.5).float()) for image in images]


def bare_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: list[tuple[Tensor, Tensor]]
) -> float:
    """The loop of the project's first document."""
    criterion, total = BCEDice(), 0.0
    model.train()
    for x, y in data:
        loss = criterion(model(x), y)
        total += loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return total / len(data)


def main() -> None:
    """Print images per second and memory of both, and the ratio."""
    arguments = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    arguments.add_argument("--epochs", type=int, default=10)
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured")
        return
    device = torch.device("cuda", 0)
    data = batches(device)
    torch.manual_seed(0)
    plain = segmenter().to(device)
    plain_optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3)
    runtime = Runtime(device, "bf16", compile=True, channels_last=True)
    model = runtime.place(segmenter())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    trainer = Trainer(model, optimizer, None, BCEDice(), runtime=runtime, task=Segmentation(), callbacks=())
    contestants: dict[str, Callable[[], float]] = {
        "bare float32": lambda: bare_epoch(plain, plain_optimizer, data),
        "trainer": lambda: trainer.train_epoch(data),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    memory: dict[str, int] = {}
    for _ in range(options.epochs + 2):
        for name, epoch in contestants.items():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before, started = torch.cuda.memory_allocated(), time.perf_counter()
            epoch()
            torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
            memory[name] = torch.cuda.max_memory_allocated() - before
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, median of {options.epochs} epochs")
    medians = {name: statistics.median(values[2:]) for name, values in seconds.items()}
    for name, value in medians.items():
        speed, peak = BATCH * BATCHES / value, memory[name] / 2**30
        print(f"{name:<14}{speed:>8.0f} images/s  {peak:>6.2f} GiB above the weights")
    print(f"trainer / bare = {medians['trainer'] / medians['bare float32']:.2f} of the time")


if __name__ == "__main__":
    main()
