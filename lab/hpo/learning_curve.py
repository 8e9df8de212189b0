"""A trial's curve: what the pruner sees of it, from one seed or from several."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from lab.store import run_folder


class Curve:
    """The pruning metric by seed and epoch.

    The step of an epoch is `seed_index * epochs + epoch`, and its value the mean over the seeds so far at
    that epoch, where a seed that had ended by then counts with its last value. So trials are compared like
    with like: after the same training, over the same number of seeds.

    Args:
        epochs: at most, of one seed.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.points: dict[int, float] = {}  # by step
        self._seeds: list[dict[int, float]] = []

    def add(self, seed_index: int, epoch: int, value: float) -> tuple[int, float]:
        """Take in one epoch; returns its step and the mean."""
        while len(self._seeds) <= seed_index:
            self._seeds.append({})
        self._seeds[seed_index][epoch] = value
        earlier = [_at(seed, epoch) for seed in self._seeds[:seed_index]]
        values = [found for found in (*earlier, value) if found is not None]
        step = seed_index * self.epochs + epoch
        self.points[step] = math.fsum(values) / len(values)
        return step, self.points[step]

    def is_last(self, seed_index: int, epoch: int, seeds: int) -> bool:
        """Return whether nothing is left to save by pruning at this epoch."""
        return epoch >= self.epochs and seed_index == seeds - 1


def _at(seed: Mapping[int, float], epoch: int) -> float | None:
    return seed.get(epoch, seed[max(seed)] if seed else None)


def recorded(folder: Path, repeats: tuple[str, ...], metric: str, epochs: int) -> tuple[Curve, float]:
    """The curve as a trial's own folder has it, and the seconds that its epochs took."""
    curve, seconds = Curve(epochs), 0.0
    for index, name in enumerate(repeats):
        path = (folder if len(repeats) == 1 else folder / name) / run_folder.METRICS
        for epoch, value, cost in _rows(path, metric):
            seconds += cost
            if math.isfinite(value):
                curve.add(index, epoch, value)
    return curve, seconds


def _rows(path: Path, metric: str) -> list[tuple[int, float, float]]:
    """(epoch, value, seconds) of each whole row."""
    if not path.exists():
        return []
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append((int(row["epoch"]), float(row[metric]), float(row["seconds"])))
            except (KeyError, TypeError, ValueError):
                continue  # a torn last line, or an epoch that had no such value
    return rows
