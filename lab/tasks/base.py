"""The meaning of a batch: the one place that separates inputs and targets, outputs and predictions."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.losses import targets, terms
from lab.losses.targets import Doubt, Examined, Marks, Unfit, as_numbers, as_tensor
from lab.losses.terms import Criterion, Measured, Output, SetMean, Target, Term
from lab.losses.torch_losses import Takes, Weight, takes
from lab.metrics import Metric
from lab.metrics.base import marked, naming
from lab.state.remarks import Remarks
from lab.tasks.network_outputs import Network, tensor_of
from lab.tasks.sample_count import size_of

RawBatch = Any
"""What a loader returns; a task takes it apart."""
Prediction = Any
"""What metrics, plots and files use, as `Task.predict` makes it."""
Batch = Tensor | Sequence[Tensor]
"""Samples one after another: stacked, or a sequence of them where they differ in size."""

_DIVIDE = (
    "Divide masks of 0 and 255 by 255. To ignore pixels, mark them by 255 and use a loss that ignores it, "
    "such as lab.losses.BCEDice"
)


class StepResult(NamedTuple):
    """One batch, passed through the network. All tensors are on the device."""

    loss: Tensor  # 0-dim, with its graph in training
    output: Output
    target: Target
    size: int  # samples in the batch
    parts: Mapping[str, Tensor] = {}  # named losses that `loss` is the sum of
    measured: Measured | None = None  # the same loss with the denominators of its terms
    doubts: tuple[Doubt, ...] = ()  # what is wrong with the target
    marks: Marks | None = None  # what a mask holds
    ignored: tuple[int, ...] = ()  # values of the target that the loss leaves out

    @property
    def terms(self) -> Mapping[str, Term]:
        """The terms of `loss`, as far as it still is what was measured: a task may have replaced it."""
        if self.measured is None or self.measured.loss is not self.loss:
            return {"loss": Term(self.loss)}
        return self.measured.terms


@dataclass(frozen=True)
class Samples:
    """A few validation samples and their predictions, on the CPU."""

    inputs: Sequence[Batch]  # each (N, ...); the image first, then what else the network takes
    targets: Batch
    predictions: Batch


class Task:
    """`*inputs, target = batch`, `criterion(model(*inputs), target)`; override what is different.

    The criterion returns a 0-dim tensor, the mean over the batch, or named losses, which are summed; a
    `lab.losses.terms.Loss` gives what each batch weighs, too.
    """

    tensors: ClassVar[bool] = False  # output and target are a tensor each
    ignored: ClassVar[tuple[int, ...]] = ()  # values of the target that a loss of the user's own leaves out
    one_logit = False  # where it distinguishes two classes by a single logit, `net.classes: auto` is 1
    pictured: int | None = None  # how many samples a picture of this task needs, if not the config's number
    _plain_step: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """A subclass that overrides `step` and not `weights` may compute the loss of something else."""
        super().__init_subclass__()
        if "weights" in vars(cls):
            cls._plain_step = True
        elif "step" in vars(cls):
            cls._plain_step = False

    def step(self, model: Network, criterion: Criterion, batch: RawBatch) -> StepResult:
        """Pass one batch through the network and the loss.

        Raises:
            ValueError: output and target don't fit, or how many samples there are can't be found.
        """
        inputs, target = unpacked(batch, type(self).__name__)
        output, target = self.fitted(criterion, model(*inputs), target)
        return self.judged(criterion, output, target, self.size(inputs, target))

    def require_criterion(self, criterion: Criterion) -> None:
        """Raise `Unfit` where the criterion can't be called with an output and a target, as by `step`."""
        if not self._plain_step:
            return
        # A module's own signature is (*args, **kwargs): that of its forward is meant.
        called = criterion.forward if isinstance(criterion, nn.Module) else criterion
        try:
            signature = inspect.signature(called)
        except (TypeError, ValueError):  # some C functions have none
            return
        try:
            signature.bind(None, None)
        except TypeError:
            raise Unfit(
                f"criterion: {_name(criterion)} is called with ({', '.join(signature.parameters)}), and the "
                "task gives it an output and a target: name a function of two arguments that calls it with "
                "what it needs of them, or write a task whose step does (docs/tasks.md)"
            ) from None

    def fitted(self, criterion: Criterion, output: Output, target: Target) -> tuple[Output, Target]:
        """Output and target as the loss takes them: where it takes tensors, the tensors that they hold.

        Raises:
            Unfit: which tensor of the output is meant can't be decided, or the two don't fit.
        """
        if self.tensors or takes(criterion) is not None:
            output = self.output(output)
            target = as_tensor(target, output)
            if not isinstance(target, Tensor):
                raise Unfit(
                    f"the target is {_described(target)}, and {_name(criterion)} takes one tensor: let the "
                    "dataset return numbers or a tensor for each sample, or write a loss that unpacks the "
                    "target (docs/tasks.md)"
                )
        return output, self.fit(output, target)

    def judged(self, criterion: Criterion, output: Output, target: Target, size: int) -> StepResult:
        """The loss of an output, and what is wrong with its target."""
        left_out = terms.ignored_by(criterion)
        ignored = self.ignored if left_out is None else left_out
        examined = self.examine(criterion, output, target, ignored)
        try:
            measured = terms.measure(criterion, output, examined.target)
        except terms.NotScalar as error:
            raise Unfit(str(error)) from error
        # Numbers are only checked where the loss isn't finite: this runs at every step.
        doubts = examined.doubts
        if not doubts and isinstance(target, Tensor) and self.finite(criterion):
            doubts = targets.finite(target, measured.loss)
        return StepResult(
            measured.loss,
            output,
            examined.target,
            size,
            measured.parts,
            measured,
            doubts,
            examined.marks,
            ignored,
        )

    def examine(
        self, criterion: Criterion, output: Output, target: Target, ignored: tuple[int, ...]
    ) -> Examined:
        """The target with what the loss would misread replaced, and noted. Here: what losses of torch's take.

        Args:
            ignored: values that the loss leaves out.
        """
        kind = takes(criterion)
        if kind is None or not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return Examined(target)
        if kind is Takes.CLASSES or kind is Takes.INDICES:
            if kind is Takes.CLASSES and target.is_floating_point() and target.shape == output.shape:
                return targets.shares(target) if target.dim() > 1 else Examined(target)
            _require_indices(output, target)
            return targets.classes(targets.whole(target), output.shape[min(1, output.dim() - 1)], ignored)
        # All other losses of torch's compare element by element.
        require_same_shape(output, target, "target is")
        if kind is Takes.LISTS:
            return Examined(target)
        target = as_numbers(target, output)
        if kind is Takes.BINARY:
            return targets.binary(target, (), _DIVIDE)
        return targets.signs(target) if kind is Takes.SIGNS else Examined(target)

    def finite(self, criterion: Criterion) -> bool:
        """Return whether targets are numbers, none of which may be NaN or infinite."""
        return takes(criterion) is Takes.NUMBERS

    def output(self, output: Output) -> Tensor:
        """The tensor in what a network returns, which may be a mapping or a tuple with more in it.

        Raises:
            Unfit: which one is meant can't be decided.
        """
        tensor, others = tensor_of(output)
        if others:
            self.remarks.add(
                f"the network returns more than one output: {', '.join(others)} is not used in the loss"
            )
        return tensor

    @property
    def remarks(self) -> Remarks:
        """Remarks to the user on the batches."""
        remarks: Remarks = self.__dict__.setdefault("_remarks", Remarks())
        return remarks

    def size(self, inputs: Sequence[Any], target: Target) -> int:
        """The number of samples in the batch: the first dimension of the target's tensors.

        Raises:
            ValueError: they disagree.
        """
        return size_of(target, inputs)

    def fit(self, output: Output, target: Target) -> Target:
        """The target as the loss takes it; raise `Unfit` where it doesn't fit the output."""
        return target

    def weights(self, criterion: Criterion, batch: RawBatch) -> tuple[Mapping[str, Weight], int] | None:
        """The denominators of the loss's terms, and the number of samples, before the network has run.

        Batches that share an optimizer step weigh by them. None where they aren't known that early: such
        batches weigh by the sizes that `step` returns.
        """
        if not self._plain_step:
            return None
        inputs, target = unpacked(batch, type(self).__name__)
        if self.tensors or takes(criterion) is not None:
            target = as_tensor(target, next((each for each in inputs if isinstance(each, Tensor)), None))
        return terms.weights_ahead(criterion, target), self.size(inputs, target)

    def set_mean(self, criterion: Criterion) -> SetMean:
        """`set` where a set's loss is that of one batch of everything, `batches` where it is their mean."""
        return terms.set_mean(criterion) if self._plain_step else "batches"

    def infer(self, model: Network, *inputs: Any, **named: Any) -> Output:
        """The network's raw output outside of training; a task may take large inputs apart for it.

        Validation, pictures, evaluation and prediction all ask through it, so that they see the same. In
        validation it is the `model` that `step` gets, so it takes what a `step` passes to the network.
        """
        output = model(*inputs, **named)
        return self.output(output) if self.tensors else output

    def own_metrics(self) -> dict[str, Metric]:
        """Metrics that every run of this task has, by name, besides those of its config."""
        return {}

    def predict(self, output: Output) -> Prediction:
        """Convert the network's raw output to the predictions that metrics, plots and files use."""
        return output

    def update(self, metrics: Mapping[str, Metric], result: StepResult) -> None:
        """Pass a batch's predictions on to the metrics, without a wait for the device."""
        if metrics:
            with torch.no_grad():
                prediction = self.predict(result.output)
                for name, metric in metrics.items():
                    with naming(name):
                        metric.update(prediction, marked(result.target, result.ignored, metric))

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """Draw the samples into a PNG; False where this task has no picture of itself."""
        return False

    def panel(self, samples: Samples) -> NDArray[np.uint8] | None:
        """The samples as one image for the trackers, shape (height, width, 3), or None."""
        return None


def unpacked(batch: RawBatch, task: str) -> tuple[list[Any], Target]:
    """Inputs and target of a batch.

    Raises:
        Unfit: it is no sequence of them.
    """
    if isinstance(batch, (list, tuple)) and len(batch) > 1:
        *inputs, target = batch
        return inputs, target
    found = f"a {type(batch).__name__}"
    if isinstance(batch, Mapping):
        found = f"a mapping with {', '.join(map(str, batch))}"
    elif isinstance(batch, (list, tuple)):
        found += f" of {len(batch)}"
    raise Unfit(
        f"a batch is {found}, and {task} takes (*inputs, target): let the dataset return a tuple, or write a "
        "task whose step unpacks the batch (docs/tasks.md)"
    )


def require_same_shape(output: Tensor, target: Tensor, what: str) -> None:
    """Raise `Unfit` where output and target differ in shape: a loss would silently broadcast."""
    if output.shape != target.shape:
        found, wanted = tuple(output.shape), tuple(target.shape)
        raise Unfit(f"the network returns {found} and the {what} {wanted}; both must have one shape")


def _require_indices(output: Tensor, target: Tensor) -> None:
    """Raise `Unfit` where the target is no class index for each sample, or place, of the output."""
    wanted = output.shape[:1] + output.shape[2:] if output.dim() > 1 else torch.Size()
    if target.shape != wanted:
        raise Unfit(
            f"the network returns {tuple(output.shape)} and the target is {tuple(target.shape)} of "
            f"{target.dtype}; the loss takes class indices {tuple(wanted)} (of rows of 0 and 1: "
            "target.argmax(1))"
        )


def _name(criterion: Criterion) -> str:
    return str(getattr(criterion, "__name__", type(criterion).__name__))


def _described(target: object) -> str:
    """Such as `a list of str`."""
    kinds = dict.fromkeys(type(each).__name__ for each in target) if isinstance(target, (list, tuple)) else ()
    return f"a {type(target).__name__}{' of ' if kinds else ''}{', '.join(kinds)}"


def array(batch: Batch) -> NDArray[np.float32]:
    """CPU tensors as one float32 array, whatever their precision."""
    whole = batch if isinstance(batch, Tensor) else torch.stack(list(batch))
    result: NDArray[np.float32] = whole.detach().float().cpu().numpy()
    return result


def arrays(batch: Batch) -> list[NDArray[np.float32]]:
    """The samples of a batch, each as a float32 array of its own size."""
    return [array(sample) for sample in batch]
