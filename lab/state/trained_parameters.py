"""The parameters that a training reaches: those of its network, and those of its loss."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lab.config.held_modules import beyond, trained_in
from lab.console.formatting import format_list
from lab.events import Note


class TrainedParameters:
    """The parameters of a training.

    Args:
        criterion, task: may have parameters of their own, which are trained as those of the network.
        metrics: by name. Those of a metric are never trained.

    Attributes:
        loss: the trained parameters of criterion and task, by name such as `criterion.log_noise`; what
            belongs to the network, too, is not among them.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        criterion: object,
        task: object,
        metrics: Mapping[str, object],
    ) -> None:
        self._network, self._optimizer = network, optimizer
        self._parts = {"criterion": criterion, "task": task}
        self.loss = trained_in(network.parameters(), **self._parts)
        self._metrics = trained_in([*network.parameters(), *self.loss.values()], metrics=metrics)

    def finite(self) -> bool:
        """Return whether all of network and loss are finite, which waits for the device."""
        parameters = (*self._network.parameters(), *self.loss.values())
        flags = [parameter.detach().isfinite().all() for parameter in parameters]
        return not flags or bool(torch.stack(flags).all())

    @property
    def count(self) -> int:
        """The number of the loss's elements that are trained."""
        return sum(parameter.numel() for parameter in self.loss.values() if not is_lazy(parameter))

    def notes(self, loss: Tensor | None = None) -> Iterator[Note]:
        """Yield what is remarkable after a first backward pass, found without a wait for the device.

        Args:
            loss: that of a batch; its graph leads to what is not among the parameters that are known.
        """
        named = {**dict(self._network.named_parameters()), **self.loss}
        if without := [name for name, p in named.items() if p.requires_grad and p.grad is None]:
            yield Note(f"no gradient reaches {format_list(without)}", "warning")
        # Compare by identity: tensors compare element by element.
        there = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        now = trained_in(self._network.parameters(), **self._parts)  # some make theirs in the first step
        trained = [name for name, p in now.items() if id(p) in there]
        if left_out := [name for name in now if name not in trained]:
            yield Note(
                f"{format_list(left_out)}: not trained: the optimizer was created without it; create it in "
                "the constructor and pass it to the optimizer, or freeze it with requires_grad_(False)",
                "warning",
            )
        apart = beyond(self._parts["criterion"])
        known = {*named.values(), *now.values(), *(p for each in apart.values() for p in each.parameters())}
        if loss is not None and (
            unknown := [p for p in _leaves(loss) if p not in known and id(p) not in there]
        ):
            yield Note(
                f"the loss depends on {_shown(unknown)} that is not trained, for neither network, criterion "
                "nor task holds it where it can be found: let a module hold it, an attribute or a list; or "
                "freeze it with requires_grad_(False)",
                "warning",
            )
        if apart:
            yield Note(
                f"the criterion uses the module {format_list(list(apart))} of its file, which is no part "
                "of the run: it is not trained, its mode stays as it is, and no checkpoint keeps it; make "
                "the loss a class",
                "warning",
            )
        if trained:
            yield Note(f"trained together with the network: {format_list(trained)}")
        if self._metrics:
            yield Note(f"{format_list(list(self._metrics))}: parameters of a metric, which are not trained")


def _leaves(loss: Tensor) -> Iterator[nn.Parameter]:
    """The parameters that a loss depends on."""
    # Walk the autograd graph; its leaves are the parameters that were really used.
    waiting, seen = [loss.grad_fn], set[object]()
    while waiting:
        if (step := waiting.pop()) is None or step in seen:
            continue
        seen.add(step)
        waiting += [before for before, _ in step.next_functions]
        if isinstance(found := getattr(step, "variable", None), nn.Parameter):
            yield found


def _shown(parameters: Sequence[nn.Parameter]) -> str:
    """Such as `a parameter of shape (3, 2) and 2 more`."""
    more = f" and {len(parameters) - 1} more" if len(parameters) > 1 else ""
    return f"a parameter of shape {tuple(parameters[0].shape)}{more}"
