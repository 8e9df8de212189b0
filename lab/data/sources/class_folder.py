"""A folder of images for each class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from lab.data.classification_files import LabelledFile, LabelledReading, read_labelled
from lab.data.file_discovery import READ, find_images, visible
from lab.data.file_problems import raise_all
from lab.data.segmentation_sets import Sample
from lab.data.source_arguments import ClassFileArguments, options_from, required_path
from lab.data.split_names import Part, is_filler, part_names, part_of
from lab.data.splits import Splits


def class_folder(root: str | None, **arguments: Unpack[ClassFileArguments]) -> Splits:
    """Images from `root/<class>/`, cut into sets, or from `root/train/<class>/`, `root/val/…`, `root/test/…`.

    `Training`, `test_set`, `valid`, `seg_train` beside `seg_test` and the like mean these sets too. Without a
    `val` folder the validation set is cut from `train`. Each class is cut for itself, by the names of its
    files and the seed. The formats are those of docs/input.md, also in folders below that of a class; images
    of other formats are refused, not left out. A folder's name is the class's, and numbers are in the order
    of their values; no class can be named train, val or test. A single folder that wraps all others is
    skipped. An item is (image, class): float32 (C, H, W), int64 ().

    Args:
        root: a relative path counts from where the command runs.
        arguments: see `lab.data.source_arguments.ClassFileArguments`; the fractions are of each class.
    Raises:
        ValueError: an argument doesn't fit, or anything about the files: all problems in one message.
    """
    folder = required_path("root", root, "PATH, the folder that holds one for each class")
    reading, cut, serving = options_from(arguments, ClassFileArguments, LabelledReading)
    absent = [] if folder.is_dir() else [f"{folder}: no such folder"]
    raise_all(absent, "the class folders", "data.root must be the folder that holds one for each class")
    problems, warnings = list[str](), list[str]()
    files = list(_found(folder, problems, warnings))
    return read_labelled(files, problems, f"the class folders of {folder}", reading, cut, serving, warnings)


def _found(root: Path, problems: list[str], warnings: list[str]) -> Iterator[LabelledFile]:
    """The files in order of their names; what is neither a class nor an image of one is a problem."""
    parent = _unwrapped(root)
    below = visible(parent)
    names = part_names(folder.name for folder in below)
    # No folder of training data: each folder is a class, and the sets are cut.
    if Part.TRAIN not in names.parts.values():
        yield from _classes(parent, root, None, problems, warnings)
        return
    train = next(folder.name for folder in below if names.parts.get(folder.name) is Part.TRAIN)
    problems += [
        f"{path}: an image beside {train}/, so in no set; move or remove it" for path in _any(parent)
    ]
    seen: dict[Part, Path] = {}
    for folder in below:
        part = names.parts.get(folder.name)
        if folder.name in names.unclear:
            problems.append(f"{folder}: validation or test data? Rename it to val or test")
        elif part is None:
            problems.append(
                f"{folder}: beside {train}/ there may be val/ and test/ and nothing else; move or rename "
                f"this folder, or rename {train}/ if it is a class"
            )
        elif part in seen:
            problems.append(
                f"{folder}: means the same set as {seen[part].name}/; merge them, or move or rename one"
            )
        else:
            seen[part] = folder
            yield from _classes(_unwrapped(folder, part), root, part, problems, warnings)


def _unwrapped(folder: Path, part: Part | None = None) -> Path:
    """The folder, or the only one in it where that just wraps all others, as ZIP files often have it.

    Within a part's folder it must mean the same part, or no more than images.
    """
    found = visible(folder)
    if len(found) != 1 or _any(folder) or not visible(found[0]) or _any(found[0]):
        return folder
    (only,) = found
    own = only.name == folder.name or is_filler(only.name) or part_of(only.name) is part
    wraps = part_of(only.name) is not Part.TRAIN if part is None else own
    return _unwrapped(only, part) if wraps else folder


def _classes(
    parent: Path, root: Path, part: str | None, problems: list[str], warnings: list[str]
) -> Iterator[LabelledFile]:
    problems += [f"{path}: an image outside of the classes' folders" for path in _any(parent)]
    folders = visible(parent)
    if not folders:
        problems.append(f"{parent}: no folder of a class in it")
    means = part_names(folder.name for folder in folders).parts
    for folder in folders:
        if folder.name in means:
            why = "there is no train/ beside it" if part is None else f"it lies in {parent.name}/"
            problems.append(
                f"{folder}: named as a set is and not as a class, but {why}; sets are {root}/train, val and "
                "test, with a folder for each class; rename this one if it is a class"
            )
            continue
        # Folders of sets within a class would be read as one set.
        inner = part_names(path.name for path in visible(folder)).parts
        if len(set(inner.values())) > 1:
            problems.append(
                f"{folder}: holds folders of sets ({', '.join(inner)}); sets are {root}/train, val and test, "
                f"with a folder for each class: move them, such as to {next(iter(inner))}/{folder.name}"
            )
            continue
        found = find_images(folder)
        problems += found.problems()
        warnings += found.warnings()
        if not found.images and not found.unread:
            problems.append(f"{folder}: no {READ} file in it")
        for path in found.images:
            yield LabelledFile(Sample(path.relative_to(root).as_posix(), split=part), path, folder.name)


def _any(folder: Path) -> list[Path]:
    """Images that lie in the folder itself, read or not."""
    found = find_images(folder, nested=False)
    return sorted([*found.images, *found.unread])
