"""The layout of a folder, and what the folder holds by it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lab.data.layouts.cityscapes import is_cityscapes, read_cityscapes
from lab.data.layouts.coco import is_coco, read_coco
from lab.data.layouts.contents import Contents, Layout, require_folders, unwrapped
from lab.data.layouts.named import is_named, read_named
from lab.data.layouts.objects import is_objects, read_objects
from lab.data.layouts.pairs import is_pairs, read_pairs
from lab.data.layouts.voc import is_voc, read_voc
from lab.data.masks import Label

Classes = Mapping[str, Label] | None

_READERS: Mapping[Layout, tuple[Callable[[Path], bool], Callable[[Path, Classes], Contents]]] = {
    Layout.VOC: (is_voc, read_voc),
    Layout.CITYSCAPES: (is_cityscapes, read_cityscapes),
    Layout.OBJECTS: (is_objects, read_objects),
    Layout.NAMED: (is_named, read_named),
    Layout.COCO: (is_coco, read_coco),
}
"""How a layout that lies in a single folder is recognized and read, with the user's own classes."""


def read_layout(root: Path, layout: Layout, folders: tuple[str, str], classes: Classes) -> Contents:
    """Read the content of a folder.

    Args:
        layout: `auto` finds out.
        folders: the names of the folders of images and masks, for `pairs`.
        classes: the user's own.
    Raises:
        ValueError: no layout fits, or several do.
    """
    found = detected(root, folders) if layout is Layout.AUTO else layout
    if found is Layout.PAIRS:
        return read_pairs(*(root / name for name in folders))
    require_folders([root], "data.root must be the folder that holds images and masks")
    return _READERS[found][1](unwrapped(root), classes)


def detected(root: Path, folders: tuple[str, str]) -> Layout:
    """The layout of a folder; `pairs` where there is none, whose error names the folders that are missing.

    The named layouts come before the general ones, which they would fit too.

    Raises:
        ValueError: several fit.
    """
    if is_pairs(*(root / name for name in folders)) or not root.is_dir():
        return Layout.PAIRS
    inner = unwrapped(root)
    fitting: list[Layout] = []
    for layout, (fits, _) in _READERS.items():
        # The layouts before `named` fit it too: it walks all folders, and only where none of them fits.
        if not (layout is Layout.NAMED and fitting) and fits(inner):
            fitting.append(layout)
    if len(fitting) > 1:
        raise ValueError(f"{root}: this may be {' or '.join(fitting)}: set data.layout to one of them")
    return fitting[0] if fitting else Layout.PAIRS
