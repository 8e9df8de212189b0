"""One class out of several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lab.figures.panels import stack, to_rgb
from lab.figures.samples import classification_figure
from lab.tasks.base import Criterion, Samples, StepResult, Task, array


class Classification(Task):
    """Outputs are logits (N, C), targets class indices (N,); the prediction is the softmax.

    Args:
        classes: names by index, for pictures.
    """

    pictured = 16

    def __init__(self, classes: tuple[str, ...] = ()) -> None:
        self.classes = classes

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """As for every task; refuses outputs of which the softmax would say nothing.

        Raises:
            ValueError: outputs aren't (N, C) with at least two classes, or targets are neither whole numbers
                (N,) nor shares of the classes (N, C).
        """
        result = super().step(model, criterion, batch)
        output, target = result.output, result.target
        shape = output.shape if target.is_floating_point() else output.shape[:1]
        if output.dim() != 2 or output.shape[1] < 2 or target.shape != shape:
            raise ValueError(
                f"the network returns {tuple(output.shape)} and the target is {tuple(target.shape)} of "
                f"{target.dtype}; expected logits (N, classes) and class indices (N,) as whole numbers"
            )
        return result

    def predict(self, output: Any) -> Tensor:
        """Probabilities (N, C)."""
        probabilities: Tensor = output.float().softmax(dim=1)
        return probabilities

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """A grid of the images with predicted and true class; other inputs have no picture."""
        images, *_ = samples.inputs
        if not isinstance(images, Tensor) or images.dim() != 4:
            return False
        truths = [int(truth) for truth in samples.targets]
        classes = self.classes or None
        classification_figure(
            list(array(images)), truths, array(samples.predictions), path, classes=classes, title=title
        )
        return True

    def panel(self, samples: Samples) -> NDArray[np.uint8] | None:
        """The images below one another."""
        images, *_ = samples.inputs
        if not isinstance(images, Tensor) or images.dim() != 4:
            return None
        return stack([to_rgb(image) for image in array(images)])
