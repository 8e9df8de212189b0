"""The classes of the data and how many samples of each every set has, as the facts record them."""

from collections.abc import Mapping, Sequence

from lab.config.dataset_info import DatasetInfo
from lab.config.mask_values import BINARY

_MOST_SHOWN = 10
_LONGEST = 24  # characters of a name

Counts = Mapping[str, Sequence[int]]
"""Training, validation and test samples by class; empty where a sample isn't of one class."""


def class_counts(info: DatasetInfo) -> Counts:
    """The classes of the data; the default ones of binary masks are left out, as no user named them."""
    classes, counts = info.classes, info.counts
    if not isinstance(classes, Sequence) or isinstance(classes, str) or list(classes) == BINARY:
        return {}
    by_class = isinstance(counts, Mapping) and all(isinstance(part, Mapping) for part in counts.values())
    if not counts or not by_class:
        return {str(name): () for name in classes}
    parts = [part for part in counts.values() if any(part.values())]
    return {str(name): tuple(int(part.get(name, 0)) for part in parts) for name in classes}


def as_text(counts: Counts) -> str:
    """The classes on one line, such as `2 classes: cat 14 + 4, dog 7 + 2`; of many the first ones."""
    shown = [
        " ".join([_short(name), " + ".join(f"{count:,}" for count in found)]).rstrip()
        for name, found in list(counts.items())[:_MOST_SHOWN]
    ]
    more = f" and {len(counts) - _MOST_SHOWN:,} more" if len(counts) > _MOST_SHOWN else ""
    return f"{len(counts):,} classes: {', '.join(shown)}{more}"


def _short(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"
