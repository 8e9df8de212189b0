"""One class out of several."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.config.mask_values import UNLABELLED
from lab.figures.panels import stack, to_rgb
from lab.figures.samples import classification_figure
from lab.losses.targets import Examined, Unfit, as_tensor, classes, shares
from lab.losses.terms import Criterion, Output, Target
from lab.losses.torch_losses import Weight
from lab.metrics import Metric
from lab.tasks.base import RawBatch, Samples, StepResult, Task, array, unpacked
from lab.tasks.network_outputs import Network


class Classification(Task):
    """Outputs are logits (N, C), targets class indices (N,); the prediction is the softmax.

    In training, and only there, images of a batch can be mixed two by two and their classes with them, in
    the same shares: blended (MixUp: Zhang et al., 2018, arXiv:1710.09412), or a rectangle of one laid over
    the other (CutMix: Yun et al., 2019, arXiv:1905.04899). With both, each batch draws one of them. The
    training metrics then judge by the class of the larger share, so they are lower than validation's.

    Args:
        classes: names by index, for pictures.
        mixup, cutmix: the α of Beta(α, α) from which the share is drawn, >= 0; 0 is off.

    Raises:
        ValueError: an α is negative.
    """

    tensors = True
    ignored = (UNLABELLED,)
    pictured = 16

    def __init__(self, classes: tuple[str, ...] = (), mixup: float = 0.0, cutmix: float = 0.0) -> None:
        if mixup < 0 or cutmix < 0:
            raise ValueError(f"mixup and cutmix must be >= 0, found {mixup} and {cutmix}")
        self.classes = classes
        self._mixers: list[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        if mixup or cutmix:
            from torchvision.transforms import v2  # a second to import

            self._mixers += [v2.MixUp(alpha=mixup)] if mixup else []
            self._mixers += [v2.CutMix(alpha=cutmix)] if cutmix else []

    def step(self, model: Network, criterion: Criterion, batch: RawBatch) -> StepResult:
        """Pass one batch through the network, in training with mixed images where that is configured.

        Raises:
            ValueError: outputs aren't (N, C) with at least two classes, or targets are neither whole numbers
                (N,) nor shares of the classes (N, C); or inputs that are to be mixed aren't images.
        """
        if not self._mixers or not getattr(model, "training", False):
            return super().step(model, criterion, batch)
        inputs, target = unpacked(batch, type(self).__name__)
        if len(inputs) != 1 or inputs[0].dim() != 4:
            raise Unfit("mixup and cutmix mix images (N, C, H, W), and nothing else in a batch")
        target = as_tensor(target, inputs[0])
        mix = self._mixers[int(torch.randint(len(self._mixers), ()))]
        # How many classes there are is known by the output: mixed first are the rows of the batch.
        images, rows = mix(inputs[0], torch.eye(len(target), device=target.device))
        output, target = self.fitted(criterion, model(images), target)
        examined = self.examine(criterion, output, target, ())  # what is no class has no share
        target = examined.target
        if not target.is_floating_point():
            target = functional.one_hot(target, output.shape[1])
        with torch.autocast(target.device.type, enabled=False):  # bf16 knows a share to 2 digits
            mixed = rows @ target.to(rows.dtype)
        result = self.judged(criterion, output, mixed, len(mixed))
        return result._replace(doubts=(*examined.doubts, *result.doubts))

    def weights(self, criterion: Criterion, batch: RawBatch) -> tuple[Mapping[str, Weight], int] | None:
        """Return the denominators; targets of mixed images are class probabilities (denominator: N)."""
        inputs, target = unpacked(batch, type(self).__name__)
        target = as_tensor(target)
        if not self._mixers or target.is_floating_point():
            return super().weights(criterion, batch)
        # Only the number of rows counts: mixed targets are shares, whose denominator is N.
        rows = torch.zeros(len(target), 2, device=target.device)
        return super().weights(criterion, (*inputs, rows))

    def fit(self, output: Output, target: Target) -> Target:
        """Class indices as int64, or shares of the classes.

        Raises:
            Unfit: the softmax would be meaningless for the output, or targets are no classes.
        """
        shape = output.shape if target.is_floating_point() else output.shape[:1]
        if output.dim() != 2 or output.shape[1] < 2 or target.shape != shape:
            raise Unfit(
                f"the network returns {tuple(output.shape)} and the target is {tuple(target.shape)} of "
                f"{target.dtype}; expected logits (N, classes) and class indices (N,) as whole numbers"
            )
        return target if target.is_floating_point() else target.long()

    def examine(
        self, criterion: Criterion, output: Output, target: Target, ignored: tuple[int, ...]
    ) -> Examined:
        """Check the target: indices are those of the network's outputs, and class probabilities sum to 1."""
        if target.is_floating_point():
            return shares(target)
        return classes(target, output.shape[1], ignored)

    def update(self, metrics: Mapping[str, Metric], result: StepResult) -> None:
        """Update the metrics; of class probabilities the largest counts."""
        if result.target.is_floating_point():
            result = result._replace(target=result.target.argmax(1))
        super().update(metrics, result)

    def predict(self, output: Output) -> Tensor:
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
