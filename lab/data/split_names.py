"""Names of folders, lists and cells that mean the training, validation or test data of a public dataset."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Part(StrEnum):
    """A part of a dataset. Members equal their names: `Part.TRAIN == "train"`."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


_WORDS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), Part.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "dev"), Part.VAL),
    **dict.fromkeys(("test", "testing", "tst"), Part.TEST),
}
_UNCLEAR = frozenset({"eval", "evaluation", "evaluate", "holdout", "heldout", "unseen"})
"""Words for validation data in one dataset and for test data in another."""

_FILLERS = (
    "set", "sets", "split", "data", "dataset", "image", "images", "img", "imgs", "picture", "pictures",
    "photo", "photos", "sample", "samples", "folder", "file", "files",
)  # fmt: skip


@dataclass(frozen=True)
class PartNames:
    """The names that mean parts.

    Args:
        parts: part by name.
        unclear: names that mean validation or test data, where nothing shows which.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()


def part_of(name: str) -> Part | None:
    """The part that a name means by itself, such as `Training`, `test_set`, `TRAIN` or `val2017`."""
    meant, rest = _split(name)
    return next(iter(meant)) if len(meant) == 1 and not rest else None


def part_names(names: Iterable[str]) -> PartNames:
    """Find the names that mean parts.

    A name that has further words, such as `seg_train`, means one only beside another with the same further
    words, such as `seg_test`: `bullet_train` beside `bus` doesn't. `valid` and `dev` are ordinary words too,
    and mean one only beside a name for training data.
    """
    found: dict[str, tuple[Part | None, tuple[str, ...]]] = {}
    for name in names:
        meant, rest = _split(name)
        if len(meant) == 1:
            found[name] = next(iter(meant)), rest
    trained = {rest for part, rest in found.values() if part is Part.TRAIN}
    several = {rest for part, rest in found.values() if part is not Part.TRAIN} & trained
    parts, unclear = {}, []
    for name, (part, rest) in found.items():
        if rest not in several and (rest or (rest not in trained and _is_ordinary(name))):
            continue
        if part is None:
            unclear.append(name)
        else:
            parts[name] = part
    return PartNames(parts, tuple(unclear))


def meanings(name: str) -> set[Part | None]:
    """The parts that words of a name mean, whatever else is in it; None: validation or test data."""
    return _split(name)[0]


def is_filler(name: str) -> bool:
    """Return whether a name means no more than images or data."""
    found = words(name)
    return bool(found) and all(word in _FILLERS for word in found)


def _is_ordinary(name: str) -> bool:
    return name.casefold() in ("valid", "dev") or _split(name)[0] == {None}


def _split(name: str) -> tuple[set[Part | None], tuple[str, ...]]:
    """The parts that a name means (None: unclear) and its further words, without fillers and numbers."""
    found = words(name)
    meant = {_WORDS.get(word) for word in found if word in _WORDS or word in _UNCLEAR}
    if meant == {Part.TRAIN, Part.VAL}:  # such as train_val: what is not for testing
        meant = {Part.TRAIN}
    rest = (word for word in found if word not in _WORDS and word not in _UNCLEAR)
    return meant, tuple(word for word in rest if word not in _FILLERS and not word.isdecimal())


def words(name: str) -> list[str]:
    """The words of a name in lower case; `trainSet`, `TRAIN2017` and `testimages` have two."""
    text = unicodedata.normalize("NFKC", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()
    found: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", text):
        compound = _COMPOUND.fullmatch(word)
        found += compound.groups() if compound else [word]
    return found


_MASKS = ("annot", "annots", "annotation", "annotations", "mask", "masks", "label", "labels", "gt")
_COMPOUND = re.compile(f"({'|'.join(_WORDS)})({'|'.join((*_FILLERS, *_MASKS))})")
