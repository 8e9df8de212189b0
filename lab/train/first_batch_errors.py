"""Errors in the first batch of a set: most are mistakes in the config or the data, and reported as such.

Until the first batch is done, its shapes and dtypes are kept as text. An error in it is recorded with them;
the exception itself propagates unchanged, for a study counts failures by their kind and place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._utils import ExceptionWrapper
from torch.utils.hooks import RemovableHandle

from lab.config import ConfigError, Infeasible, Problem
from lab.config.import_target import blame, is_users
from lab.console.formatting import format_list
from lab.data.epoch_loader import MixedSizes, Unstackable
from lab.losses.terms import Criterion, measure
from lab.metrics import Metric
from lab.state.nested_tensors import leaves_in
from lab.store.error_text import kind_and_text, text_of
from lab.store.paths import shown
from lab.train.progress import NotFinite
from lab.train.runtime import is_out_of_memory

T = TypeVar("T")
_NOTED = "_first_batch"  # the attribute of an exception
_LISTED = 12  # tensors of a batch that are listed
_LONG = 400  # characters of an exception's text
_WORKERS_FRAME = re.compile(r'^\s*File "(.+)", line (\d+)', re.MULTILINE)


@dataclass
class Fault:
    """The details of an error in a first batch.

    Args:
        path: the config's key that the error is about, as far as that is known.
        traceback: the file that holds it.
    """

    path: tuple[str | int, ...]
    message: str
    traceback: Path | None = None


class FirstBatch:
    """A context around each pass over a set, which records an error in the first batch of the first one.

    Args:
        what: the set, such as `training`.
        model: the called one. The output of a compiled or scripted one isn't described: it takes no hooks.
    """

    def __init__(
        self, what: str, model: nn.Module, criterion: Criterion, metrics: Mapping[str, Metric]
    ) -> None:
        self._what, self._model, self._criterion, self._metrics = what, model, criterion, metrics
        self.done = False
        self._batch = self._output = ""
        self._hook: RemovableHandle | None = None

    def __enter__(self) -> "FirstBatch":
        self._batch = self._output = ""
        compiled = hasattr(self._model, "_orig_mod") or isinstance(self._model, torch.jit.ScriptModule)
        if not self.done and not compiled:
            self._hook = self._model.register_forward_hook(self._returned)
        return self

    def observe(self, batch: T) -> T:
        """Describe the next batch, before it goes to the network; return it."""
        if not self.done:
            self._batch = described(batch)
        return batch

    def complete(self) -> None:
        """Mark the first batch as done; later errors are not recorded."""
        if not self.done:
            self.done = True
            self._remove_hook()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_hook()
        if self.done or not isinstance(error, Exception):
            return
        if isinstance(error, (ConfigError, Infeasible, NotFinite)) or is_out_of_memory(error):
            return
        # The exception keeps its type and text: the details go along as an attribute and a note.
        path = self._path(error)
        shapes = f"; {self._batch}" if self._batch else ""
        shapes += f", output {self._output}" if self._output else ""
        failed = "failed" if self._batch else "can't be read"
        message = f"the first {self._what} batch {failed}: {_text(error)}{shapes}"
        setattr(error, _NOTED, Fault(path, message))
        if shapes:
            error.add_note(f"The first {self._what} batch: {shapes.removeprefix('; ')}")

    def _returned(self, module: nn.Module, inputs: object, output: object) -> None:
        self._output = _listed(output)

    def _remove_hook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _path(self, error: BaseException) -> tuple[str | int, ...]:
        """Return the key of the config whose component was running."""
        if not self._batch:
            return ("data",)
        # From the outside in: of components that call each other, the outer one is in the config.
        for frame, _ in walk_tb(error.__traceback__):
            own = frame.f_locals.get("self")
            for name, metric in self._metrics.items():
                if own is metric:
                    return ("metrics", name)
            if own is self._criterion or frame.f_code is measure.__code__:
                return ("criterion",)
            if own is self._model:
                return ("net",)
        return ()


def fault_of(error: BaseException) -> Fault | None:
    """Return the details recorded for an exception, if it came from a first batch."""
    fault = getattr(error, _NOTED, None)
    return fault if isinstance(fault, Fault) else None


def problem_of(error: BaseException) -> Problem | None:
    """Return the same as a problem of the config; items that can't be stacked are one in any batch."""
    if isinstance(error, Unstackable):
        place = ("data", "transforms") if isinstance(error, MixedSizes) else ("data",)
        return Problem(place, _own_text(error))
    fault = fault_of(error)
    if fault is None:
        return None
    where = f"; traceback: {shown(fault.traceback)}" if fault.traceback else ""
    return Problem(fault.path, fault.message + where)


def described(batch: object) -> str:
    """List the parts of a batch with their shapes and dtypes: `inputs 8x4 float32, target 8x3 float32`."""
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        return f"batch {_listed(batch)}"
    *inputs, target = batch
    return f"input{'s' * (len(inputs) > 1)} {_listed(inputs)}, target {_listed(target)}"


def _listed(value: object) -> str:
    leaves = [f"{path}{_kind(leaf)}" for path, leaf in leaves_in(value)]
    return format_list(leaves, most=_LISTED) or f"empty {type(value).__name__}"


def _kind(leaf: object) -> str:
    if not isinstance(leaf, Tensor):
        return type(leaf).__name__
    return f"{'x'.join(map(str, leaf.shape)) or 'scalar'} {str(leaf.dtype).removeprefix('torch.')}"


def message_of(error: BaseException) -> str:
    """Return the exception's kind and text; of one from a loader's worker, without the worker's traceback."""
    found = _of_worker(error)
    return found[0] if found else kind_and_text(error)


def _text(error: BaseException) -> str:
    """Return the same in a line, with the user's line of code."""
    found = _of_worker(error)
    # Without the notes: the part of the run that the text is about is named before it.
    text = " ".join((found[0] if found else f"{type(error).__name__}: {text_of(error)}").split())
    place = found[1] if found else blame(error)
    return (text if len(text) <= _LONG else f"{text[:_LONG]}...") + place


def _own_text(error: BaseException) -> str:
    """Return the exception's text alone."""
    found = _of_worker(error)
    kind = f"{type(error).__module__}.{type(error).__qualname__}: "
    return found[0].removeprefix(kind) if found else text_of(error)


def _of_worker(error: BaseException) -> tuple[str, str] | None:
    """Read torch's text of a worker's exception, which has its traceback in front.

    Returns:
        The last line, with the exception's class, and the user's innermost line, such as ` (mine.py:12)`;
        None where this process raised the exception.
    """
    text, torchs = text_of(error).strip(), ExceptionWrapper.reraise.__code__
    if not text or all(frame.f_code is not torchs for frame, _ in walk_tb(error.__traceback__)):
        return None
    frames = [(file, line) for file, line in _WORKERS_FRAME.findall(text) if is_users(file)]
    place = f" ({Path(frames[-1][0]).name}:{frames[-1][1]})" if frames else ""
    return text.splitlines()[-1].strip(), place
