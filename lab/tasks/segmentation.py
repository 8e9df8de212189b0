"""A mask for an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lab.figures.panels import panel, stack
from lab.figures.samples import segmentation_figure
from lab.tasks.base import Criterion, Samples, StepResult, Task, array, require_same_shape


class Segmentation(Task):
    """Outputs are logits (N, 1, H, W), targets masks of 0 and 1 of that shape; the prediction is the sigmoid.

    Args:
        threshold: above this probability a pixel counts as foreground in pictures.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, found {threshold}")
        self.threshold = threshold

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """As for every task; the batch may hold more inputs than the image, such as a sequence id.

        Raises:
            ValueError: logits and masks differ in shape.
        """
        return require_same_shape(super().step(model, criterion, batch), "masks are")

    def predict(self, output: Any) -> Tensor:
        """Foreground probabilities (N, 1, H, W)."""
        probabilities: Tensor = output.float().sigmoid()
        return probabilities

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """A row a sample: image | truth | prediction | difference."""
        images, *_ = samples.inputs
        segmentation_figure(
            list(array(images)),
            list(array(samples.targets)),
            list(array(samples.predictions)),
            path,
            threshold=self.threshold,
            title=title,
        )
        return True

    def panel(self, samples: Samples) -> NDArray[np.uint8]:
        """The same rows as one image for the trackers."""
        images, *_ = samples.inputs
        rows = zip(array(images), array(samples.targets), array(samples.predictions), strict=True)
        return stack([panel(image, truth, prediction, self.threshold) for image, truth, prediction in rows])
