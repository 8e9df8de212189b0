"""Pairs of image and mask files by their names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from lab.data.unicode_names import alike

Key = tuple[str, ...]
"""The folders and the stem of a file, as far as they distinguish one image from another."""

_SEPARATORS = "_. -"
_MOST_CUTS = 5


def pair(
    images: Mapping[Key, Path], masks: Mapping[Key, Path], where: tuple[Path, Path], problems: list[str]
) -> tuple[list[tuple[Path, Path]], str]:
    """Pairs by equal keys, or by the keys without what all stems of a side have in common.

    Args:
        where: the folders of images and masks, for the problems: each file without a partner is one.
    Returns:
        The pairs in the order of the images, and a note on what was left out of the names.
    """
    note = ""
    # Leave out nothing, then common beginnings and endings, the shortest first, until both sides agree.
    for own, other in product(_cuts(images), _cuts(masks)):
        short, short_masks = _cut(images, own), _cut(masks, other)
        if short is not None and short_masks is not None and short.keys() == short_masks.keys():
            images, masks = short, short_masks
            left = [f"{''.join(cut)!r}" for cut in (own, other) if any(cut)]
            note = f"paired by names without {' and '.join(left)}" if left else ""
            break
    for path, key in ((path, key) for key, path in images.items() if key not in masks):
        problems.append(f"{path}: no mask {where[1].joinpath(*key)}.*{_hint(key, masks)}")
    for path, key in ((path, key) for key, path in masks.items() if key not in images):
        problems.append(f"{path}: no image {where[0].joinpath(*key)}.*{_hint(key, images)}")
    return [(path, masks[key]) for key, path in images.items() if key in masks], note


def _hint(key: Key, others: Mapping[Key, Path]) -> str:
    found = alike("/".join(key), map("/".join, others))
    return f"; there is {found}, whose name differs in upper and lower case" if found else ""


def _cuts(files: Mapping[Key, Path]) -> list[tuple[str, str]]:
    """Beginnings and endings that all stems share, the shortest first."""
    stems = [key[-1] for key in files]
    first = _common(stems)
    last = _common([stem[::-1] for stem in stems])[::-1]
    before = ["", *(first[: match.end()] for match in _ends(first))][:_MOST_CUTS]
    after = ["", *(last[match.start() :] for match in reversed(list(_ends(last))))][:_MOST_CUTS]
    return sorted(product(before, after), key=lambda cut: len(cut[0]) + len(cut[1]))


def _common(texts: Sequence[str]) -> str:
    """The longest beginning that all texts share, character by character."""
    low, high = min(texts), max(texts)
    return next((low[:k] for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), low)


def _ends(text: str) -> Iterator[re.Match[str]]:
    return re.finditer(f"[{_SEPARATORS}]+", text)


def _cut(files: Mapping[Key, Path], cut: tuple[str, str]) -> dict[Key, Path] | None:
    """The files by their keys without ends of the stems; None: a stem would be empty, or two the same."""
    before, after = map(len, cut)
    short: dict[Key, Path] = {}
    for key, path in files.items():
        stem = key[-1][before : len(key[-1]) - after]
        if not stem or (*key[:-1], stem) in short:
            return None
        short[(*key[:-1], stem)] = path
    return short
