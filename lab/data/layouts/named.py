"""Images and masks distinguished by the names of their folders, or of files side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.data.file_discovery import Found, find_images, visible
from lab.data.layouts.contents import Contents, by_key
from lab.data.layouts.pairing import Key, pair
from lab.data.layouts.roles import Kind, Role, file_kind, role
from lab.data.masks import Label
from lab.data.segmentation_files import Entry
from lab.data.segmentation_sets import Sample
from lab.data.split_names import Part, meanings
from lab.data.unicode_names import composed


@dataclass(frozen=True)
class _File:
    """An image file, what its folders mean, what it is for, and what distinguishes it from others."""

    path: Path
    role: Role
    kind: Kind | None
    place: str
    key: Key


def is_named(root: Path) -> bool:
    """Return whether folders are named as masks are, or files as masks of images beside them."""
    files, by_folders = _files(find_images(root))
    masks = {file.key for file in files if file.kind is Kind.MASK}
    images = {file.key for file in files if file.kind is not Kind.MASK}
    return bool(masks and images) if by_folders else bool(masks & images)


def read_named(root: Path, _: Mapping[str, Label] | None) -> Contents:
    """Pair images and masks by their names, part by part."""
    found = find_images(root)
    contents = Contents(problems=found.problems(), warnings=found.warnings(), may_hold_classes=True)
    files, by_folders = _files(found)
    # Folders that name several sets, or validation or test data without showing which.
    unclear = sorted({file.path.parent for file in files if file.role.parts and file.role.part is None})
    contents.problems += [
        f"{folder}: which set is this? Rename its folders so that they name train, val or test alone"
        for folder in unclear
    ]
    parts = [part for part in Part if any(file.role.part is part for file in files)]
    if parts:
        contents.problems += _empty_sets(root, parts)
    described = []
    sets: list[Part | None] = [*parts] if parts else [None]
    for part in sets:
        own = [file for file in files if file.role.part is part]
        described.append(_read_part(found, own, part, by_folders, contents))
    # Files outside of the sets: masks and images are problems, others only a warning.
    lost = [file for file in files if parts and not file.role.parts]
    _report_unused([file for file in lost if file.kind is None], root, contents)
    contents.problems += [
        f"{folder}: beside folders of sets, but in none of them" for folder in _folders(lost, with_kind=True)
    ]
    contents.description = "; ".join(text for text in described if text)
    return contents


def _files(found: Found) -> tuple[list[_File], bool]:
    """All files, and whether their folders show what they are for."""
    files = []
    for path in found.images:
        folders = path.parent.relative_to(found.folder)
        own = role(folders)
        key = tuple(map(composed, (*own.key, path.stem)))
        files.append(_File(path, own, own.kind, own.where, key))
    if any(file.kind is Kind.MASK for file in files):
        return files, True
    # No folder is named after masks: the names of the files distinguish images and masks.
    for index, file in enumerate(files):
        kind, base = file_kind(file.path.stem)
        key = (*file.key[:-1], composed(base))
        files[index] = _File(file.path, file.role, kind or Kind.IMAGE, file.place, key)
    return files, False


def _read_part(
    found: Found, files: Sequence[_File], part: Part | None, by_folders: bool, contents: Contents
) -> str:
    """Add the entries of a part; a text about where they lie."""
    root, name = found.folder, part or "all"
    masks = [file for file in files if file.kind is Kind.MASK]
    images = [file for file in files if file.kind is Kind.IMAGE]
    others = [file for file in files if file.kind is None]
    if not images:
        images = others if part else [_below_top(file, root) for file in others]
    elif part is None:
        _report_unused(others, root, contents)
    else:
        contents.problems += [
            f"{folder}: beside the images of {name}, but neither images nor masks by its name"
            for folder in _folders(others)
        ]
    # Two folders of one kind would mix, say, original and preprocessed images.
    for kind, own in (("images", images), ("masks", masks)):
        places = sorted({file.place for file in own})
        if len(places) > 1 and by_folders:
            contents.problems.append(
                f"{root}: {kind} of {name} in several folders, {', '.join(places)}: move all but one, or set "
                "data.images and data.masks"
            )
            return ""
    if not images:
        contents.problems.append(f"{root / masks[0].place}: masks of {name} without a folder of its images")
        return ""
    where = f"{name}: images in {images[0].place}"
    if not masks:
        if part is not Part.TEST:
            contents.problems.append(f"{root / images[0].place}: no masks of {name}")
        contents.entries += [Entry(_sample(file.path, root, part), file.path, None) for file in images]
        return f"{where}, no masks"
    keyed, keyed_masks = (
        by_key(((file.key, file.path) for file in own), contents.problems) for own in (images, masks)
    )
    where_to_look = root / images[0].place, root / masks[0].place
    pairs, note = pair(keyed, keyed_masks, where_to_look, contents.problems)
    contents.entries += [Entry(_sample(image, root, part), image, mask) for image, mask in pairs]
    pairing = "distinguished by their names" if not by_folders else f"masks in {masks[0].place}"
    return f"{where}, {pairing}" + (f" ({note})" if note else "")


def _empty_sets(root: Path, parts: Sequence[Part]) -> list[str]:
    """A line for each folder that names a set of which there is no image: `val/` would else be cut anew."""
    folders = [path for top in visible(root) for path in (top, *visible(top))]
    named = [(path, role(path.relative_to(root)).part) for path in folders]
    return [
        f"{path}: no image of {part} in it; remove the folder, or add the images"
        for path, part in named
        if part is not None and part not in parts and meanings(path.name) == {part} and _is_empty(path)
    ]


def _is_empty(folder: Path) -> bool:
    found = find_images(folder)
    return not (found.images or found.unread or found.others)


def _below_top(file: _File, root: Path) -> _File:
    """A file of no special folder: the one directly below root is its place, and no part of its key."""
    top, *key = file.key if len(file.key) > 1 else (".", *file.key)
    place = file.path.relative_to(root).parts[0] if top != "." else top
    return _File(file.path, file.role, Kind.IMAGE, place, tuple(key))


def _sample(path: Path, root: Path, part: Part | None) -> Sample:
    return Sample(path.relative_to(root).with_suffix("").as_posix(), split=part)


def _folders(files: Iterable[_File], *, with_kind: bool = False) -> list[Path]:
    return sorted({file.path.parent for file in files if file.kind or not with_kind})


def _report_unused(files: Sequence[_File], root: Path, contents: Contents) -> None:
    if files:
        names = ", ".join(str(folder.relative_to(root)) for folder in _folders(files)[:3])
        contents.warnings.append(f"{root}: not used: {len(files)} images in folders of other names ({names})")
