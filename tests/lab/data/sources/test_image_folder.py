import unicodedata
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lab.config.argument_types import annotations
from lab.data import Splits, image_folder
from lab.data.image_mask_pairs import AugmentedPairs
from lab.data.loaders import create_loader
from tests.image_files import tiff

NUCLEI = Path(__file__).parents[5] / "shared" / "data" / "nuclei"
needs_nuclei = pytest.mark.skipif(
    not NUCLEI.is_dir(), reason=f"needs the 120 real images of BBBC038 in {NUCLEI}, which are not shipped"
)


# --- folders ----------------------------------------------------------------------------------------------


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten red images of two sizes in three formats, with masks that tell which image they belong to."""
    for k in range(10):
        shape = (20, 30) if k % 2 else (24, 16)
        image = np.zeros((*shape, 3), np.uint8)
        image[..., 2] = 10 + k  # OpenCV writes BGR
        mask = np.zeros(shape, np.uint8)
        mask[:, : k + 1] = 255
        write(tmp_path / "images" / f"{k:02}.{('png', 'tif', 'tiff')[k % 3]}", image)
        write(tmp_path / "masks" / f"{k:02}.png", mask)
    return tmp_path


def identity(item: tuple[Tensor, ...]) -> tuple[int, int]:
    """Return the numbers of image and mask, read from the pixels."""
    image, mask = item
    return round(image[0, 0, 0].item() * 255) - 10, int(mask[0, 0].sum()) - 1


def load(folder: Path, **options: Any) -> Splits:
    return image_folder(str(folder), normalise="none", **options)


def items(splits: Splits) -> list[list[tuple[int, int]]]:
    return [[identity(part[i]) for i in range(len(part))] for part in splits[:3] if part is not None]  # type: ignore[arg-type]


@pytest.mark.parametrize("cache_gb", [2.0, 0.0])
def test_pairs_are_found_by_name_and_split_by_seed(folder: Path, cache_gb: float) -> None:
    splits = load(folder, val_share=0.2, test_share=0.1, cache_gb=cache_gb)
    parts = items(splits)
    assert [len(part) for part in parts] == [7, 2, 1]
    assert sorted(pair for part in parts for pair in part) == [(k, k) for k in range(10)]
    assert parts == items(load(folder, val_share=0.2, test_share=0.1))
    assert parts != items(load(folder, val_share=0.2, test_share=0.1, seed=1))
    assert splits.facts["split"]["test"] == [f"{image:02}" for image, _ in parts[2]]
    image, _ = splits.train[0]
    assert image.shape[0] == 3 and image[1:].max() == 0  # red stays red: RGB


def test_sets_without_a_test_share(folder: Path) -> None:
    splits = image_folder(str(folder))
    assert (len(items(splits)[0]), splits.test) == (8, None)
    assert not hasattr(splits.train, "sample") and not hasattr(splits.val, "sample")
    assert hasattr(image_folder(str(folder), transforms=[A.D4()]).train, "sample")


def test_grayscale_gives_one_channel(folder: Path) -> None:
    image, _ = image_folder(str(folder), grayscale=True).train[0]
    assert image.shape[0] == 1


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("grey.png", np.full((4, 4), 51, np.uint8), 0.2),
        ("grey.jpg", np.full((4, 4), 51, np.uint8), 0.2),
        ("alpha.png", np.full((4, 4, 4), 51, np.uint8), 0.2),
        ("deep.tif", np.full((4, 4), 13107, np.uint16), 0.2),
        ("float.tiff", np.full((4, 4), 0.2, np.float32), 0.2),
    ],
)
def test_kinds_of_files(tmp_path: Path, name: str, array: np.ndarray, expected: float) -> None:
    for stem in ("one", "two"):
        write(tmp_path / "images" / f"{stem}{Path(name).suffix}", array)
        write(tmp_path / "masks" / f"{stem}.png", np.eye(4, dtype=np.uint8))
    image, _ = load(tmp_path).train[0]
    assert image.shape == (3, 4, 4)
    torch.testing.assert_close(image, torch.full((3, 4, 4), expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0, [0, 1, 1, 1]), (1, [0, 0, 1, 1]), (127, [0, 0, 0, 1])]
)
def test_mask_threshold(tmp_path: Path, threshold: int, expected: list[int]) -> None:
    for stem in ("one", "two"):
        write(tmp_path / "images" / f"{stem}.png", np.zeros((1, 4, 3), np.uint8))
        write(tmp_path / "masks" / f"{stem}.png", np.array([[0, 1, 2, 255]], np.uint8))
    _, mask = image_folder(str(tmp_path), mask_threshold=threshold).train[0]
    assert mask.flatten().tolist() == expected


@pytest.mark.parametrize("root", [None, ""])
def test_a_root_that_is_not_set_names_the_option(root: str | None) -> None:
    with pytest.raises(ValueError, match=r"--set data\.root=PATH"):
        image_folder(root)


def test_a_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        image_folder(str(tmp_path / "nowhere"))
    for part in (
        str(tmp_path / "nowhere" / "images"),
        str(tmp_path / "nowhere" / "masks"),
        "--set data.root=PATH",
    ):
        assert part in str(error.value)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match=r"images: no \.bmp, \.gif, \.jpeg, .* file in it"):
        image_folder(str(tmp_path))


def test_all_problems_are_told_at_once(folder: Path) -> None:
    (folder / "masks" / "00.png").unlink()
    write(folder / "masks" / "stray.png", np.zeros((4, 4), np.uint8))
    write(folder / "masks" / "01.png", np.zeros((4, 5), np.uint8))
    (folder / "images" / "03.png").write_bytes(b"not an image")
    write(folder / "images" / "06.tif", np.zeros((24, 16, 3), np.uint8))
    (folder / "images" / "notes.txt").write_text("ignored")
    with pytest.raises(ValueError) as error:
        image_folder(str(folder))
    text = str(error.value)
    assert text.startswith("5 problems with the image folder")
    for part in (
        f"{folder / 'images' / '00.png'}: no mask {folder / 'masks' / '00'}.*",
        f"{folder / 'masks' / 'stray.png'}: no image",
        f"{folder / 'masks' / '01.png'}: 5 × 4 pixels, but its image has 30 × 20",
        f"{folder / 'images' / '03.png'}: not a readable image",
        f"{folder / 'images' / '06.tif'}: by its name the same image or mask as {folder / 'images'}/06.png",
    ):
        assert part in text


def test_nested_folders_are_mirrored_and_other_files_counted(folder: Path) -> None:
    for place in ("images", "masks"):
        (folder / place / "more" / "deep").mkdir(parents=True)
        for k in (3, 6):
            (path,) = (folder / place).glob(f"0{k}.*")
            path.rename(folder / place / "more" / "deep" / path.name)
    for name in ("notes.txt", "list.txt", "Thumbs.db", ".hidden.xyz"):
        (folder / "images" / name).write_text("")
    splits = load(folder)
    assert sorted(pair for part in items(splits) for pair in part) == [(k, k) for k in range(10)]
    assert {"more/deep/03", "more/deep/06"} < {
        name for part in splits.facts["split"].values() for name in part
    }
    assert splits.info.warnings == [f"{folder / 'images'}: not used: 1 .db, 2 .txt"]
    (folder / "masks" / "more" / "deep" / "03.png").rename(folder / "masks" / "03.png")
    with pytest.raises(ValueError, match=r"more/deep/03\.png: no mask"):
        load(folder)


def test_images_of_formats_that_are_not_read_are_refused(folder: Path) -> None:
    (folder / "images" / "x.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"x\.heic: not read, only \.bmp, .* are; convert or remove it"):
        load(folder)


def test_bmp_gif_and_webp_are_read(folder: Path) -> None:
    for k, kind in enumerate(("bmp", "webp", "gif")):
        for place in ("images", "masks"):
            (path,) = (folder / place).glob(f"0{k}.*")
            Image.open(path).save(path.with_suffix(f".{kind}"), lossless=True)
            path.unlink()
    splits = load(folder)
    assert sorted(pair for part in items(splits) for pair in part) == [(k, k) for k in range(10)]


@pytest.mark.parametrize(
    ("dtype", "factor", "value_range"),
    [
        (np.uint16, 16, [0, 4095]),
        (np.int16, 100, [-1000, 30000]),
        (np.uint32, 70000, [0, 2e7]),
        (np.float32, 0.5, [0, 200]),
    ],
)
def test_a_stated_range_is_applied_and_recorded(
    folder: Path, dtype: Any, factor: float, value_range: list[float]
) -> None:
    low, high = value_range
    for path in list((folder / "images").iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        path.unlink()
        path.with_suffix(".tif").write_bytes(tiff((image[..., 2].astype(float) * factor).astype(dtype)))
    if dtype != np.uint16:
        with pytest.raises(ValueError, match=r"10 problems[\s\S]*or set data\.value_range"):
            load(folder)
    else:
        (warning,) = load(folder).info.warnings
        assert "of the 16 bits of 10 images" in warning and "only 9 are used (largest value 304)" in warning
    splits = load(folder, value_range=value_range, grayscale=True)
    for index, name in enumerate(splits.facts["split"]["train"]):
        drawn = np.asarray((10 + int(name)) * factor).astype(dtype)
        assert splits.train[index][0].unique().item() == pytest.approx((drawn - low) / (high - low), abs=1e-6)
    assert splits.facts["value_range"] == value_range and not splits.info.warnings
    assert splits.facts["depths"] == {np.dtype(dtype).name: pytest.approx(19 * factor)}


def test_masks_without_any_object_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="none of the 8 training masks has a pixel of an object; look at"):
        load(folder, mask_threshold=255)
    empty = np.zeros((24, 16), np.uint8)
    write(folder / "masks" / "00.png", empty)
    assert load(folder).facts.get("without_objects", ["00"]) == ["00"]  # some may have none


def test_depths_of_one_set_that_differ_are_reported(folder: Path) -> None:
    write(folder / "images" / "00.png", np.full((24, 16, 3), 60000, np.uint16))
    (warning,) = load(folder).info.warnings
    assert warning.startswith("images differ in their bit depth: 1 of uint16 (such as ")


def test_a_file_that_was_cut_short_is_named(folder: Path) -> None:
    path = folder / "masks" / "04.png"
    path.write_bytes(path.read_bytes()[:40])  # the header is whole, the pixels are not
    with pytest.raises(ValueError, match=r"04\.png: not a readable image"):
        image_folder(str(folder))


def test_many_problems_are_counted_and_not_all_printed(folder: Path) -> None:
    for k in range(50):
        write(folder / "images" / f"extra{k}.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"50 problems[\s\S]*and 30 more"):
        image_folder(str(folder))


# --- metadata, classes, folds -----------------------------------------------------------------------------


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder of the shape of CVC-ClinicDB: frames of four sequences, masks with the blur of a codec."""
    rng = np.random.default_rng(0)
    lines = ["frame_id,sequence_id,path"]
    for k in range(1, 13):
        image = rng.integers(0, 256, (18, 24, 3), np.uint8)
        mask = cv2.circle(np.zeros((18, 24), np.uint8), (6 + k, 9), 4, 255, -1)
        write(tmp_path / "Original" / f"{k}.tif", image)
        write(tmp_path / "Ground Truth" / f"{k}.tif", cv2.GaussianBlur(mask, (3, 3), 0))
        lines.append(f"{k},{(k - 1) // 3 + 1},Original/{k}.tif")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def polyps(folder: Path, **options: Any) -> Splits:
    given = {"metadata": "metadata.csv", "group_by": "sequence_id", "condition": "sequence_id", **options}
    return image_folder(str(folder), "Original", "Ground Truth", mask_threshold=127, **given)


def test_sequences_stay_together_and_condition(clinic: Path) -> None:
    splits = polyps(clinic, test_share=0.25, val_share=0.25)
    names = splits.facts["split"]
    assert [len(names[part]) for part in ("train", "val", "test")] == [6, 3, 3]
    owners = [{(int(name) - 1) // 3 + 1 for name in names[part]} for part in ("train", "val", "test")]
    assert len(set.union(*owners)) == 4 == sum(map(len, owners))
    assert splits.facts["sequences"] == {str(owner): k for k, owner in enumerate(sorted(owners[0]))}
    image, sequence, mask = splits.train[0]
    assert (image.shape, mask.shape) == ((3, 18, 24), (1, 18, 24)) and sequence in (0, 1)
    assert splits.val[0][1] == -1  # its sequence was never trained on


def test_metadata_can_name_the_split(clinic: Path) -> None:
    text = (clinic / "metadata.csv").read_text().splitlines()
    parts = ["split", *(["train"] * 6 + ["val"] * 3 + ["test"] * 3)]
    (clinic / "metadata.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(text, parts, strict=True)))
    splits = polyps(clinic, split_by="split")
    assert splits.facts["split"]["test"] == ["10", "11", "12"] and len(splits.val) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".tif", ".JPG"])
def test_names_in_metadata_may_have_their_ending(clinic: Path, ending: str) -> None:
    expected = polyps(clinic, val_share=0.25).facts["split"]
    table = clinic / "metadata.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *(row.replace(",", f"{ending},", 1) for row in rows)]))
    assert polyps(clinic, val_share=0.25).facts["split"] == expected
    table.write_text(table.read_text() + "\n1,1,Original/1.tif\n")
    with pytest.raises(ValueError, match="line 14: frame_id 1 is the image of line 2"):
        polyps(clinic)


def test_metadata_that_does_not_fit_the_folder(clinic: Path) -> None:
    table = clinic / "metadata.csv"
    table.write_text("frame_id,sequence_id\n" + "".join(f"{k},1\n" for k in range(2, 13)) + "2,2\n99,4\n")
    (clinic / "Ground Truth" / "5.tif").unlink()
    with pytest.raises(ValueError) as error:
        polyps(clinic)
    for part in (
        "problems with the image folder",
        f"{table}, line 13: frame_id 2 is on line 2 already",
        f"{table}, line 14: no image is named 99.*",
        f"{clinic / 'Original' / '1.tif'}: {table} has no row whose frame_id is 1",
        f"{clinic / 'Original' / '5.tif'}: no mask",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="no column sequence; it has frame_id, sequence_id"):
        polyps(clinic, group_by="sequence")
    with pytest.raises(ValueError, match="give the CSV below root as metadata"):
        polyps(clinic, metadata=None)


def test_folds_hold_every_image_out_once(folder: Path) -> None:
    held = [load(folder, folds=10, fold=fold).facts["split"]["val"] for fold in range(10)]
    assert sorted(name for names in held for name in names) == [f"{k:02}" for k in range(10)]
    with pytest.raises(ValueError, match="folds=11, but there are 10 images: folds=10 leaves one out"):
        load(folder, folds=11)


def test_classes_by_value_and_ignored_pixels(folder: Path) -> None:
    splits = load(folder, classes={"dark": 0, "bright": 255}, ignore=7)
    assert splits.facts["classes"] == ["dark", "bright"]
    with pytest.raises(ValueError, match=r"10 problems.*\n.*pixels of no class, of value 255"):
        load(folder, classes={"dark": 0, "bright": 254})


def test_the_arguments_are_checked_before_anything_is_built() -> None:
    checkers = annotations(image_folder)
    good = {"classes": {"a": 0, "b": "#ff0000"}, "ignore": "#ffffff", "normalise": "image", "folds": 5}
    assert [*(problem for name, value in good.items() for problem in checkers[name].check(name, value))] == []
    for name, value in {"classes": {"a": 0.5}, "ignore": 1.5, "normalise": "al", "fold": "x"}.items():
        assert list(checkers[name].check(name, value)), name


def test_whole_images_are_validated_on_in_batches_of_one_size(folder: Path) -> None:
    splits = load(folder, transforms=[A.RandomCrop(8, 8)], val_share=0.5)
    loader = create_loader(splits.val, 2, shuffle=False)
    batches = [tuple(batch[0].shape[2:]) for batch in loader]
    val: Any = splits.val
    assert len(batches) == 3 and {tuple(size) for size in val.sizes} == {(24, 16), (20, 30)} == set(batches)
    with pytest.raises(ValueError, match="the images have 2 sizes and a batch needs one"):
        create_loader(load(folder).train, 2, shuffle=True)


# --- real images ------------------------------------------------------------------------------------------


@needs_nuclei
def test_the_nuclei_load_as_they_are() -> None:
    splits = image_folder(str(NUCLEI), normalise="none", cache_gb=0.01)
    assert (len(splits.train), len(splits.val)) == (96, 24)  # type: ignore[arg-type]
    sizes, shares = set(), []
    for part in (splits.train, splits.val):
        for index in range(len(part)):  # type: ignore[arg-type]
            image, mask = part[index]
            assert image.shape[1:] == mask.shape[1:] and image.shape[0] == 3 and mask.shape[0] == 1
            assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.005
            sizes.add(tuple(mask.shape[1:]))
            shares.append(mask.mean().item())
    assert sizes == {(256, 256), (256, 320), (360, 360), (520, 696)}
    assert min(shares) > 0 and max(shares) < 0.7


@needs_nuclei
def test_the_nuclei_come_in_one_size_where_the_transforms_say_so() -> None:
    crop = [A.RandomCrop(256, 256, pad_if_needed=True), A.D4()]
    middle = [A.CenterCrop(256, 256, pad_if_needed=True)]
    splits = load(NUCLEI, transforms=crop, val_transforms=middle)
    assert isinstance(splits.train, AugmentedPairs)
    for index in range(0, 96, 4):
        image, mask = splits.train.sample(index, np.random.default_rng(index))
        assert (image.shape, mask.shape) == ((3, 256, 256), (1, 256, 256))
    assert {tuple(splits.val[i][0].shape) for i in range(24)} == {(3, 256, 256)}


# --- names that look alike --------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", [("NFC", "NFD", "NFC"), ("NFD", "NFC", "NFC"), ("NFC", "NFC", "NFD")])
def test_unicode_forms_do_not_matter(tmp_path: Path, forms: tuple[str, str, str]) -> None:
    rows = ["frame_id;split"]
    for k in range(4):
        image_name, mask_name, row_name = (unicodedata.normalize(form, f"Prüfung {k}") for form in forms)
        mask = np.zeros((8, 8), np.uint8)
        mask[0, : k + 1] = 255
        write(tmp_path / "images" / f"{image_name}.png", np.full((8, 8, 3), 10 + k, np.uint8))
        write(tmp_path / "masks" / f"{mask_name}.png", mask)
        rows.append(f"{row_name};{'Training' if k < 3 else 'valid'}")
    (tmp_path / "about.csv").write_text("\n".join(rows))
    splits = load(tmp_path, metadata="about.csv", split_by="split")
    pairs = [
        [(round(i[0, 0, 0].item() * 255) - 10, int(m[0, 0].sum()) - 1) for i, m in part]
        for part in splits[:2]
    ]
    assert pairs == [[(0, 0), (1, 1), (2, 2)], [(3, 3)]]


def test_names_that_differ_in_case_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "images" / "A.png", np.zeros((8, 8, 3), np.uint8))
    write(tmp_path / "masks" / "a.png", np.full((8, 8), 255, np.uint8))
    with pytest.raises(
        ValueError, match=r"no mask .*A\.\*; there is a, whose name differs in upper and lower"
    ):
        load(tmp_path)


def test_folders_beside_both_are_counted(folder: Path) -> None:
    before = load(folder).facts
    for name in ("test/images", "test/masks", "masks_old", "figures"):
        write(folder / name / "0.png", np.zeros((4, 4), np.uint8))
    facts = load(folder).facts
    assert facts["split"] == before["split"]
    warnings = [text for text in facts["warnings"] if "not used" in text]
    assert warnings == [
        f"{folder / 'masks_old'}: not used: 1 image",
        f"{folder / 'test'}: not used: 2 images",
    ]


@pytest.mark.parametrize("lowest", [0, 1])
def test_masks_that_are_all_foreground_are_reported(tmp_path: Path, lowest: int) -> None:
    """Such as trimaps, whose background is 2, or photos in place of masks."""
    for k in range(4):
        write(tmp_path / "images" / f"{k}.png", np.full((6, 6), k, np.uint8))
        write(tmp_path / "masks" / f"{k}.png", np.arange(36, dtype=np.uint8).reshape(6, 6) % 3 + 1)
    write(tmp_path / "masks" / "0.png", np.arange(36, dtype=np.uint8).reshape(6, 6) % 3 + lowest)
    warnings = load(tmp_path).facts.get("warnings", [])
    found = [text for text in warnings if "pixel of background" in text]
    assert len(found) == lowest
    assert not lowest or found[0].startswith("none of the 4 masks has a pixel of background")
