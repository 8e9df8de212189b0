"""A mask for an image: of one foreground, or of several classes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lab.config.mask_values import IGNORE_INDEX, Auto, Background, background_index
from lab.figures.panels import panel, stack
from lab.figures.samples import segmentation_figure
from lab.losses.targets import Examined, Unfit, as_numbers, binary, classes
from lab.losses.terms import Criterion, Output, Target
from lab.losses.torch_losses import Takes, takes
from lab.metrics import Metric, OneClass
from lab.metrics.segmentation import Overlap
from lab.tasks.base import Samples, StepResult, Task, arrays
from lab.tasks.network_outputs import Network
from lab.tasks.tiling import Tiles, infer

_MASKS = "Divide masks of 0 and 255 by 255; 255 marks ignored pixels in losses that support it"
_PANEL_SIDE = 512  # pixels of an image in a tracker's panel, at most about that


class Segmentation(Task):
    """Outputs are logits: (N, 1, H, W) for one foreground, (N, K, H, W) for K classes.

    Binary targets are float masks (N, 1, H, W) of 0 and 1, and the prediction is the sigmoid; classes are
    whole numbers (N, H, W), and it is the softmax. 255 (`IGNORE_INDEX`) is a pixel that nobody judged.

    Args:
        threshold: above this probability a pixel counts as foreground; classes need none.
        classes: names by index, for pictures.
        background: the index of the class that pictures leave black; None: every class has a colour. By
            default the class that the data calls or declares background.
        tile: outside of training, images larger than this many pixels a side are taken apart.
        overlap: pixels that neighbouring tiles share; at least what the network sees around a pixel makes
            tiles answer as the whole image would.
        divisor: images are padded to a multiple of it, which the network's strides ask for.
        flips: outside of training, average the logits of an image and its three mirror images: four times
            the work, often a little better.

    Raises:
        ValueError: `threshold` is not between 0 and 1, or `tile`, `overlap` and `divisor` don't go together.
    """

    tensors = True
    ignored = (IGNORE_INDEX,)
    one_logit = True

    def __init__(
        self,
        threshold: float = 0.5,
        classes: tuple[str, ...] = (),
        tile: int = 768,
        overlap: int = 128,
        divisor: int = 32,
        flips: bool = False,
        background: Background = Auto.AUTO,
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), found {threshold}")
        self.threshold, self.classes = threshold, tuple(classes)
        self.tile, self.overlap, self.divisor, self.flips = tile, overlap, divisor, flips
        self.tiles().require_fit()
        named = background == Auto.AUTO and classes
        self.background = background_index(classes) if named else background

    def tiles(self) -> Tiles:
        """The way in which images are taken apart outside of training."""
        return Tiles(self.tile, self.overlap, self.divisor, self.flips)

    def fit(self, output: Output, target: Target) -> Target:
        """Masks as floats where there is one foreground, and as int64 where there are classes.

        Raises:
            Unfit: logits and masks have other shapes, or masks are of another kind, than the class describes.
        """
        if output.shape == target.shape and output.shape[1:2] == (1,):
            target = as_numbers(target, output)
        _require_fit(output, target)
        return target if target.is_floating_point() else target.long()

    def examine(
        self, criterion: Criterion, output: Output, target: Target, ignored: tuple[int, ...]
    ) -> Examined:
        """Check the masks; their values are recorded where pixels can be ignored."""
        if takes(criterion) is Takes.SIGNS:
            return super().examine(criterion, output, target, ignored)
        masks = IGNORE_INDEX in ignored
        if target.is_floating_point():
            return binary(target, ignored, _MASKS, masks=masks)
        return classes(target, output.shape[1], ignored, masks=masks)

    def infer(self, model: Network, *inputs: Any) -> Output:
        """Logits of images of any size, in tiles that overlap where they are large; padded by reflection.

        Raises:
            ValueError: the network's logits have another size than the image.
        """
        return infer(self.network(model), inputs, self.tiles())

    def network(self, model: Network) -> Callable[..., Tensor]:
        """The model as a function that returns logits, whatever else it returns."""
        return lambda *inputs: self.output(model(*inputs))

    def own_metrics(self) -> dict[str, Metric]:
        """`one_class`: 1 where the network predicts one class for every pixel."""
        return {"one_class": OneClass(self.threshold)}

    def update(self, metrics: Mapping[str, Metric], result: StepResult) -> None:
        """Update the metrics; overlaps without a threshold of their own use the task's."""
        for metric in metrics.values():
            if isinstance(metric, Overlap) and metric.threshold is None:
                metric.threshold = self.threshold
        super().update(metrics, result)

    def predict(self, output: Output) -> Tensor:
        """Probabilities of the foreground (N, 1, H, W), or of the classes (N, K, H, W)."""
        logits: Tensor = output.float()
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """A row a sample: image | truth | prediction | difference."""
        images, *_ = samples.inputs
        segmentation_figure(
            arrays(images),
            arrays(samples.targets),
            arrays(samples.predictions),
            path,
            threshold=self.threshold,
            title=title,
            classes=self.classes,
            background=self.background,
        )
        return True

    def panel(self, samples: Samples) -> NDArray[np.uint8]:
        """Return the rows of `draw` as one image for the trackers; large images are thinned."""
        images, *_ = samples.inputs
        rows = zip(arrays(images), arrays(samples.targets), arrays(samples.predictions), strict=True)
        panels = [
            panel(image, truth, prediction, self.threshold, background=self.background)
            for image, truth, prediction in (map(_thinned, row) for row in rows)
        ]
        return stack(panels)


def _require_fit(output: Tensor, target: Tensor) -> None:
    shape = tuple(output.shape)
    found = f"the network returns {shape} and the masks are {tuple(target.shape)} of {target.dtype}"
    if target.is_floating_point():
        if output.dim() == 4 and output.shape[1] != 1 and target.shape[1:2] == (1,):
            raise Unfit(f"{found}: one foreground needs one logit a pixel; set net.classes to 1")
        if output.dim() == 4 and output.shape == target.shape and output.shape[1] > 1:
            raise Unfit(f"{found}: classes are indices (N, H, W); of a map for each class, target.argmax(1)")
        if output.dim() != 4 or output.shape != target.shape or output.shape[1] != 1:
            raise Unfit(f"{found}; both must have one shape (N, 1, H, W)")
    elif output.dim() == 4 and output.shape[1] == 1:
        raise Unfit(f"{found}: set net.classes to the number of classes, with the background")
    elif output.dim() != 4 or output.shape[:1] + output.shape[2:] != target.shape:
        raise Unfit(f"{found}; classes must be (N, H, W) and their logits (N, classes, H, W)")


def _thinned(image: NDArray[np.float32]) -> NDArray[np.float32]:
    step = -(-max(image.shape[-2:]) // _PANEL_SIDE)
    return image[..., ::step, ::step]
