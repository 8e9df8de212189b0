"""Overlap of masks, binary or of several classes: Dice, IoU, precision and recall from the same counts."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX, Auto, Background, counted_classes
from lab.metrics.base import LeavesOut, Metric, require_same_shape, wide
from lab.store.definitions import FIRST


def class_masks(
    prediction: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    class_index: int | None = None,
    background: Background = Auto.AUTO,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Prediction and truth of each class that counts, as two boolean tensors (N, pixels).

    Pixels that nobody judged (255, `IGNORE_INDEX`) are in neither.

    Args:
        prediction: probabilities. Of the target's shape (N, ...) they are one map: foreground (class 1) is
            where they are > threshold. (N, K, ...) are those of K classes: the most probable one is taken.
        target: a mask (N, ...), foreground > 0.5, or classes (N, ...).
        class_index: this class only, background included; by default all classes but the background.
        background: the index of the class that doesn't count; None: all classes count; `auto`: all, but of
            one map the foreground only.

    Raises:
        ValueError: the shapes don't fit one another, or there is no such class.
    """
    several = _several(prediction, target)
    classes = prediction.shape[1] if several else 2
    if class_index is not None and not 0 <= class_index < classes:
        raise ValueError(
            f"class_index must be one of the {classes} classes (0 to {classes - 1}), found {class_index}"
        )
    counted = counted_classes(classes, background, one_map=not several)
    require_same_shape(prediction[:, 0] if several else prediction, target)
    judged = (target != IGNORE_INDEX).flatten(1)
    indices = counted if class_index is None else (class_index,)
    if several:
        found, true = prediction.argmax(1).flatten(1), target.flatten(1)
        for index in indices:
            yield (found == index) & judged, (true == index) & judged
    else:
        found, truth = (prediction > threshold).flatten(1), (target > 0.5).flatten(1)
        for index in indices:
            yield (found if index else ~found) & judged, (truth if index else ~truth) & judged


def _several(prediction: Tensor, target: Tensor) -> bool:
    """Return whether the prediction has a map for each class."""
    return prediction.dim() == target.dim() + 1 and prediction.shape[1] > 1


def overlap_counts(
    prediction: Tensor,
    target: Tensor,
    threshold: float = 0.5,
    class_index: int | None = None,
    background: Background = Auto.AUTO,
) -> Tensor:
    """|P ∩ G|, |P| and |G| of each class that counts and each image: (classes, 3, N) int64.

    Args and errors as `class_masks`.
    """
    masks = class_masks(prediction, target, threshold, class_index, background)
    return torch.stack([torch.stack([(p & g).sum(1), p.sum(1), g.sum(1)]) for p, g in masks])


_ALL_CLASSES = 2  # the definition by which a mean leaves out what is called background, and nothing else


class Overlap(LeavesOut, Metric):
    """A ratio of the counts |P ∩ G|, |P| and |G|, averaged over images or taken of the whole set.

    It is judged class by class and averaged over the classes but the background, where there is one; a class
    that neither the image (or the set) nor its prediction has is left out of that mean. Where all are left
    out there was nothing to find and nothing was found: 1. But if one of several classes is asked for, an
    image without it is left out: a rare class would otherwise look found wherever it isn't. In YAML
    `dice: lab.metrics.Dice`, or `dice_cell: {target: lab.metrics.Dice, class_index: 1}`.

    Args:
        threshold: of a binary prediction: a pixel is set where its probability is greater than this; None is
            that of the task, or 0.5 without one.
        average: `image` is the mean of the images' values, so that each image weighs the same; `set` is made
            from the counts of all pixels, in which large objects weigh more.
        class_index: judge this class only.
        background: the index of the class that means leave out; None: they are over all classes. By default
            the class that the data calls or declares background; of classes without names none, and of one
            map of probabilities what isn't its foreground.
    """

    mark = IGNORE_INDEX
    definition_reason = (
        "its mean left out the first class, and now leaves out the one that is called background, if any"
    )

    def __init__(
        self,
        threshold: float | None = None,
        average: Literal["image", "set"] = "image",
        class_index: int | None = None,
        background: Background = Auto.AUTO,
    ) -> None:
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), found {threshold}")
        if average not in ("image", "set"):
            raise ValueError(f"average must be 'image' or 'set', found {average!r}")
        if class_index is not None and class_index < 0:
            raise ValueError(f"class_index must be at least 0, found {class_index}")
        if isinstance(background, int) and background < 0:
            raise ValueError(f"background must be at least 0, found {background}")
        self.threshold = threshold
        self.average = average
        self.class_index = class_index
        self.background = background
        self._one_map: bool | None = None  # known by the first batch
        self.reset()

    @property
    def definition(self) -> int | None:
        """2 where the mean is over other classes than all but the first; None: the first batch decides.

        Version 1 left the first class out of every mean, whatever it was called.
        """
        if self.class_index is not None or self.background == 0:
            return FIRST
        if isinstance(self.background, int) or self.background is None:
            return _ALL_CLASSES
        return None if self._one_map is None else FIRST if self._one_map else _ALL_CLASSES

    def reset(self) -> None:
        """Forget all batches."""
        self._images: Tensor | int = 0
        self._ratios: Tensor | None = None  # sum of the images' values, 0-dim float64
        self._counts: Tensor | None = None  # overlap, |P|, |G| of the whole set, (classes, 3) int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities and masks of the same shape (N, ...), or (N, K, ...) and classes (N, ...).

        A mask's pixel is foreground where it is > 0.5; 255 (`IGNORE_INDEX`) is left out.

        Raises:
            ValueError: the shapes don't fit, or there is no class `class_index`.
        """
        threshold = 0.5 if self.threshold is None else self.threshold
        self._one_map = not _several(prediction, target)
        counts = overlap_counts(prediction, target, threshold, self.class_index, self.background)
        ratios, total = self.ratio(counts), counts.sum(2)
        # One class of several: an image without it doesn't count, neither as right nor as wrong.
        if self.class_index is not None and prediction.shape != target.shape:
            there = counts[0, 1] + counts[0, 2] > 0
            ratios = wide(ratios * there).sum()
            self._images = self._images + there.sum()
        else:
            ratios = wide(ratios).sum()
            self._images = self._images + len(prediction)
        self._ratios = ratios if self._ratios is None else self._ratios + ratios
        self._counts = total if self._counts is None else self._counts + total

    def compute(self) -> Tensor:
        """The value in [0, 1], 0-dim; NaN without any image."""
        if self._ratios is None or self._counts is None:
            return torch.tensor(torch.nan)
        # `set` divides the sums of all pixels; `image` averages the ratios of the images.
        if self.average == "set":
            return self.ratio(self._counts)
        if isinstance(self._images, int):
            return (self._ratios / self._images).float()
        mean = self._ratios / self._images.clamp(min=1)
        return torch.where(self._images == 0, 1.0, mean).float()

    @classmethod
    def ratio(cls, counts: Tensor) -> Tensor:
        """The mean over classes (...) of counts (classes, 3, ...), float32; 1 where no class is there."""
        overlap, found, truth = counts.unbind(1)
        there = found + truth > 0
        # The clamp only avoids 0 / 0; the value of a class that isn't there is 0 here, and 1 where none is.
        numerator, denominator = cls._fraction(overlap, found, truth)
        ratios = torch.where(there, numerator / denominator.clamp(min=1), 0.0)
        classes = there.sum(0)
        return torch.where(classes == 0, 1.0, ratios.sum(0) / classes.clamp(min=1))

    @staticmethod
    @abstractmethod
    def _fraction(overlap: Tensor, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator, integers; a denominator of 0 makes it 0 where the class is there."""


class Dice(Overlap):
    """Dice = 2·|P ∩ G| / (|P| + |G|), the F1 score of the pixels (Dice 1945, Sørensen 1948).

    Arguments and the mean over classes as in `Overlap`; both masks empty: 1.
    """

    @staticmethod
    def _fraction(overlap: Tensor, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * overlap, found + truth


class IoU(Overlap):
    """Intersection over union = |P ∩ G| / |P ∪ G| (Jaccard 1901).

    Over a set and of one class it equals Dice / (2 − Dice). Arguments and the mean over classes as in
    `Overlap`; both masks empty: 1.
    """

    @staticmethod
    def _fraction(overlap: Tensor, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return overlap, found + truth - overlap


class Precision(Overlap):
    """The fraction of what was found that is right, |P ∩ G| / |P|.

    Nothing found where there is something: 0, as its Dice is, so that silence earns nothing. Both masks
    empty: 1. Arguments and the mean over classes as in `Overlap`.
    """

    @staticmethod
    def _fraction(overlap: Tensor, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return overlap, found


class Recall(Overlap):
    """The fraction of what is there that was found, |P ∩ G| / |G|.

    Something found where there is nothing: 0, as its Dice is. Both masks empty: 1. Arguments and the mean
    over classes as in `Overlap`.
    """

    @staticmethod
    def _fraction(overlap: Tensor, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return overlap, truth


class OneClass(LeavesOut, Metric):
    """The fraction of the most frequent predicted class, over all judged pixels of the set; needs no target.

    1 means that the prediction is all one class, and only that: it is never rounded up to 1. A network that
    predicts the same everywhere has not learnt to look, however good its loss.

    Args:
        threshold: as for the other metrics.
    """

    mark = IGNORE_INDEX

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._pixels: Tensor | None = None  # by class, (K,) int64

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Probabilities and target as for `Overlap`; of the target only which pixels were judged.

        Raises:
            ValueError: the shapes don't fit.
        """
        masks = class_masks(prediction, target, self.threshold, background=None)
        pixels = torch.stack([predicted.sum() for predicted, _ in masks])
        self._pixels = pixels if self._pixels is None else self._pixels + pixels

    def compute(self) -> Tensor:
        """The fraction in (0, 1], 0-dim float32; 0 without a judged pixel, NaN without any batch."""
        if self._pixels is None:
            return torch.tensor(torch.nan)
        most, every = self._pixels.max(), self._pixels.sum()
        share = (most / every.clamp(min=1)).clamp(max=1 - 2**-20)
        return torch.where((most == every) & (every > 0), 1.0, share)
