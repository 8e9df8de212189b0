"""What a batch means: the one place that knows inputs from targets, and outputs from predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.metrics import Metric

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


@dataclass(frozen=True)
class Samples:
    """A few validation samples and what the network says of them, on the CPU."""

    inputs: Sequence[Batch]  # each (N, ...); the image first, then what else the network takes
    targets: Batch
    predictions: Batch


class Task:
    """`*inputs, target = batch`, `criterion(model(*inputs), target)`; override what is different.

    The criterion returns a 0-dim tensor, the mean over the batch, or named losses, which are summed.
    """

    one_logit = False  # where it tells two classes apart by a single logit, `net.classes: auto` is 1
    pictured: int | None = None  # how many samples a picture of this task needs, if not the config's number

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """Pass one batch through the network and the loss."""
        *inputs, target = batch
        output = model(*inputs)
        loss = criterion(output, target)
        if isinstance(loss, Mapping):
            return StepResult(torch.stack(list(loss.values())).sum(), output, target, len(target), loss)
        return StepResult(loss, output, target, len(target))

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


def require_same_shape(result: StepResult, what: str) -> StepResult:
    """The result, if output and target have one shape.

    Raises:
        ValueError: they haven't, and a loss between them would silently broadcast.
    """
    output, target = tuple(result.output.shape), tuple(result.target.shape)
    if output != target:
        raise ValueError(f"the network returns {output} and the {what} {target}; both must have one shape")
    return result


def array(batch: Batch) -> NDArray[Any]:
    """CPU tensors as one float32 array, whatever their precision."""
    whole = batch if isinstance(batch, Tensor) else torch.stack(list(batch))
    result: NDArray[Any] = whole.detach().float().cpu().numpy()
    return result


def arrays(batch: Batch) -> list[NDArray[Any]]:
    """The samples of a batch, each as a float32 array of its own size."""
    return [array(sample) for sample in batch]
