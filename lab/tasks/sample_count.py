"""The number of samples in a batch, by its target, which may be nested."""

from collections.abc import Mapping, Sequence, Sized
from numbers import Number
from typing import Any

from torch import Tensor

from lab.losses.targets import Unfit
from lab.losses.terms import Target
from lab.state.nested_tensors import tensors_in


def size_of(target: Target, inputs: Sequence[Any] = ()) -> int:
    """The samples of a batch: the first dimension of its target's tensors.

    A list may hold a tensor of all samples for each of several targets, or one target for each sample: the
    inputs' first dimension decides where both are possible.

    Raises:
        Unfit: there is no tensor, or they disagree.
    """
    if isinstance(target, Tensor) and target.dim() > 0:
        return len(target)
    found = {int(each.shape[0]) if each.dim() else 0 for each in tensors_in(target)}
    listed = len(target) if isinstance(target, (list, tuple)) and not hasattr(target, "_fields") else None
    if listed is not None and (not found or all(isinstance(each, Number) for each in target)):
        return listed
    if not found and isinstance(target, Sized) and not isinstance(target, (Mapping, str, bytes)):
        return len(target)  # a class of the user's, such as graphs
    # Two readings are possible: the tensors' first dimension, and the length of a list.
    possible: set[int] = {*(found if len(found) == 1 else ()), *(() if listed is None else (listed,))} - {0}
    if listed is None and len(possible) == 1:
        return possible.pop()
    if agreed := possible & _lengths(inputs):
        return agreed.pop()
    shapes = ", ".join(str(tuple(each.shape)) for each, _ in zip(tensors_in(target), range(4), strict=False))
    kind = "a 0-dim tensor, out" if isinstance(target, Tensor) else f"a {type(target).__name__}"
    raise Unfit(
        f"the batch size can't be found: the target is {kind} of tensors {shapes or '(none)'}, "
        "whose first dimensions should all be the number of samples; "
        "set StepResult.size in the step of a custom task (docs/tasks.md)"
    )


def _lengths(inputs: Sequence[object]) -> set[int]:
    """The number of samples by the first input."""
    if not inputs:
        return set()
    if isinstance(inputs[0], (list, tuple)):
        return {len(inputs[0])}
    return {len(each) for each, _ in zip(tensors_in(inputs[0]), range(1), strict=False) if each.dim()}
