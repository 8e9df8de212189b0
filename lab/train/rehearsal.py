"""Checks before a training for errors that would end it late: in the schedule, and in the last batch."""

import copy
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import IterableDataset

from lab.config import ConfigError, Problem, RunConfig
from lab.config.held_modules import modules_in
from lab.config.import_target import blame
from lab.config.sections import AUTO
from lab.data.loader_state import dataset_of
from lab.data.loaders import Loaders, SampleLoader, TensorLoader
from lab.events import Note
from lab.rng.seeding import RngState
from lab.state.attributes import kept_apart
from lab.state.modes import kept
from lab.store.error_text import kind_and_text
from lab.train.state_inventory import Trained

_PATIENCE = 1.0  # seconds for walking through a schedule; after them only its end is tried


def rehearse(config: RunConfig, trainer: Trained, data: Loaders) -> list[Note]:
    """Walk a copy of the schedule to the end of the run, and try a last batch of one sample.

    Returns:
        Warnings about the schedule.

    Raises:
        ConfigError: the training would fail at its end, or the loss can't be called.
    """
    trainer.task.require_criterion(trainer.criterion)
    _try_single(config, trainer, data)
    return [Note(each, "warning") for each in _walk(config, trainer, len(data.train))]


def _walk(config: RunConfig, trainer: Trained, batches: int) -> Iterator[str]:
    """Step a copy of the scheduler as often as the rest of the run will.

    Raises:
        ConfigError: it fails, or its learning rate isn't a number of at least 0.
    """
    spec, scheduler = config.scheduler, trainer.scheduler
    if spec is None or scheduler is None or isinstance(scheduler, ReduceLROnPlateau):
        return
    epochs, steps = config.epochs - trainer.course.epoch, 1
    done = 0
    if spec.interval == "step":
        steps = math.ceil(batches / config.accumulate_grad_batches)
        done = trainer.cursor.begin_at(batches) // config.accumulate_grad_batches
    left, earlier = epochs * steps - done, trainer.course.epoch * steps + done
    unit, name = f"{spec.interval}s", spec.target.rpartition(".")[2]
    try:
        walker = _copied(scheduler, trainer.optimizer)
    except Exception as error:  # noqa: BLE001 - a custom scheduler may hold anything
        yield f"{name} can't be copied ({kind_and_text(error)}), so its length isn't checked"
        return
    rates, total = [_rate(walker)], earlier + left
    for step, failure in _stepped(walker, left):
        rates.append(_rate(walker))
        wrong = failure or ("" if 0 <= rates[-1] < math.inf else f"the learning rate is {rates[-1]}")
        if wrong:
            lasts = earlier + step - 1
            message = f"the run has {total:,} {unit}, the schedule has {lasts:,}: {wrong}"
            raise ConfigError([Problem(("scheduler",), f"{message}; {_hint(spec.arguments, lasts, total)}")])
    used = rates[:-1]
    if len(used) == left and used and used[0] > 0 and used[-1] == 0:
        zeros = next(index for index, rate in enumerate(reversed(used)) if rate != 0)
        yield f"the learning rate of {name} is 0 in the last {zeros:,} of {total:,} {unit}"
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max < total:
        hint = _hint(spec.arguments, scheduler.T_max, total)
        yield f"the learning rate rises again after T_max: {scheduler.T_max:,} of {total:,} {unit}; {hint}"
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps > total:
        hint = _hint(spec.arguments, scheduler.total_steps, total)
        yield f"the run ends after {total:,} of the {scheduler.total_steps:,} {unit} of {name}; {hint}"


def _copied(scheduler: LRScheduler, optimizer: Optimizer) -> LRScheduler:
    """Copy a scheduler together with an optimizer whose parameters are single numbers."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known: dict[int, Any] = {id(parameter): nn.Parameter(torch.zeros(())) for parameter in parameters}
    known[id(optimizer.state)] = defaultdict(dict)
    return copy.deepcopy(scheduler, known)


def _stepped(scheduler: LRScheduler, steps: int) -> Iterator[tuple[int, str]]:
    """Yield each step with its failure, empty where there is none; of a long run, only the end.

    The end is reached by setting the count, from which most schedules are computed.
    """
    until = time.monotonic() + _PATIENCE
    first = scheduler.last_epoch
    step = 0
    while step < steps:
        step += 1
        late = time.monotonic() > until
        if late and step < steps:
            step = steps
            scheduler.last_epoch = first + steps - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                scheduler.step()
            except Exception as error:  # noqa: BLE001 - any exception would end the training
                if late and isinstance(scheduler, OneCycleLR):
                    step = scheduler.total_steps + 1 - first
                yield step, f"{kind_and_text(error)}{blame(error)}"
                return
        yield step, ""


def _rate(scheduler: LRScheduler) -> float:
    """Return the largest rate of the groups, or one that is negative or not finite."""
    rates = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
    return next((rate for rate in rates if not math.isfinite(rate) or rate < 0), max(rates))


def _hint(arguments: Mapping[str, object], now: int, total: int) -> str:
    """Name the argument that should be `auto`."""
    named = [name for name, value in arguments.items() if type(value) is int and value == now]
    return f"`{named[0]}: {AUTO}` fits" if named else f"an argument written `{AUTO}` becomes {total:,}"


def _try_single(config: RunConfig, trainer: Trained, data: Loaders) -> None:
    """Try a last batch of one sample, which is too small for batch norm: it has nothing to average over.

    Raises:
        ConfigError: the network refuses it.
    """
    normed = any(isinstance(m, nn.modules.batchnorm._NormBase) for m in trainer.model.modules())
    single = data.train_samples % config.batch_size == 1 and not config.loader.drop_last
    if not normed or not single:
        return
    parts = (trainer.model, trainer.criterion, trainer.task)
    with kept_apart(*parts, dataset_of(data.train)):
        if (batch := _one(data)) is not None:
            _try_step(trainer, batch, parts)


def _try_step(trainer: Trained, batch: object, parts: Sequence[object]) -> None:
    """Raise ConfigError where the network refuses the batch; leave everything as it was."""
    # Batch norm changes its buffers in train mode even without gradients, and dropout draws numbers.
    buffers = [buffer for module in modules_in(*parts) for buffer in module.buffers()]
    values = [buffer.clone() for buffer in buffers]
    streams, state = RngState(), RngState().state_dict()
    try:
        with kept(*parts), torch.no_grad(), trainer.runtime.autocast():
            trainer.modes.train_modules()
            trainer.task.step(trainer.model, trainer.criterion, trainer.runtime.move(batch))
    except ValueError as error:
        message = f"the last training batch has one sample, and the network refuses it: {error}{blame(error)}"
        raise ConfigError([Problem(("loader", "drop_last"), f"{message}; true leaves it out")]) from error
    except Exception:  # noqa: BLE001 - the first batch will report it, and with its own shape
        return
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, values, strict=True):
                buffer.copy_(value)
        streams.load_state_dict(state)


def _one(data: Loaders) -> object:
    """Return a batch of the first training sample; None where the loader can't be indexed."""
    loader = data.train
    if isinstance(loader, TensorLoader):
        return [tensor[:1] for tensor in loader.tensors]
    if isinstance(loader, SampleLoader) and not isinstance(loader.dataset, IterableDataset):
        return loader.collate_fn([loader.dataset[(1, 0)]])
    return None
