"""Pairs of image and mask: the dataset that augments them, and the folder they may come from."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from lab.data.splits import Splits, split_indices

Pair = tuple[NDArray[Any], NDArray[Any]]
"""An image (H, W, C), uint8 or float32 in [0, 1], and its mask (H, W), uint8 in {0, 1}."""

Transforms = Sequence[Callable[..., Any]]
"""Albumentations transforms, applied in this order."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
MOST_SHOWN = 20  # a folder full of the same mistake should not fill the screen


class ImagePairs(Dataset[tuple[Tensor, Tensor]]):
    """Images and masks, each pair put through the same transforms with a fixed generator.

    An item is (image, mask): float32 (C, H, W), scaled to [0, 1] unless a transform (Normalize) already
    returned floats, and float32 (1, H, W) in {0, 1}.
    """

    def __init__(self, pairs: Sequence[Pair], transforms: Transforms = ()) -> None:
        self._pairs = pairs
        self._compose: Any = None
        if transforms:
            import albumentations  # 2 s, and nothing else here needs it

            self._compose = albumentations.Compose(list(transforms))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._item(index, np.random.default_rng((0, index)))

    def _item(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        image, mask = self._pairs[index]
        if self._compose is not None:
            # Left alone, albumentations draws from one stream that workers share and every epoch repeats.
            self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
            changed = self._compose(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return _image_tensor(image), _mask_tensor(mask)


class AugmentedPairs(ImagePairs):
    """Image pairs whose transforms are random: the loader asks for `sample` with the epoch's generator."""

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Item `index`, its randomness drawn from `rng` alone: equal generators give equal items."""
        return self._item(index, rng)


def in_memory(pairs: ImagePairs) -> TensorDataset:
    """The items, stacked: for pairs of one size that are to be served many times unchanged."""
    images, masks = zip(*(pairs[index] for index in range(len(pairs))), strict=True)
    return TensorDataset(torch.stack(images), torch.stack(masks))


def image_folder(
    root: str | None,
    images: str = "images",
    masks: str = "masks",
    val_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    grayscale: bool = False,
    mask_threshold: int = 0,
    transforms: Transforms = (),
    val_transforms: Transforms = (),
    cache: bool = True,
) -> Splits:
    """Images and binary masks from `root/images` and `root/masks`, paired by file name without its ending.

    PNG, JPEG and TIFF. Images of several sizes are fine as long as the transforms bring those of one batch to
    one size (`RandomCrop` with `pad_if_needed`, `PadIfNeeded`, `Resize`).

    Args:
        root: the folder that holds both; a relative path counts from where the command runs.
        val_share: share of the images to validate on, in (0, 1).
        test_share: share that is kept for the final word, in [0, 1).
        seed: decides which image goes where; independent of the run's seed, so that seeds share their sets.
        grayscale: one channel instead of three (RGB; a grey file is repeated, an alpha channel dropped).
        mask_threshold: a mask's pixel is foreground where it is greater than this in the file's own units; 0
            also reads labelled objects (1, 2, 3 …), 127 is right for masks that were saved as JPEG.
        transforms: albumentations for the train set, applied to image and mask alike.
        val_transforms: the same for the validation and test sets, drawn with a fixed generator.
        cache: keep all decoded files in memory; otherwise each is read whenever it is needed.
    Raises:
        ValueError: `root` is not set, or anything about the files is wrong: all problems in one message.
    """
    if not root:
        raise ValueError(
            f"data.root is not set: pass --set data.root=PATH, the folder that holds {images}/ and {masks}/"
        )
    folder = Path(root).expanduser()
    files = _Files(_paired(folder / images, folder / masks), grayscale, mask_threshold)
    pairs: Sequence[Pair] = files.read_all() if cache else files
    train, val, test = split_indices(len(pairs), val_share, test_share, seed)
    train_pairs = _Subset(pairs, train)
    return Splits(
        AugmentedPairs(train_pairs, transforms) if transforms else ImagePairs(train_pairs),
        ImagePairs(_Subset(pairs, val), val_transforms),
        ImagePairs(_Subset(pairs, test), val_transforms) if len(test) else None,
    )


class _Subset(Sequence[Pair]):
    """Some of the pairs, by index."""

    def __init__(self, pairs: Sequence[Pair], indices: NDArray[np.intp]) -> None:
        self._pairs = pairs
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._pairs[self._indices[index]]


class _Files(Sequence[Pair]):
    """Pairs of paths that are decoded whenever they are asked for."""

    def __init__(self, paths: list[tuple[Path, Path]], grayscale: bool, mask_threshold: int) -> None:
        self._paths = paths
        self._grayscale = grayscale
        self._mask_threshold = mask_threshold

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        image_path, mask_path = self._paths[index]
        mask = _decode(mask_path)
        mask = mask if mask.ndim == 2 else mask[..., :3].max(axis=2)
        return _with_channels(_decode(image_path), self._grayscale), (mask > self._mask_threshold).astype(
            np.uint8
        )

    def read_all(self) -> list[Pair]:
        """Every pair, decoded; all that can't be read in one ValueError."""
        pairs, problems = [], []
        for index in range(len(self)):
            try:
                pairs.append(self[index])
            except ValueError as error:
                problems.append(str(error))
        _raise(problems)
        return pairs


def _paired(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Check both folders and pair their files by stem, in order of the stems."""
    absent = [f"{path}: no such folder" for path in (images, masks) if not path.is_dir()]
    _raise(absent, "data.root must be the folder that holds both: pass --set data.root=PATH")
    problems: list[str] = []
    by_stem = _by_stem(images, problems)
    masks_by_stem = _by_stem(masks, problems)
    if not by_stem:
        problems.append(f"{images}: no {', '.join(sorted(SUFFIXES))} file in it")
    for stem, path in by_stem.items():
        if stem not in masks_by_stem:
            problems.append(f"{path}: no mask {masks / stem}.*")
    problems += [
        f"{path}: no image {images / stem}.*" for stem, path in masks_by_stem.items() if stem not in by_stem
    ]
    pairs = [(path, masks_by_stem[stem]) for stem, path in by_stem.items() if stem in masks_by_stem]
    problems += _mismatches(pairs)
    _raise(problems, "add what is missing, or remove the file from the folder")
    return pairs


def _by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                problems.append(
                    f"{path}: {found[path.stem].name} has the same name, so the pair is ambiguous"
                )
            found[path.stem] = path
    return found


def _mismatches(pairs: list[tuple[Path, Path]]) -> Iterator[str]:
    """What the headers alone tell: files that are no images, and masks of another size than their image."""
    for image, mask in pairs:
        sizes = [_size(image), _size(mask)]
        yield from (
            f"{path}: not a readable image"
            for path, size in zip((image, mask), sizes, strict=True)
            if not size
        )
        if all(sizes) and sizes[0] != sizes[1]:
            expected, found = ("{} × {}".format(*size) for size in sizes if size)
            yield f"{mask}: {found} pixels, but its image has {expected}"


def _size(path: Path) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError):
        return None


def _decode(path: Path) -> NDArray[Any]:
    """The file as (H, W) or (H, W, C) in RGB order, with the file's own type."""
    import cv2

    # Through the bytes, because cv2.imread prints its own complaint and can't read every path name.
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(f"{path}: not a readable image; the file may be cut short")
    if array.ndim == 3 and array.shape[2] >= 3:
        array = array[..., [2, 1, 0]]
    return np.asarray(array[..., 0] if array.ndim == 3 and array.shape[2] < 3 else array)


def _with_channels(image: NDArray[Any], grayscale: bool) -> NDArray[Any]:
    """To (H, W, 1) or (H, W, 3), uint8 or float32 in [0, 1] (16 bits are divided by 65,535)."""
    import cv2

    if image.dtype == np.uint16:
        image = image.astype(np.float32) / 65535
    elif image.dtype != np.uint8:
        image = image.astype(np.float32)
    if grayscale:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        return np.asarray(grey[..., None])
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _image_tensor(image: NDArray[Any] | Tensor) -> Tensor:
    """(H, W, C) or (H, W), as a tensor (ToTensorV2) (C, H, W), to float32 (C, H, W); integers to [0, 1]."""
    if not isinstance(image, Tensor):
        image = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1)))
    return image.float() if image.is_floating_point() else image.float() / torch.iinfo(image.dtype).max


def _mask_tensor(mask: NDArray[Any] | Tensor) -> Tensor:
    """(H, W) or (H, W, 1) in any type to float32 (1, H, W) in {0, 1}."""
    mask = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask))
    return (
        (mask.float() > 0.5)
        .float()
        .reshape(1, *(size for size in mask.shape if size != 1 or mask.dim() == 2))
    )


def _raise(problems: Sequence[str], advice: str = "") -> None:
    """One ValueError for all problems, or nothing where there are none."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        lines.append(f"  … and {len(problems) - MOST_SHOWN} more")
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with the image folder"
    raise ValueError("\n".join([f"{head}{': ' + advice if advice else ''}", *lines]))
