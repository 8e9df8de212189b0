"""The layout of a folder, and what the folder holds by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from lab.data.layouts.cityscapes import is_cityscapes, read_cityscapes
from lab.data.layouts.coco import is_coco, read_coco
from lab.data.layouts.contents import Contents, Layout, require_folders, unwrapped
from lab.data.layouts.named import is_named, read_named
from lab.data.layouts.objects import is_objects, read_objects
from lab.data.layouts.pairs import is_pairs, read_pairs
from lab.data.layouts.voc import is_voc, read_voc
from lab.data.masks import Label


def read_layout(
    root: Path, layout: Layout, folders: tuple[str, str], classes: Mapping[str, Label] | None
) -> Contents:
    """Read the content of a folder.

    Args:
        layout: `auto` finds out.
        folders: the names of the folders of images and masks, for `pairs`.
        classes: the user's own.
    Raises:
        ValueError: no layout fits, or several do.
    """
    images, masks = (root / name for name in folders)
    found = detected(root, folders) if layout is Layout.AUTO else layout
    if found is not Layout.PAIRS:
        require_folders([root], "data.root must be the folder that holds images and masks")
    inner = root if found is Layout.PAIRS else unwrapped(root)
    match found:
        case Layout.PAIRS | Layout.AUTO:
            return read_pairs(images, masks)
        case Layout.NAMED:
            return read_named(inner)
        case Layout.OBJECTS:
            if classes is not None:
                raise ValueError("layout: objects has no classes: a mask is one object; remove data.classes")
            return read_objects(inner)
        case Layout.VOC:
            return read_voc(inner, own_classes=classes is not None)
        case Layout.CITYSCAPES:
            return read_cityscapes(inner, own_classes=classes is not None)
        case Layout.COCO:
            return read_coco(inner, classes)
        case _:
            assert_never(found)


def detected(root: Path, folders: tuple[str, str]) -> Layout:
    """The layout of a folder; `pairs` where there is none, whose error names the folders that are missing.

    The named layouts come before the general ones, which they would fit too.

    Raises:
        ValueError: several fit.
    """
    if is_pairs(*(root / name for name in folders)) or not root.is_dir():
        return Layout.PAIRS
    inner = unwrapped(root)
    # Specific layouts: each also fits `named`, which is tried only where none of them does.
    special = {Layout.VOC: is_voc, Layout.CITYSCAPES: is_cityscapes, Layout.OBJECTS: is_objects}
    fitting = [layout for layout, fits in special.items() if fits(inner)]
    if not fitting and is_named(inner):
        fitting.append(Layout.NAMED)
    if is_coco(inner):
        fitting.append(Layout.COCO)
    if len(fitting) > 1:
        raise ValueError(f"{root}: this may be {' or '.join(fitting)}: set data.layout to one of them")
    return fitting[0] if fitting else Layout.PAIRS
