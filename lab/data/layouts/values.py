"""Masks that hold class indices although no classes are named."""

from pathlib import Path

import numpy as np

from lab.config.mask_values import IGNORE_INDEX
from lab.data.layouts.contents import Contents
from lab.data.mask_sources import NUMBERS

_LOOKED_AT = 8  # masks, spread over all of them
_LARGEST = 64  # values up to here are classes; an antialiased edge has larger ones too


def unnamed_classes(contents: Contents) -> list[str]:
    """A problem where masks hold 0, 1, 2 and so on, and would be read as foreground and background."""
    paths = [entry.mask for entry in contents.entries if isinstance(entry.mask, Path)]
    step = max(1, len(paths) // _LOOKED_AT)
    found: set[int] = set()
    for path in paths[::step]:
        try:
            numbers = NUMBERS.read(path)
        except ValueError:  # coloured, or of larger numbers; what can't be read is reported with all others
            continue
        found |= set(np.unique(numbers).tolist()) - {IGNORE_INDEX}
    if not {1, 2} <= found or max(found) > _LARGEST:
        return []
    values = sorted(found)
    shown = f"{', '.join(map(str, values[:12]))}{', …' if len(values) > 12 else ''}"
    return [
        f"the masks hold the values {shown}: set data.classes to a name for each value, in this order, or "
        "mask_threshold: 0 where every value above 0 is foreground"
    ]
