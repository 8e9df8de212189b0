"""Is the loader of patches faster than the network that learns from them?

    python -m benchmarks.patches [--rounds N] [--size PIXELS]

Patches of drawn plates (2,048 × 2,048) with the augmentation of a usual config, read by no worker and by two,
beside training steps of a U-Net with a ResNet-18 encoder on batches that are there already. The three take
turns, so that a machine that drifts drifts for all; wall time, medians over the rounds. With workers the
loader is measured alone, as fast as it can go: a ratio above 1 means that the network never waits.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import albumentations as A
import torch

from lab.config.sections import LoaderConfig
from lab.data import spheroid_plates
from lab.data.loaders import create_loader, set_epoch
from lab.data.patches import Patches
from lab.losses import BCEDice
from model import segmenter

BATCH = 4
WAITING = 8  # batches that workers may have ready before the clock starts


def batches(workers: int, size: int) -> Iterator[Any]:
    """Batches without end, epoch after epoch."""
    transforms = [
        A.D4(p=1.0),
        A.Affine(scale=(0.85, 1.2), rotate=(-20, 20), border_mode=4, p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.7),
        A.GaussianBlur(p=0.1),
    ]
    sets = spheroid_plates(folds=6, patches=Patches(size, per_image=64), transforms=transforms)
    config = LoaderConfig.model_validate({"workers": workers, "drop_last": True})
    loader = create_loader(sets.train, BATCH, shuffle=True, config=config)
    epoch = 0
    while True:
        epoch += 1
        set_epoch(epoch, loader)
        yield from loader


def training(size: int) -> Callable[[], None]:
    """One step on the same batch."""
    net = segmenter("Unet", "resnet18", encoder_weights=None, in_channels=1, classes=1)
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters())
    criterion = BCEDice()
    image, mask = torch.randn(BATCH, 1, size, size), (torch.rand(BATCH, 1, size, size) > 0.9).float()
    image = image.to(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        criterion(net(image), mask).backward()
        optimizer.step()

    return step


def rate(action: Callable[[], object], times: int, unseen: int) -> float:
    """Patches a second, after some that aren't counted."""
    for _ in range(unseen):
        action()
    start = time.perf_counter()
    for _ in range(times):
        action()
    return times * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    # Workers are forked before the network has started threads.
    alone, two = (batches(workers, options.size) for workers in (0, 2))
    next(two)
    actions: dict[str, tuple[Callable[[], object], int, int]] = {
        "loader, 2 workers": (lambda: next(two), 40, WAITING),
        "loader, no worker": (lambda: next(alone), 20, 0),
        "network, training": (training(options.size), 2, 0),
    }
    rates: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(options.rounds + 1):
        for name, (action, times, unseen) in actions.items():
            measured = rate(action, times, unseen)
            if number:  # the first warms up
                rates[name].append(measured)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    network = medians["network, training"]
    for name, median in medians.items():
        low, high = min(rates[name]), max(rates[name])
        print(
            f"{name}  {median:8.1f} patches/s  ({low:.1f} to {high:.1f})  {median / network:6.1f} × network"
        )


if __name__ == "__main__":
    main()
