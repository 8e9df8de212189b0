"""Train mode and eval mode: who has them, and which parts their author has fixed in eval mode.

A run is in train mode within a training epoch and in eval mode everywhere else: in validation, pictures and
the checkpoints between epochs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from lab.config.held_modules import held, modules_in
from lab.console.formatting import format_list
from lab.events import Note

Flags = Mapping[nn.Module, bool]


@contextmanager
def kept(*parts: object) -> Iterator[Flags]:
    """Restore the mode of every module in the parts at the end: of each as it was, not of the whole."""
    flags = _flags(modules_in(*parts))
    try:
        yield flags
    finally:
        _set(flags)


@contextmanager
def evaluating(*parts: object) -> Iterator[None]:
    """Eval mode within, and afterwards each module's mode as it was."""
    with kept(*parts) as flags:
        # Between the epochs of a training all of them are in eval mode: then nothing has to be set.
        if any(flags.values()):
            for module in modules_in(*parts):
                module.eval()
        yield


class Modes:
    """The mode of a training: that of its network, loss, task and metrics, and of its optimizer.

    What was built in eval mode stays in it while the rest trains. Two exceptions: a network all of which is
    in eval mode, as libraries return pretrained ones, is trained in train mode; and a `train()` of the
    network's own that leaves a part in eval mode decides about that part from then on.

    Args:
        network: is trained.
        criterion, task: compute the loss with it. These may be modules, hold modules, or neither.
        judges: are in eval mode throughout: metrics, averaged weights.
        optimizer: one with `train` and `eval`, as schedule-free ones have, is switched together with the
            network: its weights to train with differ from those to use.
    """

    def __init__(
        self,
        network: nn.Module,
        criterion: object,
        task: object,
        judges: Sequence[object],
        optimizer: Optimizer,
    ) -> None:
        self._network, self._loss = network, {"criterion": criterion, "task": task}
        self._trained, self._judging = modules_in(network, criterion, task), modules_in(*judges)
        self._optimizer: Any = optimizer
        self._fixed: dict[str, Flags] | None = None
        self._notes: list[Note] = []
        self._training = False

    @property
    def switched(self) -> bool:
        """True where the optimizer has two modes."""
        return all(callable(getattr(self._optimizer, name, None)) for name in ("train", "eval"))

    @contextmanager
    def training(self, notify: Callable[[Note], None]) -> Iterator[None]:
        """Train mode within, eval mode of everything afterwards; the first one notifies of what is fixed."""
        self.train()
        notes, self._notes = self._notes, []
        for each in notes:
            notify(each)
        try:
            yield
        finally:
            self.eval()

    def train(self) -> None:
        """Set train mode, but for what is fixed in eval mode."""
        self.train_modules()
        self._switch_optimizer(True)

    def train_modules(self) -> None:
        """Set train mode of the modules alone, for a trial step without the optimizer."""
        first = self._fixed is None
        # Look before the first train(): afterwards the author's eval modes are gone.
        if self._fixed is None:
            self._fixed = self._found()
        for module in self._trained:
            module.train()
        # What the network's own train() keeps in eval mode is left to it.
        if first:
            self._fixed = {name: flags for name, flags in self._fixed.items() if not _holds(flags)}
        for flags in self._fixed.values():
            _set(flags)
        for module in self._judging:
            module.eval()
        if first:
            self._notes += self._remarks()

    def eval(self) -> None:
        """Set eval mode."""
        for module in (*self._trained, *self._judging):
            module.eval()
        self._switch_optimizer(False)

    def state_dict(self) -> dict[str, bool]:
        """The mode of the optimizer, and of the weights in the same checkpoint."""
        return {"training": self._training}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        """Switch the optimizer to the mode of a checkpoint, before its weights and state are loaded."""
        self._switch_optimizer(state["training"])

    def _switch_optimizer(self, training: bool) -> None:
        self._training = training
        if self.switched:
            self._optimizer.train() if training else self._optimizer.eval()

    def _found(self) -> dict[str, Flags]:
        """The outermost parts that are in eval mode, by name, with the mode of each module in them."""
        fixed: dict[str, Flags] = {}
        children = list(self._network.named_children())
        if any(_flags([self._network]).values()):
            fixed |= (found for name, child in children for found in _in_eval(f"net.{name}", child))
        else:
            kind = type(self._network).__name__
            self._notes.append(
                Note(
                    f"net: {kind} was built in eval mode and is trained in train mode. To keep a part of it "
                    "in eval mode, call eval() on that part alone in its constructor, or override train()"
                )
            )
        # A loss may hold the network, or share parts with it: these are judged with the network.
        of_network = set(self._network.modules())
        for name, part in self._loss.items():
            for path, module in held(part).items():
                if module not in of_network:
                    fixed |= _in_eval(f"{name}.{path}" if path else name, module, of_network)
        return fixed

    def _remarks(self) -> Iterator[Note]:
        """Yield what a user should know of parts that stay in eval mode, and of frozen ones that don't."""
        fixed = self._fixed or {}
        if fixed:
            text = (
                f"{format_list(list(fixed))}: in eval mode since construction, and kept in it while training"
            )
            modules = [module for flags in fixed.values() for module in flags]
            dropped = any(isinstance(each, _DropoutNd) and each.p > 0 for each in modules)
            if dropped and any(p.requires_grad for each in modules for p in each.parameters(recurse=False)):
                text += " (without dropout), though its parameters are trained; if that is not meant, call"
                yield Note(f"{text} train() on it where it is built", "warning")
            else:
                yield Note(f"{text} (batch statistics don't move, dropout is off)")
        for name, module in (("net", self._network), *self._loss.items()):
            for path, each in held(module).items():
                if moved := list(_moved(".".join(filter(None, (name, path))), each)):
                    yield Note(
                        f"{format_list(moved)}: frozen (requires_grad_(False)), while the statistics of its "
                        "batch norm still move; call eval() on it where it is built to keep them",
                        "warning",
                    )


def _flags(modules: Sequence[nn.Module]) -> dict[nn.Module, bool]:
    """The mode of each; TorchScript's frozen modules have none."""
    below = (each for module in modules for each in module.modules())
    return {each: each.training for each in below if hasattr(each, "training")}


def _set(flags: Flags) -> None:
    for module, training in flags.items():
        if module.training != training:
            module.training = training


def _holds(flags: Flags) -> bool:
    return all(module.training == training for module, training in flags.items())


def _in_eval(
    name: str, module: nn.Module, but: frozenset[nn.Module] | set[nn.Module] = frozenset()
) -> Iterator[tuple[str, Flags]]:
    """The outermost modules in eval mode."""
    if module in but:
        return
    if not getattr(module, "training", True):
        yield name, _flags([module])
        return
    for child, part in module.named_children():
        yield from _in_eval(f"{name}.{child}", part, but)


def _moved(name: str, module: nn.Module) -> Iterator[str]:
    """The outermost parts whose parameters are all frozen and in which batch norm is in train mode."""
    parameters = list(module.parameters())
    if not parameters:
        return
    if any(parameter.requires_grad for parameter in parameters):
        for child, part in module.named_children():
            yield from _moved(f"{name}.{child}", part)
    elif any(isinstance(e, _NormBase) and e.training and e.track_running_stats for e in module.modules()):
        yield name
