"""Scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels that need no download."""

import numpy as np

from lab.data.augment import Transforms
from lab.data.classification_sets import assemble
from lab.data.splits import Parts, Splits, split_counts

PER_CLASS = 174  # the rarest digit (8) has this many


def digits(
    val_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    sample_size: int | None = None,
    transforms: Transforms = (),
) -> Splits:
    """The digits in memory, each set with the same fraction of every class.

    An item is (image, class): float32 (1, 8, 8) in [0, 1], int64 in 0…9. An image's name is its index in
    scikit-learn's set.

    Args:
        val_share: fraction of the images to validate on, in [0, 1); 0 goes with `val: null`.
        test_share: fraction that is kept for the final evaluation, in [0, 1).
        seed: decides the set of each image; independent of the run's seed, so that seeds share their sets.
        sample_size: take only so many images of each class, for a quick try.
        transforms: albumentations, for the training set.
    Raises:
        ValueError: the fractions don't fit, or `sample_size` is below 2 or above 174.
    """
    from sklearn.datasets import load_digits  # a second to import, and only this set needs it
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    keep = np.arange(len(labels))
    if sample_size is not None:
        if not 2 <= sample_size <= PER_CLASS:
            raise ValueError(f"sample_size must be between 2 and {PER_CLASS}, found {sample_size}")
        rng = np.random.default_rng(seed)
        keep = np.sort(
            np.concatenate(
                [rng.choice(np.flatnonzero(labels == k), sample_size, replace=False) for k in range(10)]
            )
        )
    _, val_count, test_count = split_counts(len(keep), val_share, test_share)
    if any(0 < count < 10 for count in (val_count, test_count)):
        raise ValueError(
            f"{len(keep)} images with val_share={val_share}, test_share={test_share}: "
            "a set has fewer than one image for each of the 10 classes"
        )
    train, val, test = keep, list[int](), list[int]()
    if val_count:
        train, val = train_test_split(keep, test_size=val_count, random_state=seed, stratify=labels[keep])
    if test_count:
        train, test = train_test_split(train, test_size=test_count, random_state=seed, stratify=labels[train])

    pictures = (images.astype(np.float32) / 16).reshape(-1, 8, 8, 1)
    labelled = [(picture, np.array([label])) for picture, label in zip(pictures, labels, strict=True)]
    names = [str(index) for index in range(len(labelled))]
    parts = Parts(*(np.asarray(rows, np.intp) for rows in (train, val, test)))
    return assemble(labelled, names, parts, [str(digit) for digit in range(10)], transforms=transforms)
