"""Bits that the files of a set have and use: images of one network must agree in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lab.config.dataset_info import DatasetInfo

_UNLIKE = 8  # times as bright or as dark as the training's brightest image


@dataclass(frozen=True)
class _Seen:
    """Files of one type: how many, the largest value in them, and the first file."""

    count: int
    largest: float
    first: Path


class Depths:
    """Collects the types of files and their largest values."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, dtype: np.dtype[np.generic], largest: float, path: Path | str) -> None:
        """Count a file."""
        seen = self._seen.get(dtype.name, _Seen(0, largest, Path(path)))
        self._seen[dtype.name] = replace(seen, count=seen.count + 1, largest=max(seen.largest, largest))

    def largest(self) -> dict[str, float]:
        """The largest value by type; empty where no file was read."""
        return {name: seen.largest for name, seen in self._seen.items()}

    def warnings(self, *, scaled: bool) -> list[str]:
        """Sentences on files of one set that differ in their type, or don't use it.

        Args:
            scaled: the range of values is stated, so that 16 bits may be in use in part.
        """
        found = []
        if len(self._seen) > 1:
            each = (f"{seen.count} of {name} (such as {seen.first})" for name, seen in self._seen.items())
            found.append(f"images differ in their bit depth: {', '.join(each)}; are their values comparable?")
        deep = self._seen.get("uint16")
        if deep is not None and not scaled and 0 < deep.largest < 1 << 14:
            bits = _bits(deep.largest)
            found.append(
                f"of the 16 bits of {deep.count} images (such as {deep.first}) only {bits} are used (largest "
                f"value {deep.largest:,.0f}), and they are divided by 65,535: set data.value_range: "
                f"[0, {(1 << bits) - 1}] if the camera has {bits} bits"
            )
        return found

    def unlike(self, then: DatasetInfo, value_range: Sequence[float] | None = None) -> list[str]:
        """Sentences on files whose type or largest value is unlike those of a network's training.

        Args:
            then: of the training; nothing is known of runs from before depths were recorded.
            value_range: by which the files were scaled; nothing is unlike where it is not the training's.
        """
        trained, scale = then.depths or {}, then.value_range
        # Files that are scaled by a range of their own have other values on purpose.
        if value_range is not None and list(value_range) != scale:
            return []
        found = []
        for name, seen in self._seen.items() if trained else ():
            some = f"{seen.count} image{'s' if seen.count > 1 else ''} (such as {seen.first})"
            largest = trained.get(name)
            # Training had no file of this type, so there is no largest value to compare with.
            if largest is None:
                known = ", ".join(f"{_described(other, value)}" for other, value in trained.items())
                how = f"scaled by data.value_range {scale}" if scale else "scaled by the range of their type"
                found.append(
                    f"{some}: {_described(name, seen.largest)}, unlike the training's ({known}); they are "
                    f"{how}, so the network may see them darker or brighter than its training images: "
                    "state their range (--value-range), or convert them"
                )
            elif _apart(seen.largest, largest):
                found.append(
                    f"{some}: the largest value is {seen.largest:,.6g}, and {largest:,.6g} in the training "
                    "images of the same type: convert them to the range of the training images"
                )
        return found


def changed(then: DatasetInfo, now: DatasetInfo) -> str:
    """A sentence on the depths of the data, where they are unlike those of the training; empty if not."""
    was, depths = then.depths or {}, now.depths or {}
    same = was.keys() == depths.keys() and not any(_apart(depths[name], was[name]) for name in was)
    if not was or not depths or same:
        return ""
    old, new = (", ".join(_described(*each) for each in known.items()) for known in (was, depths))
    return f"the images' depth has changed since the training: {old}; now {new}"


def _apart(one: float, other: float) -> bool:
    return one > _UNLIKE * other or other > _UNLIKE * one


def _described(name: str, largest: float) -> str:
    dtype = np.dtype(name)
    if dtype.kind == "f":
        return f"{dtype.itemsize * 8}-bit floats up to {largest:,.6g}"
    bits = dtype.itemsize * 8
    used = f" of which {_bits(largest)} are used" if _bits(largest) < bits else ""
    signed = " signed" if dtype.kind == "i" else ""
    return f"{bits}{signed} bits{used}, largest value {largest:,.0f}"


def _bits(largest: float) -> int:
    """The number of bits that hold a value."""
    return max(1, math.ceil(math.log2(max(largest, 0) + 1)))
