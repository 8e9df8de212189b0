"""Meanings of the values in a mask, for reading, training and evaluation alike."""

from collections.abc import Sequence
from enum import StrEnum

BINARY = ["background", "foreground"]  # names of the classes of a binary mask
IGNORE_INDEX = 255
"""A pixel without an annotation: no loss and no metric counts it. Masks are bytes: no class has it."""

BACKGROUND = "background"
"""The name, in upper or lower case, by which a class is no object: means over classes leave it out."""


class Auto(StrEnum):
    """The default of an argument that a run fills in from what its data describes, as `auto` does in YAML."""

    AUTO = "auto"


Background = int | Auto | None
"""The index of the class that is no object; None: every class is one; `auto`: the classes have no names."""


def background_index(names: Sequence[str], declared: str | Auto | None = Auto.AUTO) -> int | None:
    """The index of the background among named classes, or None where every class counts.

    Args:
        declared: the name of the class that is background, None for no class; by default the one that is
            called `background`.

    Raises:
        ValueError: there is no class of the declared name.
    """
    if declared is None:
        return None
    if declared == Auto.AUTO and Auto.AUTO not in names:
        called = [index for index, name in enumerate(names) if name.lower() == BACKGROUND]
        return called[0] if called else None
    if declared not in names:
        raise ValueError(
            f"background: there is no class {str(declared)!r} among {', '.join(names)}; write one of them, "
            "or null where every class counts"
        )
    return list(names).index(declared)


def counted_classes(classes: int, background: Background, *, one_map: bool) -> tuple[int, ...]:
    """The indices of the classes that means are over.

    Args:
        classes: how many there are.
        one_map: two classes are separated by one map of probabilities or one mask: of such ones without
            names the first is background, by the very word mask.

    Raises:
        ValueError: the background is none of the classes, or the only one.
    """
    if not isinstance(background, int):
        first = int(one_map and background is not None)
        return tuple(range(first, classes))
    if not 0 <= background < classes:
        raise ValueError(f"background must be one of the classes 0 to {classes - 1}, found {background}")
    return tuple(index for index in range(classes) if index != background)


UNLABELLED = -100
"""A sample without a class: torch's mark, which no loss and no metric counts."""


def mean_over(classes: Sequence[str], background: int | None) -> str:
    """The classes that means are over, such as `11 classes` or `2 classes without background`."""
    if background is None:
        return f"{len(classes)} classes"
    count = len(classes) - 1
    return f"{count} class{'' if count == 1 else 'es'} without {classes[background]}"


def listed(classes: Sequence[str], background: int | None) -> list[int]:
    """The indices of the classes that tables list: each, or beside a background the only foreground."""
    return [index for index in range(len(classes)) if index != background or len(classes) > 2]
