"""What a batch means: the one place that knows inputs from targets, and outputs from predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.metrics import Metric
from lab.tasks.size import size_of
from lab.terms import Measured, SetMean, Term, Weight, measure, set_mean, weights_ahead

Criterion = Callable[[Any, Any], Any]
Batch = Tensor | Sequence[Tensor]
"""Samples one after another: stacked, or a sequence of them where they differ in size."""


class StepResult(NamedTuple):
    """One batch, passed through the network. All tensors are on the device."""

    loss: Tensor  # 0-dim, with its graph in training
    output: Any  # what the network returned
    target: Any
    size: int  # samples in the batch
    parts: Mapping[str, Tensor] = {}  # named losses that `loss` is the sum of
    measured: Measured | None = None  # the same loss with the denominators of its terms

    @property
    def terms(self) -> Mapping[str, Term]:
        """What `loss` is the sum of, as far as it still is what was measured: a task may have replaced it."""
        if self.measured is None or self.measured.loss is not self.loss:
            return {"loss": Term(self.loss)}
        return self.measured.terms


@dataclass(frozen=True)
class Samples:
    """A few validation samples and what the network says of them, on the CPU."""

    inputs: Sequence[Batch]  # each (N, ...); the image first, then what else the network takes
    targets: Batch
    predictions: Batch


class Task:
    """`*inputs, target = batch`, `criterion(model(*inputs), target)`; override what is different.

    The criterion returns a 0-dim tensor, the mean over the batch, or named losses, which are summed; a
    `lab.terms.Loss` tells what each batch weighs, too.
    """

    one_logit = False  # where it tells two classes apart by a single logit, `net.classes: auto` is 1
    pictured: int | None = None  # how many samples a picture of this task needs, if not the config's number
    _plain_step: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Who overrides `step` and not `weights` may have changed what the loss is taken of."""
        super().__init_subclass__()
        if "weights" in vars(cls):
            cls._plain_step = True
        elif "step" in vars(cls):
            cls._plain_step = False

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """Pass one batch through the network and the loss.

        Raises:
            ValueError: output and target don't fit, or how many samples there are can't be found.
        """
        *inputs, target = batch
        output = model(*inputs)
        self.require_fit(output, target)
        measured = measure(criterion, output, target)
        size = self.size(inputs, target)
        return StepResult(measured.loss, output, target, size, measured.parts, measured)

    def size(self, inputs: Sequence[Any], target: Any) -> int:
        """How many samples the batch has: the first dimension of the target's tensors.

        Raises:
            ValueError: they disagree.
        """
        return size_of(target, inputs)

    def require_fit(self, output: Any, target: Any) -> None:
        """Raise ValueError where output and target don't fit, before a loss could broadcast them."""

    def weights(self, criterion: Criterion, batch: Any) -> tuple[Mapping[str, Weight], int] | None:
        """The denominators of the loss's terms, and the number of samples, before the network has run.

        Batches that share an optimizer step weigh by them. None where they aren't known that early: such
        batches weigh by what `step` says of them.
        """
        if not self._plain_step:
            return None
        *inputs, target = batch
        return weights_ahead(criterion, target), self.size(inputs, target)

    def set_mean(self, criterion: Criterion) -> SetMean:
        """`set` where a set's loss is that of one batch of everything, `batches` where it is their mean."""
        return set_mean(criterion) if self._plain_step else "batches"

    def infer(self, model: Callable[..., Any], *inputs: Any) -> Any:
        """The network's raw output outside of training; a task may take large inputs apart for it.

        Validation, pictures, evaluation and prediction all ask through it, so that they see the same.
        """
        return model(*inputs)

    def own_metrics(self) -> dict[str, Metric]:
        """Metrics that every run of this task has, by name, besides those of its config."""
        return {}

    def predict(self, output: Any) -> Any:
        """What metrics, pictures and files get to see, made from the network's raw output."""
        return output

    def update(self, metrics: Mapping[str, Metric], result: StepResult) -> None:
        """Pass a batch's predictions on to the metrics, without a wait for the device."""
        if metrics:
            with torch.no_grad():
                prediction = self.predict(result.output)
                for metric in metrics.values():
                    metric.update(prediction, result.target)

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """Draw the samples into a PNG; False where this task has no picture of itself."""
        return False

    def panel(self, samples: Samples) -> NDArray[np.uint8] | None:
        """The samples as one image for the trackers, shape (height, width, 3), or None."""
        return None


def require_same_shape(output: Tensor, target: Tensor, what: str) -> None:
    """Raise ValueError where output and target differ in shape: a loss would silently broadcast."""
    found, wanted = tuple(output.shape), tuple(target.shape)
    if found != wanted:
        raise ValueError(f"the network returns {found} and the {what} {wanted}; both must have one shape")


def array(batch: Batch) -> NDArray[Any]:
    """CPU tensors as one float32 array, whatever their precision."""
    whole = batch if isinstance(batch, Tensor) else torch.stack(list(batch))
    result: NDArray[Any] = whole.detach().float().cpu().numpy()
    return result


def arrays(batch: Batch) -> list[NDArray[Any]]:
    """The samples of a batch, each as a float32 array of its own size."""
    return [array(sample) for sample in batch]
