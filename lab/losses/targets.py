"""Targets that a loss would misread: class indices out of range, masks of 0 to 255, several labels a sample.

They are refused. On a CPU that is seen at once. On a GPU the host would have to wait for the answer, so what
is wrong is noted on the device, the values are replaced before a kernel fails on them, and the notes are read
with the loss.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lab.config import ConfigError, Problem

_SHOWN = 5
_SHARES_OFF = 1e-3  # from 1, of the sum of a sample's shares: half precision rounds


class Unfit(ConfigError):
    """A batch that the task or the loss can't take; the message has what to do."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem((), message)])


@dataclass(frozen=True)
class Rule:
    """The values that a target may hold.

    Args:
        expected: the values, such as `class indices from 0 to 9`.
        advice: what to do where others are found.
    """

    expected: str
    advice: str

    def broken_by(self, examples: Iterable[float]) -> str:
        """The message, by some of the values that were found."""
        shown = ", ".join(dict.fromkeys(f"{value:g}" for value in examples))
        return f"targets have values such as {shown}; expected {self.expected}. {self.advice}"


class Doubt(NamedTuple):
    """Flag of a batch whose target breaks a rule, and some of its values, on the device."""

    broken: Tensor  # 0-dim bool
    examples: Tensor
    rule: Rule


class Marks(NamedTuple):
    """Flags of a batch of masks: it has ignored pixels, it has foreground; 0-dim bool."""

    ignored: Tensor
    foreground: Tensor


class Examined(NamedTuple):
    """A target as it is safe to use, and what is wrong with it."""

    target: Any
    doubts: tuple[Doubt, ...] = ()
    marks: Marks | None = None


def binary(target: Tensor, ignored: Sequence[int], advice: str, *, masks: bool = False) -> Examined:
    """A float target of values in [0, 1], or among the ignored ones; with `Marks` if it is one of masks."""
    if (fine := _inside(target, 0, 1, masks)) is not None:
        return fine
    rule = Rule(f"0 to 1{_or(ignored)}", advice)
    return _within(target, 0, 1, ignored, rule, masks)


def signs(target: Tensor) -> Examined:
    """A float target of -1 and 1."""
    rule = Rule("-1 or 1", "Convert labels of 0 and 1 by 2 * label - 1")
    return Examined(target, _doubts(target.abs() != 1, target, rule))


def classes(target: Tensor, count: int, ignored: Sequence[int], *, masks: bool = False) -> Examined:
    """A target of class indices, each below `count`, or among the ignored ones; with `Marks` likewise."""
    if (fine := _inside(target, 0, count - 1, masks)) is not None:
        return fine
    rule = Rule(
        f"class indices from 0 to {count - 1}, as the network has {count} outputs{_or(ignored)}",
        "Number the classes from 0, give the network an output for each, or let the loss ignore a value "
        "(criterion.ignore_index of torch.nn.CrossEntropyLoss)",
    )
    return _within(target, 0, count - 1, ignored, rule, masks)


def shares(target: Tensor) -> Examined:
    """A float target (N, C): the shares of the classes in each sample, which sum to 1."""
    low = target.amin(1)
    sums = target.sum(1)
    bad = ~((low >= 0) & ((sums - 1).abs() <= _SHARES_OFF))
    rule = Rule(
        "rows of class probabilities from 0 to 1 that sum to 1 (shown are the sums)",
        "For one class per sample, pass class indices. For several labels per sample, use task: "
        "lab.tasks.Task, criterion: torch.nn.BCEWithLogitsLoss, and custom metrics",
    )
    return Examined(target, _doubts(bad, sums, rule))


def finite(target: Tensor, loss: Tensor) -> tuple[Doubt, ...]:
    """A float target without NaN and infinity, where the loss isn't finite: others may leave them out."""
    if loss.device.type == "cpu" and math.isfinite(loss.detach().float().numpy()):
        return ()
    if not target.is_floating_point():
        return ()
    rule = Rule("finite numbers", "Remove such samples from the data, or fill in the values")
    return _doubts(~(target.isfinite() | loss.detach().isfinite()), target, rule)


class Inspection:
    """The problems of the targets of one pass, read together with its losses.

    Args:
        label: of the set, such as `train`.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._doubts: list[tuple[int, Doubt]] = []
        self._marks: list[Marks] = []
        self._ignored = self._foreground = False

    def add(self, step: int, doubts: Sequence[Doubt], marks: Marks | None) -> None:
        """Take in a batch.

        Raises:
            Unfit: on a CPU, where its target breaks a rule.
        """
        self._doubts += [(step, doubt) for doubt in doubts]
        if marks is not None:
            self._marks.append(marks)
        # On a CPU reading costs nothing, and the error then points at the very batch.
        if any(doubt.broken.device.type == "cpu" for doubt in doubts):
            self.read()

    def read(self) -> None:
        """Read what was noted, which waits for the device.

        Raises:
            Unfit: the target of a batch breaks a rule; the first of them is named.
        """
        if self._doubts:
            broken = torch.stack([doubt.broken for _, doubt in self._doubts]).cpu().numpy()
            if broken.any():
                step, doubt = self._doubts[int(broken.argmax())]
                examples = dict.fromkeys(doubt.examples.tolist())
                raise Unfit(f"{self._label} batch {step}: {doubt.rule.broken_by(examples)}".lstrip())
        if self._marks:
            found = torch.stack([torch.stack(marks) for marks in self._marks]).any(0).cpu().numpy()
            self._ignored, self._foreground = self._ignored or found[0], self._foreground or found[1]
        self._doubts, self._marks = [], []

    def finish(self) -> None:
        """The pass is over, and everything is read.

        Raises:
            Unfit: every pixel of its masks that isn't background is ignored.
        """
        if self._ignored and not self._foreground:
            raise Unfit(
                f"{self._label} set: the masks contain only 0 and 255. 255 is the ignore index, so the loss "
                "and all metrics would ignore everything but the background. Divide masks of 0 and 255 by "
                "255: foreground is 1".lstrip()
            )

    def state_dict(self) -> dict[str, bool]:
        """Return the flags of what was seen so far."""
        return {"ignored": bool(self._ignored), "foreground": bool(self._foreground)}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        """Continue from there."""
        self._ignored, self._foreground = state["ignored"], state["foreground"]


def as_tensor(target: Any, like: Tensor | None = None) -> Any:
    """A target of plain numbers, or of lists of them, as one tensor.

    A list of tensors is read as `torch.utils.data.default_collate` makes it of samples that are lists: the
    first number of all samples, the second of all, and so on. Anything else is returned as it is.

    Args:
        like: a tensor whose device it goes to.
    """
    if not isinstance(target, (list, tuple)) or not target:
        return target
    if all(isinstance(each, (int, float)) for each in target):
        return torch.tensor(target, device=None if like is None else like.device)
    # A list of lists: each part becomes a tensor first, then parts of one shape are stacked.
    parts = [as_tensor(each, like) for each in target]
    if not all(isinstance(each, Tensor) and each.shape == parts[0].shape for each in parts):
        return target
    numbers = all(isinstance(each, (list, tuple)) and _plain(each) for each in target)
    return torch.stack(parts, 0 if numbers or not parts[0].dim() else 1)


def as_numbers(target: Tensor, output: Tensor) -> Tensor:
    """Whole numbers or booleans as floats of the output's type, but no half ones, which would round 1001."""
    if target.is_floating_point():
        return target
    return target.to(torch.promote_types(output.dtype, torch.float32))


def whole(target: Tensor) -> Tensor:
    """Class indices as int64, whatever whole numbers they are.

    Raises:
        Unfit: they are of a floating type.
    """
    if target.is_floating_point():
        raise Unfit(
            f"the target {tuple(target.shape)} is of {target.dtype}, and the loss takes class indices as "
            "whole numbers: give them as int64 (.long())"
        )
    return target.long()


def _plain(values: Sequence[object]) -> bool:
    """Return whether it is made of plain numbers only, and so of one sample."""
    return all(
        _plain(each) if isinstance(each, (list, tuple)) else isinstance(each, (int, float)) for each in values
    )


def _or(ignored: Sequence[int]) -> str:
    return f", or {' or '.join(map(str, ignored))} for ignored values" if ignored else ""


def _inside(target: Tensor, low: int, high: int, masks: bool) -> Examined | None:
    """A target that is seen at once to be as it should, which nearly all are: this runs at every step."""
    if not target.numel():
        return Examined(target)
    if target.device.type != "cpu":
        return None
    # One pass over the target: comparing each value with each rule would cost several.
    least, most = target.detach().aminmax()
    if not (float(least) >= low and float(most) <= high):
        return None
    return Examined(target, (), Marks(torch.zeros_like(most, dtype=torch.bool), most > 0) if masks else None)


def _within(target: Tensor, low: int, high: int, ignored: Sequence[int], rule: Rule, masks: bool) -> Examined:
    # All of this stays on the device: nothing here may wait for it.
    judged = torch.ones_like(target, dtype=torch.bool)
    for value in ignored:
        judged &= target != value
    bad = judged & ~((target >= low) & (target <= high))
    marks = Marks((~judged).any(), (judged & (target > 0)).any()) if masks else None
    doubts = _doubts(bad, target, rule)
    return Examined(target.where(~bad, low) if doubts else target, doubts, marks)


def _doubts(bad: Tensor, values: Tensor, rule: Rule) -> tuple[Doubt, ...]:
    broken = bad.any()
    if bad.device.type == "cpu":
        if not broken.numpy():
            return ()
        return (Doubt(broken, values[bad].unique()[:_SHOWN].double(), rule),)
    # On a GPU the bad values can't be selected without a wait, but their range can be computed.
    worst = torch.finfo(torch.float32).max
    least = values.float().where(bad, worst).amin()
    most = values.float().where(bad, -worst).amax()
    return (Doubt(broken, torch.stack([least, most]), rule),)
