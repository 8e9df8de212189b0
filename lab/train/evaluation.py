"""Evaluation of a set: the same code within the epochs of a run and after it."""

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lab.checkpoint import StateDict, load, network_state
from lab.data.protocols import collate_of
from lab.events import CallbackList, Note, Phase, PhaseStart, StepsDone
from lab.losses.targets import Inspection, Unfit
from lab.losses.terms import Criterion, Ratios, numbers, total
from lab.metrics import Metric
from lab.metrics.base import naming
from lab.metrics.metric_state import load_metric_state, metric_state
from lab.state.attributes import kept_apart
from lab.state.modes import evaluating
from lab.state.remarks import Remarks
from lab.tasks import Samples, StepResult, Task
from lab.train.first_batch_errors import FirstBatch
from lab.train.progress import FiniteMonitor, NotFinite
from lab.train.runtime import Runtime

SECONDS_BETWEEN_REPORTS = 0.2


class EpochMetrics:
    """The sums of one pass over a loader: the set's loss, and metrics.

    Each term of the loss is the sum of its numerators over that of its denominators (`lab.losses.terms`); one
    without a denominator is a mean over samples. Losses stay on the device until `read`, which waits for it
    once; one that is not finite is seen at its own step, on a GPU a step or so later.

    Args:
        check_norms: require a gradient's norm to be finite, too.
    """

    def __init__(
        self, task: Task, metrics: Mapping[str, Metric], label: str = "loss", check_norms: bool = False
    ) -> None:
        self._task, self._metrics, self._label, self._check_norms = task, metrics, label, check_norms
        self._watch, self._watch_norms = FiniteMonitor(), FiniteMonitor()
        self._pending: list[tuple[Tensor, int]] = []  # losses and sizes
        self._norms: list[tuple[int, Tensor]] = []  # each with its step
        self._terms, self._parts = Ratios(), Ratios()
        self._targets = Inspection(label.removesuffix("loss").strip())
        self._before: dict[str, float] = {}  # means of an epoch's beginning, of a checkpoint without terms
        self._samples_before = 0
        self._largest_norm: float | None = None
        self.samples = 0
        self.steps = 0
        for name, metric in metrics.items():
            with naming(name):
                metric.reset()

    def add(self, result: StepResult) -> None:
        """Add one step, without a wait for the device.

        Raises:
            NotFinite, Unfit: as `read`.
        """
        if result.doubts or result.marks is not None:
            self._targets.add(self.steps + len(self._pending) + 1, result.doubts, result.marks)
        self._pending.append((result.loss.detach(), result.size))
        terms = result.terms
        for name, term in terms.items():
            self._terms.add(name, term.mean, result.size if term.weight is None else term.weight)
        for name, part in result.parts.items():
            own = terms.get(name)
            weight = own.weight if own is not None and own.mean is part else None
            self._parts.add(name, part, result.size if weight is None else weight)
        # Read now where it isn't finite: `read` names the step, and no later one is trained in vain.
        if self._watch(result.loss):
            self.read()
        self._task.update(self._metrics, result)

    def add_norm(self, norm: Tensor | None) -> None:
        """Add the norm of one optimizer step's gradients.

        Raises:
            NotFinite: as `read`.
        """
        if norm is not None:
            self._norms.append((self.steps + len(self._pending), norm))
            if self._check_norms and self._watch_norms(norm):
                self.read()

    def read(self) -> float:
        """Add up what is pending and return the loss of those steps, NaN where nothing in them counts.

        Raises:
            NotFinite: at the first step whose loss, or gradient where that is checked, is not finite.
            Unfit: the loss doesn't accept the targets of a step.
        """
        if not self._pending:
            return math.nan
        # Targets first: labels that the loss doesn't accept are the cause of a loss that isn't finite.
        self._targets.read()
        losses = numbers([loss for loss, _ in self._pending])
        norms = numbers([norm for _, norm in self._norms])
        self._require_finite(losses, norms if self._check_norms else torch.zeros(0))
        if self._norms:
            earlier = [] if self._largest_norm is None else [self._largest_norm]
            self._largest_norm = float(torch.cat([norms.new_tensor(earlier), norms]).max())  # NaN, if one is
        mean = total(self._terms.read())
        self._parts.read()
        self.samples += sum(size for _, size in self._pending)
        self.steps += len(self._pending)
        self._pending, self._norms = [], []
        return mean

    def values(self) -> dict[str, float]:
        """Return all values by name: `loss`, `loss_<part>`, the metrics; `grad_norm` is the largest.

        Raises:
            NotFinite, Unfit: as `read`.
            ValueError: there was no step, or nothing of any target counts in the loss.
        """
        self.read()
        self._targets.finish()
        if self.samples == 0:
            raise ValueError(f"there is no {self._label}: the loader is empty")
        # Without a sample since an older checkpoint there are no terms yet, and its means stand.
        loss = total(self._terms.means())
        if math.isnan(loss) and self.samples > self._samples_before:
            raise Unfit(f"there is no {self._label}: every target is one that the loss ignores")
        parts = {f"loss_{name}": mean for name, mean in self._parts.means().items()}
        means = self._with_earlier({"loss": loss, **parts})
        metrics: dict[str, float] = {}
        for name, metric in self._metrics.items():
            with naming(name):
                metrics[name] = float(metric.compute())
        norms = {} if self._largest_norm is None else {"grad_norm": self._largest_norm}
        return {**means, **metrics, **norms}

    def state_dict(self) -> StateDict:
        """Return the sums that were read so far, and the state of the metrics.

        Raises:
            Unkeepable: a metric's state is no plain data.
        """
        assert not self._pending, "read first"
        return {
            "terms": self._terms.state_dict(),
            "parts": self._parts.state_dict(),
            "before": dict(self._before),
            "samples_before": self._samples_before,
            "grad_norm": self._largest_norm,
            "targets": self._targets.state_dict(),
            "samples": self.samples,
            "steps": self.steps,
            "metrics": {name: metric_state(metric) for name, metric in self._metrics.items()},
        }

    def load_state_dict(self, state: StateDict, device: torch.device) -> None:
        """Continue from a `state_dict`, on the run's device; a metric that is not in it starts empty."""
        self.samples, self.steps = state["samples"], state["steps"]
        if "sums" in state:  # a checkpoint from before terms had denominators: sums of loss · samples
            sums = dict(state["sums"])
            self._largest_norm = sums.pop("grad_norm", None)
            self._before = {name: value / self.samples for name, value in sums.items()}
            self._samples_before = self.samples
        else:
            self._terms.load_state_dict(state["terms"])
            self._parts.load_state_dict(state["parts"])
            self._before, self._samples_before = dict(state["before"]), state["samples_before"]
            self._largest_norm = state["grad_norm"]
            self._targets.load_state_dict(state["targets"])
        for name, metric in self._metrics.items():
            if name in state["metrics"]:
                load_metric_state(metric, state["metrics"][name], device)

    def _with_earlier(self, means: dict[str, float]) -> dict[str, float]:
        if not self._before:
            return means
        since = self.samples - self._samples_before
        joined = {
            name: (self._samples_before * self._before.get(name, mean) + since * mean) / self.samples
            for name, mean in means.items()
        }
        return joined if since else dict(self._before)

    def _require_finite(self, losses: Tensor, norms: Tensor) -> None:
        """Name the first step that went wrong; a bad loss makes the gradients of its own step bad too."""
        steps = range(self.steps + 1, self.steps + len(losses) + 1)
        bad = [(step, 0, loss, self._label) for step, loss in zip(steps, losses.tolist(), strict=True)]
        bad += [
            (step, 1, norm, "gradient norm")
            for (step, _), norm in zip(self._norms, norms.tolist(), strict=False)
        ]
        bad = [entry for entry in bad if not math.isfinite(entry[2])]
        if bad:
            step, _, value, what = min(bad)
            raise NotFinite(f"{what} is {value} at step {step}")


class ProgressReporter:
    """Report the progress of a pass to the callbacks: a few times a second, and every so many steps its loss.

    Reading the loss waits for the device.
    """

    def __init__(self, callbacks: CallbackList, log_every_steps: int) -> None:
        self._callbacks, self._every = callbacks, log_every_steps
        self._phase: Phase = "train"
        self._reported_at = 0.0

    def begin(self, phase: Phase, epoch: int, epochs: int, steps: int) -> None:
        """Report the start of a pass of so many steps."""
        self._phase = phase
        self._callbacks.on_phase_start(PhaseStart(phase, epoch, epochs, steps))

    def note(self, *remarks: Remarks) -> None:
        """Report the remarks on the batches, each once."""
        for message in (each for kept in remarks for each in kept.take()):
            self._callbacks.on_note(Note(message))

    def step(self, step: int, sums: EpochMetrics) -> None:
        """Report a finished step, if a report is due.

        Raises:
            NotFinite: as `EpochMetrics.read`.
        """
        now = time.monotonic()
        read = step % self._every == 0
        if read or now - self._reported_at > SECONDS_BETWEEN_REPORTS:
            self._reported_at = now
            loss = sums.read() if read else None
            self._callbacks.on_steps(StepsDone(self._phase, step, loss))


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    task: Task,
    criterion: Criterion,
    runtime: Runtime,
    metrics: Mapping[str, Metric],
    label: str = "loss",
    on_step: Callable[[int, EpochMetrics], None] | None = None,
    first: FirstBatch | None = None,
) -> dict[str, float]:
    """Evaluate the model on all of a loader, in eval mode and without gradients; the modes are restored.

    Args:
        first: adds the batch's shapes to an error in the first batch.

    Returns:
        `loss`, the mean over samples, and the metrics by name.

    Raises:
        NotFinite: a loss is NaN or infinite.
        ValueError: the loader is empty.
    """
    sums = EpochMetrics(task, metrics, label)
    infer = functools.partial(task.infer, model)
    first = first or FirstBatch("evaluated", model, criterion, metrics)
    with evaluating(model, criterion, task, metrics), torch.no_grad(), first:
        for step, batch in enumerate(loader, 1):
            moved = runtime.move(batch)
            with runtime.autocast():
                result = task.step(infer, criterion, first.observe(moved))
            sums.add(result)
            first.complete()
            if on_step is not None:
                on_step(step, sums)
    return sums.values()


class Predictor(Protocol):
    """A network that predicts, with its task and runtime: a Trainer, or a loaded run."""

    task: Task
    runtime: Runtime
    model: nn.Module
    ema: AveragedModel | None

    @property
    def evaluated(self) -> nn.Module: ...


class SamplePredictions:
    """The first samples of a dataset, read once, and the predictions for them.

    Of those that are made of tensors, the ones of equal shape; a dataset with a `collate` puts them together.
    """

    def __init__(self, predictor: Predictor, dataset: Any, count: int, best: Path) -> None:
        self._predictor, self._dataset, self._count, self._best = predictor, dataset, count, best
        self._batch: list[Any] | None = None

    def __call__(self) -> Samples | None:
        """Return samples and predictions; None where samples can't be indexed or aren't made of tensors."""
        if self._batch is None:
            with kept_apart(self._dataset):  # reading must not advance the dataset's own generator
                self._batch = self._read()
        if not self._batch:
            return None
        model, runtime, task = self._predictor.evaluated, self._predictor.runtime, self._predictor.task
        *inputs, targets = self._batch
        with evaluating(model, task), torch.no_grad(), runtime.autocast():
            predictions = task.predict(task.infer(model, *runtime.move(inputs)))
        return Samples(inputs, targets, _on_cpu(predictions))

    def best(self) -> Samples | None:
        """Return the same with the best checkpoint's weights; the network's own are restored afterwards.

        Raises:
            CheckpointError: it can't be read.
        """
        network = self._predictor.model if self._predictor.ema is None else self._predictor.ema.module
        own = copy.deepcopy(network.state_dict())
        try:
            network.load_state_dict(network_state(load(self._best)))
            return self()
        finally:
            network.load_state_dict(own)

    def _read(self) -> list[Any]:
        if not hasattr(self._dataset, "__getitem__") or not hasattr(self._dataset, "__len__"):
            return []
        batch: list[Any] = []
        samples = (self._dataset[index] for index in range(min(self._count, len(self._dataset))))
        if (put_together := collate_of(self._dataset)) is not None:
            together = put_together(list(samples))
            return list(together) if isinstance(together, (list, tuple)) else []
        for sample in samples:
            if not isinstance(sample, (list, tuple)) or not all(isinstance(part, Tensor) for part in sample):
                return []
            if not batch or [part.shape for part in sample] == [part.shape for part in batch[0]]:
                batch.append(sample)
        return [torch.stack(parts) for parts in zip(*batch, strict=True)]


def _on_cpu(prediction: Any) -> Any:
    if isinstance(prediction, Mapping):
        return {name: _on_cpu(part) for name, part in prediction.items()}
    return prediction.cpu() if isinstance(prediction, Tensor) else prediction
