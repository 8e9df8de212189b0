"""Folders and tables as public data sets are unpacked: images to masks, images to classes, lists of files."""

import csv
import io
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selftest.inputs import scenes
from selftest.inputs.base import COUNT, Files, WrongInput, config, mine
from selftest.inputs.scenes import SCENES, Array, counted, save, save_pair, scene, scenes_at, segmentation

Place = Callable[[Path, int, Array, Array], None]
"""Writes the files of a scene (root, number, image, mask of 0 and 1)."""

_TRAIN = 4  # of the six scenes; the others are for validation


def _part(number: int, names: Sequence[str] = ("train", "val")) -> str:
    return names[number >= _TRAIN]


def _pairs(
    image: str, mask: str, names: Sequence[str] = ("train", "val"), high: int = 1, low: int = 0
) -> Place:
    """Image and mask at paths with {part} and {name}; the mask's values are `low` and `high`."""

    def place(root: Path, number: int, picture: Array, truth: Array) -> None:
        at = {"part": _part(number, names), "name": f"f_{number}"}
        save(picture, root / image.format(**at))
        save(np.where(truth, high, low).astype(np.uint8), root / mask.format(**at))

    return place


def _voc(root: Path, number: int, picture: Array, truth: Array) -> None:
    name = f"2007_{number:06d}"
    save(picture, root / f"JPEGImages/{name}.jpg", quality=98)
    image = Image.fromarray(truth, mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    save(image, root / f"SegmentationClass/{name}.png")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for part in (_part(number), "trainval"):
        with (lists / f"{part}.txt").open("a") as file:
            file.write(f"{name}\n")


def _objects(root: Path, number: int, picture: Array, truth: Array) -> None:
    """The left and the right half of what there is, as if they were two objects."""
    folder = root / _part(number) / f"f_{number}"
    save(picture, folder / f"images/f_{number}.png")
    middle = int(np.flatnonzero(truth.any(0)).mean())
    for name, columns in (("left", slice(None, middle)), ("right", slice(middle, None))):
        mask = np.zeros_like(truth)
        mask[:, columns] = truth[:, columns] * np.uint8(255)
        save(mask, folder / f"masks/{name}.png")


def _coco(root: Path, number: int, picture: Array, truth: Array) -> None:
    """Masks as run lengths, column by column, as COCO counts them without compression."""
    part = _part(number)
    save(picture, root / f"{part}/{number}.png")
    file = root / f"annotations/instances_{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cell"}]}
    if file.exists():
        whole = json.loads(file.read_text())
    height, width = truth.shape
    flat = truth.flatten(order="F")
    # Run lengths start with the zeros, as COCO wants them.
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    whole["images"].append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    numbers = {"id": number, "image_id": number, "category_id": 7, "iscrowd": 0, "area": int(truth.sum())}
    segmentation = {"size": [height, width], "counts": counts}
    whole["annotations"].append({**numbers, "bbox": [0, 0, width, height], "segmentation": segmentation})
    file.write_text(json.dumps(whole))


def _cityscapes(kind: str, low: int, high: int) -> Place:
    mask = "gtFine/{part}/ulm/ulm_{name}_gtFine_" + kind + ".png"
    return _pairs("leftImg8bit/{part}/ulm/ulm_{name}_leftImg8bit.png", mask, low=low, high=high)


_CELLS = {"classes": scenes.CLASSES}
_CARS_ON_ROADS = {"published": {"classes": 19, "dark": 0, "bright": 13}}
_SPLIT: Mapping[str, Place] = {
    "train/ and trainannot/": _pairs("{part}/{name}.png", "{part}annot/{name}.png"),
    "images/train and labels/train": _pairs("images/{part}/{name}.png", "labels/{part}/{name}.png"),
    "images/train and masks/train": _pairs("images/{part}/{name}.png", "masks/{part}/{name}.png"),
    "images/training and annotations/training": _pairs(
        "images/{part}/{name}.jpg", "annotations/{part}/{name}.png", ("training", "validation")
    ),
    "train/images and train/masks": _pairs("{part}/images/{name}.png", "{part}/masks/{name}.png"),
    "Train/Images and Train/Masks": _pairs(
        "{part}/Images/{name}.png", "{part}/Masks/{name}.png", ("Train", "Val")
    ),
    "train/image and train/label, val called valid": _pairs(
        "{part}/image/{name}.png", "{part}/label/{name}.png", ("train", "valid")
    ),
    "COCO": _coco,
    "a folder for each image, with a mask for each object": _objects,
}
_OF_CLASSES: Mapping[str, tuple[Place, Mapping[str, object]]] = {
    "Cityscapes, label ids of roads and cars": (_cityscapes("labelIds", 7, 26), _CARS_ON_ROADS),
    "Cityscapes, train ids of roads and cars": (_cityscapes("labelTrainIds", 0, 13), _CARS_ON_ROADS),
    "Cityscapes, classes of one's own": (_cityscapes("labelIds", 0, 1), _CELLS),
    "Pascal VOC, its own classes": (_voc, {"published": {"classes": 21, "dark": 0, "bright": 1}}),
    "Pascal VOC, classes of one's own": (_voc, _CELLS),
}
_UNSPLIT: Mapping[str, Place] = {
    "imagesTr and labelsTr": _pairs("imagesTr/{name}.png", "labelsTr/{name}.png", high=255),
    "x_sat.jpg and x_mask.png": _pairs("{name}_sat.jpg", "{name}_mask.png", high=255),
    "x.jpg and x_mask.png in one folder": _pairs("{name}.jpg", "{name}_mask.png", high=255),
    "images/x and masks/x_mask": _pairs("images/{name}.png", "masks/{name}_mask.png", high=255),
    "images/x and masks/x_segmentation": _pairs(
        "images/{name}.jpg", "masks/{name}_segmentation.png", high=255
    ),
    "Images and Masks with capitals": _pairs("Images/{name}.png", "Masks/{name}.png", high=255),
    "images and labels": _pairs("images/{name}.png", "labels/{name}.png", high=255),
}


def layouts() -> Iterator[WrongInput]:
    """Images and masks, in sets that the folders name: all are used, none is in two sets."""
    without_names = {what: (place, dict[str, object]()) for what, place in _SPLIT.items()}
    for what, (place, data) in {**without_names, **_OF_CLASSES}.items():
        files = _placed(place, **data)
        yield WrongInput("layouts", what, files, counted(_TRAIN, SCENES - _TRAIN))
    for what, place in _UNSPLIT.items():
        yield WrongInput("layouts", what, _placed(place), counted(3, 3))
    several = _pairs("images/{part}/{name}.png", "labels/{part}/{name}.png", low=1, high=2)
    what, words = "masks of classes 1 and 2 without names", ("the masks hold the values 1, 2",)
    yield WrongInput("layouts", what, _placed(several), {}, words)


def _placed(place: Place, **data: Any) -> Files:
    def files(folder: Path) -> Mapping[str, object]:
        for number in range(SCENES):
            picture, truth = scene(number)
            place(folder / "set", number, picture, truth.astype(np.uint8))
        return segmentation(root="set", **data)

    return files


def class_folders() -> Iterator[WrongInput]:
    """Folders of classes in folders of sets, whatever those are called: three classes, and no set is one."""
    for train, test in (
        ("train", "test"), ("Training", "Testing"), ("TRAIN", "TEST"), ("train_set", "test_set"),
        ("training_set", "test_set"), ("trainset", "testset"), ("Train", "Validation"),
        ("training", "validation"), ("train", "valid"), ("train_data", "test_data"), ("training", "val"),
        ("Train", "dev"),
    ):  # fmt: skip
        held = test.lower().startswith("test")
        expected = {"train_count": 24.0 if held else 30.0, "val_count": 6.0 if held else 15.0}
        yield WrongInput(
            "class folders", f"{train}/ and {test}/", _classes_in({train: 10, test: 5}), expected
        )
    whole = {"train_count": 24.0, "val_count": 6.0}
    yield WrongInput("class folders", "a folder around the classes", _classes_in({"flowers": 10}), whole)

    def unlabelled(folder: Path) -> Mapping[str, object]:
        save(scene(0)[0], folder / "set/test/0.png")
        return _classes_in({"train": 10})(folder)

    yield WrongInput("class folders", "a test set without classes", unlabelled, {}, ("no folder of a class",))


def _classes_in(sets: Mapping[str, int]) -> Files:
    """Three folders of classes in each of these folders, with so many images."""

    def files(folder: Path) -> Mapping[str, object]:
        seeds = itertools.count()
        for part, label in itertools.product(sets, ("ape", "bee", "cat")):
            for number in range(sets[part]):
                save(scene(next(seeds))[0], folder / "set" / part / label / f"{number}.png")
        return config(
            task="lab.tasks.Classification",
            data={"target": "lab.data.class_folder", "size": 8, "root": "set"},
            net=mine("Flat", classes="auto"),
            criterion="torch.nn.CrossEntropyLoss",
            metrics=dict(COUNT),
        )

    return files


def _table(
    delimiter: str = ",",
    encoding: str = "utf-8",
    path: Callable[[Path, str], str] = lambda root, name: name,
    name: Callable[[int], str] = lambda number: f"f{number}",
    stored: Callable[[str], str] = lambda name: name,
    end: str = "\n",
) -> Files:
    """A manifest, and files beside it.

    Args:
        path: the path that the table has of a file, by the root and the path below it.
        name, stored: the name of a scene in the table, and that of its files.
    """

    def files(folder: Path) -> Mapping[str, object]:
        root = folder / "set"
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
        writer.writerow(["basename", "image_path", "mask_path"])
        for number in range(SCENES):
            own = name(number)
            save_pair(number, root / f"images/{stored(own)}.png", root / f"masks/{stored(own)}.png")
            writer.writerow([own, *(path(root, f"{kind}/{own}.png") for kind in ("images", "masks"))])
        (root / "list.csv").write_bytes(text.getvalue().encode(encoding))
        return segmentation("lab.data.manifest", path="set/list.csv")

    return files


def _composed(number: int) -> str:
    return unicodedata.normalize("NFC", f"Zellen über {number}")


_decomposed = partial(unicodedata.normalize, "NFD")


def _backslashed(root: Path, name: str) -> str:
    return name.replace("/", "\\")


_TABLES: Mapping[str, Files] = {
    "commas": _table(),
    "semicolons": _table(";"),
    "tabs": _table("\t"),
    "bars": _table("|"),
    "a byte order mark": _table(encoding="utf-8-sig"),
    "UTF-16": _table(encoding="utf-16"),
    "line feeds and carriage returns": _table(end="\r\n"),
    "carriage returns": _table(end="\r"),
    "absolute paths below the root": _table(path=lambda root, name: str(root.resolve() / name)),
    "backslashes": _table(path=_backslashed),
    "a leading ./": _table(path=lambda root, name: f"./{name}"),
    "blanks around": _table(path=lambda root, name: f" {name} "),
    "names in composed form, files in decomposed form": _table(name=_composed, stored=_decomposed),
}
_ABROAD = _table(path=lambda root, name: f"/home/ann/set/{name}")
_ON_A_DRIVE = _table(path=lambda root, name: "C:\\" + _backslashed(root, name))
_MISSING = _table(path=lambda root, name: name.replace("f3", "f7"))
_OTHER_TABLES: Mapping[str, tuple[Files, str]] = {
    "Latin-1": (_table(encoding="latin-1", name=_composed), "not utf-8"),
    "absolute paths of another computer": (_ABROAD, "/home/ann/set/images/f0.png leads out of"),
    "a drive's letter": (_ON_A_DRIVE, "c:\\images\\f0.png leads out of"),
    "files that aren't there": (_MISSING, "f7.png: no such file"),
}


def tables() -> Iterator[WrongInput]:
    """Manifests in other programs' dialects."""
    for what, files in _TABLES.items():
        yield WrongInput("tables", what, files, counted(3, 3))
    for what, (files, word) in _OTHER_TABLES.items():
        yield WrongInput("tables", what, files, {}, (word,))
    capitals = _table(path=lambda root, name: name.replace(".png", ".PNG"))
    # On file systems that ignore case, the files are read.
    words = ("differs in upper and lower case",)
    yield WrongInput("tables", "an ending in capitals", capitals, counted(3, 3), words)

    two_forms = scenes_at(
        lambda n: f"images/{_composed(n)}.png", lambda n: f"masks/{_decomposed(_composed(n))}.png"
    )
    yield WrongInput("tables", "masks in decomposed form", two_forms, counted(3, 3))
