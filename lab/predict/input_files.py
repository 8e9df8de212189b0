"""Inputs of a prediction: a folder's images, one file, or the rows of a manifest, with their ground truth."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.data.csv_tables import Row, listed_file, read_table
from lab.data.file_discovery import READ, find_images, key, key_in
from lab.data.file_problems import indented, raise_all, shown
from lab.data.image_reader import SUFFIXES
from lab.data.unicode_names import composed
from lab.store import paths
from lab.store.run_folder import slug

RECORD = "prediction.json"
"""The record of a prediction: its inputs and settings, and its results, failures included."""
_LONGEST = 200  # bytes of a name, without the files' suffixes


@dataclass(frozen=True)
class Item:
    """One image.

    Args:
        name: of the files that are written for it; no two items share one.
        truth: its mask, where there is one.
        sequence: the id of what it was taken from, where that is known.
    """

    name: str
    image: Path
    truth: Path | None = None
    sequence: str | None = None


@dataclass(frozen=True)
class Layout:
    """File and column names of the run's data, so that a folder of the same structure is recognized.

    Args:
        images, masks: folders below a root.
        metadata: a CSV below the root, in which `name` names an image's stem and `sequence` its sequence.
        manifest, root: the CSV that listed the training's images, and what its paths are relative to.
    """

    images: str = "images"
    masks: str = "masks"
    metadata: str | None = None
    name: str | None = None
    sequence: str = "sequence_id"
    manifest: str | None = None
    root: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, object]) -> "Layout":
        """Create a layout from the arguments of the config's `data`."""
        wanted = {name: data.get(name) for name in ("images", "masks", "metadata", "root")}
        wanted |= {"name": data.get("metadata_name"), "manifest": data.get("path")}
        wanted["sequence"] = data.get("condition") or data.get("group_by")
        return cls(**{key: value for key, value in wanted.items() if isinstance(value, str)})

    def root_for(self, table: Path) -> Path | None:
        """The folder that a table's paths are relative to, where it is the training's own and has one."""
        if self.root is None or self.manifest is None:
            return None
        return (
            paths.absolute(self.root) if paths.absolute(self.manifest).resolve() == table.resolve() else None
        )


def find_items(
    path: Path | str, layout: Layout | None = None, root: Path | None = None, notes: list[str] | None = None
) -> list[Item]:
    """List what `path` names: an image, a folder of images, a root that holds one, or a manifest CSV.

    A folder's images come in the order of their paths, those of folders in it included but for the output of
    earlier predictions. Whether they can be read is not checked.

    Args:
        notes: takes a sentence on the files that are not used.
        root: what a manifest's paths are relative to; by default the training's root for the training's
            manifest, and for others the folder that they are in.

    Raises:
        ValueError: there is no such path, nothing to predict in it, or the manifest is no such one: all its
            problems at once.
    """
    path, layout = paths.absolute(path), layout or Layout()
    if path.is_dir():
        folder = path / layout.images if (path / layout.images).is_dir() else path
        return _with_neighbours(images_in(folder, notes), folder, layout)
    if not path.is_file():
        raise ValueError(f"{paths.shown(path)}: no such file or folder")
    if path.suffix.lower() == ".csv":
        return _of_manifest(path, root or layout.root_for(path) or path.parent, layout)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{paths.shown(path)}: expected a manifest (.csv) or an image ({READ})")
    return _with_neighbours([path], path.parent, layout)


def images_in(folder: Path, notes: list[str] | None = None) -> Sequence[Path]:
    """Return the images in a folder and its subfolders, except for the output of earlier predictions.

    Args:
        notes: takes a sentence on the files that are not used.
    Raises:
        ValueError: there are none.
    """
    found = find_images(folder, skip=lambda below: (below / RECORD).is_file())
    if not found.images:
        raise ValueError(f"{paths.shown(folder)}: no {READ} file found in it or its subfolders")
    if notes is not None:
        notes += [*shown(found.problems()), *found.warnings()]
    return found.images


def _with_neighbours(images: Sequence[Path], folder: Path, layout: Layout) -> list[Item]:
    """Pair images with masks and sequences at the same relative paths as in the training's data."""
    # Images that differ only by suffix share a key: their names keep the suffix, and they have no mask.
    keys = [composed(key(path, folder)) for path in images]
    counts = Counter(keys)
    items = [
        Item(key(path, folder) if counts[own] == 1 else path.relative_to(folder).as_posix(), path)
        for own, path in zip(keys, images, strict=True)
    ]
    # Masks and sequences are found only where the folder has the layout of the training's data.
    parts = Path(layout.images).parts
    if folder.absolute().parts[-len(parts) :] != parts:
        return items
    root = folder.absolute().parents[len(parts) - 1]
    masks = root / layout.masks
    truths = (
        {composed(key(path, masks)): path for path in find_images(masks).images} if masks.is_dir() else {}
    )
    sequences = _sequences(root, layout, counts)
    return [
        replace(item, truth=truths.get(own) if counts[own] == 1 else None, sequence=sequences.get(own))
        for own, item in zip(keys, items, strict=True)
    ]


def _sequences(root: Path, layout: Layout, keys: Container[str]) -> dict[str, str]:
    """Read sequences by image key from the CSV of the training's data; empty where there is none."""
    if layout.metadata is None or layout.name is None or not (root / layout.metadata).is_file():
        return {}
    rows = _rows(root / layout.metadata, (layout.name, layout.sequence))
    named = ((key_in(row.cells[layout.name], keys), row.cells[layout.sequence]) for row in rows)
    return {name: sequence for name, sequence in named if sequence}


def _of_manifest(path: Path, root: Path, layout: Layout) -> list[Item]:
    items, problems, lines = list[Item](), list[str](), dict[str, int]()
    for line, row in ((row.line, row.cells) for row in _rows(path, ("basename", "image_path"))):
        name = _file_name(row["basename"] or Path(row["image_path"]).name)
        if not row["image_path"]:
            problems.append(f"line {line}: image_path is empty")
        elif name in lines:
            problems.append(f"line {line}: '{name}' is in line {lines[name]} already")
        elif not name:
            problems.append(f"line {line}: '{row['basename']}' is not a valid file name")
        lines.setdefault(name, line)
        truth = row.get("mask_path")
        items.append(
            Item(
                name,
                listed_file(root, row["image_path"]),
                listed_file(root, truth) if truth else None,
                row.get(layout.sequence) or row.get("sequence_id") or None,
            )
        )
    if not items:
        problems.append("it has no rows")
    if problems:
        raise ValueError("\n".join([f"{paths.shown(path)}:", *indented(problems)]))
    return items


def _file_name(name: str) -> str:
    """Return a valid file name without an image suffix; unusual names become slugs."""
    name = name.strip().replace("/", "_").replace("\\", "_").lstrip(".")
    name = Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name
    return name if name.isprintable() and len(name.encode()) <= _LONGEST else slug(name)


def _rows(path: Path, needed: Sequence[str]) -> list[Row]:
    """Read the rows of a CSV file with `read_table`, as the training does.

    Raises:
        ValueError: it can't be read, lacks a column, or rows have too few or too many cells.
    """
    problems: list[str] = []
    rows = read_table(path, needed, problems)
    raise_all(problems, paths.shown(path))
    return rows
