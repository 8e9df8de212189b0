"""A dry run: one batch through the full pipeline, and an estimate of what the whole run costs."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from lab.config import ConfigError, RunConfig
from lab.config.import_target import blame
from lab.console.formatting import format_duration, format_list
from lab.data.loaders import Loader, Loaders, TensorLoader, create_loaders
from lab.events import Callback, Note
from lab.losses.targets import Unfit
from lab.state.modes import kept
from lab.state.nested_tensors import leaves_in
from lab.store.error_text import kind_and_text
from lab.train.data_definitions import definitions_with
from lab.train.data_notes import setup_notes
from lab.train.first_batch_errors import described, problem_of
from lab.train.preflight_report import DIVERGED, Costs, Report
from lab.train.progress import NotFinite
from lab.train.rehearsal import rehearse
from lab.train.runtime import Runtime, is_out_of_memory
from lab.train.state_inventory import Trained

_SHORT = 0.05  # seconds of a batch below which a single measurement is too noisy
_TIMES = 10


def preflight(config: RunConfig, build: Callable[..., Trained]) -> Report:
    """Load a batch, pass it forward and backward, step, validate; measure and extrapolate.

    Args:
        build: makes a Trainer: `build(config, batches=..., facts=..., runtime=...)`.

    Raises:
        ConfigError: a component can't be built.
    """
    report = Report()
    started = time.perf_counter()
    data: Loaders | None = None
    try:
        first = config.with_values(next(iter(config.repeats.values())))
        runtime = Runtime.from_config(config)
        data = create_loaders(first, None, None, runtime.device)
        trainer = build(first, batches=len(data.train), facts=data.facts, runtime=runtime)
        parameters = sum(p.numel() for p in trainer.model.parameters())
        report.figures |= {"device": str(trainer.runtime.device), "parameters": f"{parameters:,}"}
        if own := trainer.reach.loss:
            report.figures["parameters of the loss"] = f"{trainer.reach.count:,}: {format_list(list(own))}"
        report.figures["samples"] = f"{data.train_samples:,} training, {data.val_samples:,} validation"
        try:
            trainer.callbacks.callbacks = [_NoteCollector(report)]
            definitions = definitions_with(data.examples, trainer.criterion, trainer.metrics["val"])
            callbacks = data.listen(trainer.callbacks)
            callbacks.on_notes(setup_notes(first, trainer.criterion, data, definitions))
            callbacks.on_notes(rehearse(first, trainer, data))
        except ConfigError as error:
            report.faults += [str(problem) for problem in error.problems]
        else:
            with kept(trainer.model, trainer.criterion, trainer.task, trainer.metrics):
                _try_batch(report, config, trainer, data)
    except Unfit as error:
        report.faults.append(str(error))
    except ConfigError:
        raise
    except NotFinite as error:
        report.faults.append(f"{error} of the very first batch")
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is what this is here to find
        report.out_of_memory = is_out_of_memory(error)
        problem = problem_of(error)
        report.faults.append(str(problem or f"{kind_and_text(error)}{blame(error)}"))
    finally:
        if data is not None:
            data.stop()
    report.figures["this check took"] = format_duration(time.perf_counter() - started)
    return report


class _NoteCollector(Callback):
    """Add to the report what a run would print."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_note(self, event: Note) -> None:
        """Add each message once."""
        kept = self._report.warnings if event.level == "warning" else self._report.notes
        if event.message not in kept:
            kept.append(event.message)


def _try_batch(report: Report, config: RunConfig, trainer: Trained, data: Loaders) -> None:
    started = time.perf_counter()
    with trainer.first["train"]:
        batch = next(iter(data.train))
    load = time.perf_counter() - started
    in_memory = isinstance(data.train, TensorLoader)
    if in_memory:  # the first batch comes with the whole epoch's shuffling
        load /= len(data.train)
    with trainer.first["val"]:
        val_batch = None if data.val is None else next(iter(data.val))
    report.figures["batch"] = described(batch)
    device = trainer.runtime.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    scaled = trainer.runtime.scaler.is_enabled()
    with _shapes(trainer.model, report), _gradients(trainer, report, scaled):
        first = trainer.train_epoch([batch])
    # The first step also warms up caches, kernels and allocators, so the second one is measured.
    second, step = _timed(trainer.train_epoch, batch)
    val_loss, validate = (0.0, 0.0) if data.val is None else _timed(trainer.val_epoch, val_batch)
    if not math.isfinite(second + val_loss):
        report.faults.append(DIVERGED)
    report.loss = second
    left = len(data.train) * config.epochs - 3  # steps that a scheduler may have
    step = _averaged(trainer.train_epoch, batch, step, min(left, _TIMES))
    report.figures["loss"] = f"{first:.4f}, after one step {second:.4f}"
    report.figures["time a batch"] = f"loading {format_duration(load)}, training {format_duration(step)}"
    if data.val is not None:
        validate = _averaged(trainer.val_epoch, val_batch, validate, _TIMES)
        report.figures["loss"] += f", validation {val_loss:.4f}"
        report.figures["time a batch"] += f", validating {format_duration(validate)}"
    # Workers load while the network computes: the slower of the two decides.
    workers = 0 if in_memory else config.loader.workers
    batch_seconds, val_seconds = (
        max(seconds, load / workers) if workers else seconds + load for seconds in (step, validate)
    )
    epoch = len(data.train) * batch_seconds + (len(data.val) * val_seconds if data.val is not None else 0.0)
    _report_costs(report, config, trainer, epoch)
    if config.loader.workers == 0 and load > step and not in_memory:
        report.warnings.append("loading a batch takes longer than training on it; try loader.workers=2")


def _timed(run: Callable[[Loader], float], batch: object) -> tuple[float, float]:
    """Return the loss of a pass, NaN where it is not finite, and its seconds."""
    loss = math.nan
    started = time.perf_counter()
    with suppress(NotFinite):
        loss = run([batch])
    return loss, time.perf_counter() - started


def _averaged(run: Callable[[Loader], float], batch: object, seconds: float, times: int) -> float:
    """Return the seconds of a pass, measured over several in a row where they are short."""
    if seconds > _SHORT or times < 1:
        return seconds
    started = time.perf_counter()
    try:
        run([batch] * times)
    except NotFinite:  # after an unknown number of steps
        return seconds
    return min(seconds, (time.perf_counter() - started) / times)


def _report_costs(report: Report, config: RunConfig, trainer: Trained, epoch: float) -> None:
    """Estimate the whole run, from the seconds of an epoch."""
    every, repeats = config.checkpoint.every_epochs, len(config.repeats)
    report.costs = costs = Costs(
        peak_bytes=_peak(trainer.runtime.device),
        epoch_seconds=epoch,
        seconds=epoch * config.epochs * repeats,
        checkpoint_bytes=sum(_bytes(value) for _, value in leaves_in(trainer.state())),
        checkpoints=(min(config.epochs, 3) + (config.epochs // every if every else 0)) * repeats,
    )
    size = costs.checkpoint_bytes / 2**20
    kind = "seeds" if config.folds is None else "folds"
    times = f" x {repeats} {kind}" if repeats > 1 else ""
    files = f"{costs.checkpoints // repeats} checkpoints of {size:,.1f} MB"
    report.figures["peak memory"] = f"{costs.peak_bytes / 2**20:,.0f} MB"
    report.figures["time an epoch"] = format_duration(costs.epoch_seconds)
    report.figures["time in all"] = f"{format_duration(costs.seconds)} for {config.epochs} epochs{times}"
    report.figures["disk"] = f"up to {size * costs.checkpoints:,.1f} MB: {files}"


@contextmanager
def _shapes(model: nn.Module, report: Report) -> Iterator[None]:
    """Record the shapes that go into the model and its parts, and those that come out."""

    def record(name: str, module: nn.Module, inputs: object, output: object) -> None:
        report.shapes.append((f"{name} {type(module).__name__}", _shape(inputs), _shape(output)))

    with ExitStack() as hooks:
        for name, module in (*model.named_children(), ("(whole)", model)):
            hooks.callback(module.register_forward_hook(partial(record, name)).remove)
        yield


@contextmanager
def _gradients(trainer: Trained, report: Report, scaled: bool) -> Iterator[None]:
    """Record the parameters that get a gradient, and check that it is finite and not all zero.

    Args:
        scaled: by a scaler that finds its scale by overflows, so that one is no fault.
    """
    largest: dict[str, float] = {}
    of_network = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    trained = {**of_network, **trainer.reach.loss}

    def record(name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        largest[name] = float(parameter.grad.abs().max())

    with ExitStack() as hooks:
        for name, parameter in trained.items():
            hooks.callback(parameter.register_post_accumulate_grad_hook(partial(record, name)).remove)
        yield
    without = [name for name in trained if name not in largest]
    zero = [name for name in trained if largest.get(name) == 0]
    bad = [name for name in trained if not math.isfinite(largest.get(name, 0.0))]
    report.figures["gradients reach"] = f"{len(largest) - len(zero)} of {len(trained)} trained parameters"
    if bad and scaled:
        report.warnings.append(f"gradients overflow fp16 in {format_list(bad)}; such steps are skipped")
    elif bad:
        report.faults.append(f"gradients are not finite in {format_list(bad)}")
    if of_network.keys() <= {*without, *zero}:
        report.faults.append("no parameter gets a gradient: the loss doesn't depend on the network")
    elif zero and not without:  # training warns of those that are not reached
        report.warnings.append(f"the gradient is all zero in {format_list(zero)}")


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return "x".join(str(size) for size in value.shape) or "scalar"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shape(part) for part in value)
    return type(value).__name__


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 8


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
