"""The files that a run's data was read from: recorded, compared on `--resume`, searched for copies."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.config.dataset_info import DatasetInfo
from lab.data.splits import Parts, Splits
from lab.store.paths import with_relative_paths

_MOST_NAMED = 3
_SETS = {"val": "validation", "test": "test"}


def with_files(
    splits: Splits,
    names: Sequence[str],
    images: Sequence[Path],
    sizes: Sequence[int],
    parts: Parts,
    warnings: Sequence[str] = (),
) -> Splits:
    """The sets with facts about their files: `file_sizes`, and `warnings` where there are some.

    Args:
        names, images, sizes: of each sample its name, image file, and bytes of all of its files.
        warnings: what else the user should know.
    """
    found = list(map(with_relative_paths, (*warnings, *repeated(names, images, parts))))
    by_set = {part: [int(sizes[k]) for k in own] for part, own in zip(Parts._fields, parts, strict=True)}
    return splits.declaring(DatasetInfo(file_sizes=by_set, warnings=found or ()))


def file_size(path: Path) -> int:
    """The bytes of a file; 0 for one that is no longer there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - Path.stat is several times slower
    except OSError:
        return 0


def repeated(names: Sequence[str], images: Sequence[Path], parts: Parts) -> list[str]:
    """A sentence for each held-out set that has files of the training set, byte for byte.

    Only files of a size that occurs on both sides are read.
    """
    trained: dict[int, list[int]] = {}
    for index in map(int, parts.train):
        trained.setdefault(file_size(images[index]), []).append(index)
    # Only files of a size that both sets have can be equal, so only those are hashed.
    contents: dict[int, dict[bytes, int]] = {}  # by size, the training image of a content
    found = []
    for part, own in (("val", parts.val), ("test", parts.test)):
        twice = []
        for index in map(int, own):
            size = file_size(images[index])
            if size not in trained:
                continue
            if size not in contents:
                contents[size] = {_digest(images[other]): other for other in reversed(trained[size])}
            other = contents[size].get(_digest(images[index]))
            if other is not None:
                twice.append(f"{names[index]} ({names[other]})")
        if twice:
            some = f"{', '.join(twice[:_MOST_NAMED])}{', …' if len(twice) > _MOST_NAMED else ''}"
            found.append(
                f"{len(twice)} of the {len(own)} {_SETS[part]} images are also in the training set, with "
                f"equal content: {some}; metrics on them do not hold for new images"
            )
    return found


def changes(then: DatasetInfo, now: DatasetInfo) -> list[str]:
    """The changes of the files since `then` was recorded, a phrase each.

    Empty where one of them lacks `file_sizes`: its data is no files, or an older version recorded it.
    """
    was, found = _by_name(then), _by_name(now)
    if was is None or found is None:
        return []
    added, removed = sorted(found.keys() - was.keys()), sorted(was.keys() - found.keys())
    other = [name for name in sorted(found.keys() & was.keys()) if found[name] != was[name]]
    described = [f"{name} ({was[name]:,} -> {found[name]:,} bytes)" for name in other]
    phrases = ((added, added, "added"), (removed, removed, "removed"), (other, described, "of another size"))
    return [
        f"{len(names)} {what}: {', '.join(shown[:_MOST_NAMED])}{', …' if len(names) > _MOST_NAMED else ''}"
        for names, shown, what in phrases
        if names
    ]


def _by_name(info: DatasetInfo) -> dict[str, int] | None:
    sizes, split = info.file_sizes, info.split
    if not isinstance(sizes, Mapping) or not isinstance(split, Mapping) or not split:
        return None
    return {
        name: size for part in split for name, size in zip(split[part], sizes.get(part, ()), strict=False)
    }


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:  # it was read a moment ago; nothing equals it now
        return os.fsencode(path)
