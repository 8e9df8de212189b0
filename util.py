"""The training loop, early stopping, and `run`, which takes a config to a finished run folder."""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lab import events
from lab.checkpoint import StateDict, Stateful
from lab.config import RunConfig
from lab.config.dataset_info import NO_FACTS, Facts
from lab.config.sections import EarlyStoppingConfig, Mode, Monitor
from lab.console.signals import defer_signals
from lab.data.loaders import Loader, create_loaders, set_epoch
from lab.events import Callback, CallbackList, Outcome, StopRequest, named, request_stop
from lab.metrics import Metric
from lab.metrics.metric_state import Unkeepable
from lab.rng.seeding import seed_all
from lab.state.modes import Modes
from lab.state.trained_parameters import TrainedParameters
from lab.store import paths, run_folder
from lab.tasks import Criterion, Task
from lab.train.callbacks.default_callbacks import default_callbacks
from lab.train.callbacks.progress_bar import Progress, Style
from lab.train.callbacks.run_summary import RepeatsSummary
from lab.train.data_definitions import definitions_with
from lab.train.data_notes import setup_notes
from lab.train.epoch_cursor import EpochCursor
from lab.train.evaluation import EpochMetrics, ProgressReporter, SamplePredictions, evaluate
from lab.train.first_batch_errors import FirstBatch
from lab.train.gradient_accumulation import Group, groups
from lab.train.progress import NotFinite, Schedule, TrainerState, refuse_val_values
from lab.train.rehearsal import rehearse
from lab.train.resume import record_of, resume_from, split_as_before
from lab.train.run_context import RunContext
from lab.train.run_events import outcome_of, reason_of, run_end, run_start
from lab.train.run_record import recorded
from lab.train.runtime import Runtime, averaged
from lab.train.state_inventory import components_of, include, parts_of, state_of, unkeepable

__all__ = ["EarlyStopping", "Trainer", "run"]


class EarlyStopping:
    """A stopping criterion: a value has not improved for `patience` calls.

    Args:
        patience: stop after this many calls without an improvement, at least 1.
        mode: `min` where smaller is better, `max` where larger is.
        min_delta: absolute change that counts as an improvement; right for negative values too.
    """

    def __init__(self, patience: int, mode: Mode = "min", min_delta: float = 0.0) -> None:
        if patience < 1 or min_delta < 0 or mode not in ("min", "max"):
            raise ValueError(f"expected patience >= 1, min_delta >= 0; found {patience}, {min_delta}, {mode}")
        self.patience, self.mode, self.min_delta = patience, mode, min_delta
        self.best: float | None = None
        self.waited = 0

    def __call__(self, value: float) -> bool:
        """Take in one value; True when it is time to stop. NaN is never an improvement."""
        better = value if self.mode == "max" else -value
        best = -math.inf if self.best is None else self.best if self.mode == "max" else -self.best
        if better > best + self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.exhausted

    @property
    def exhausted(self) -> bool:
        """True when it is time to stop."""
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, object]:
        """Return the best value and the number of calls since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from a `state_dict`."""
        self.best, self.waited = state["best"], state["waited"]


class Trainer:
    """Train a model epoch by epoch and call its callbacks; what `RunConfig` adds comes by keyword.

    Args:
        model: called by the task, by default `model(*inputs)` of a batch `*inputs, target`.
        scheduler: None, or any scheduler; one for plateaus gets `scheduler_monitor`.
        criterion: `criterion(output, target)`, the mean loss of a batch.
        early_stopping_config: has `enabled`, `patience`, `mode`, `min_delta`; may have `metric`.
        monitor: which value is best, and whether `train` returns that or the last one; by default val_loss.
        scheduler_interval: `epoch`, or `step` for a scheduler that moves with every optimizer step.
        accumulate_grad_batches, ema_decay: batches a step; decay of averaged weights to validate with.
        every_n_steps: batches between two calls of `on_mid_epoch`, where callbacks can keep the state.
        seed: makes every epoch's randomness a function of (seed, epoch); None leaves the random state alone.
        callbacks: called in this order; by default the console.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        criterion: Criterion,
        early_stopping_config: EarlyStoppingConfig | None = None,
        device: torch.device | str = "cpu",
        *,
        runtime: Runtime | None = None,
        task: Task | None = None,
        metrics: Mapping[str, Metric] | None = None,
        monitor: Monitor | None = None,
        scheduler_interval: str = "epoch",
        scheduler_monitor: str = "val_loss",
        gradient_clip_norm: float | None = None,
        accumulate_grad_batches: int = 1,
        check_gradients: bool = False,
        ema_decay: float | None = None,
        seed: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        log_every_steps: int = 10,
        every_n_steps: int | None = None,
    ) -> None:
        if min(accumulate_grad_batches, log_every_steps) < 1:
            raise ValueError("expected accumulate_grad_batches and log_every_steps of at least 1")
        self.runtime = runtime or Runtime(device)
        self.device = self.runtime.device
        self.model = self.runtime.place_network(model)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.criterion, self.task = self.runtime.place(criterion), self.runtime.place(task or Task())
        self.course = TrainerState(monitor or Monitor(returns="last"))
        self.monitor = self.course.best.monitor
        self.early_stopping: EarlyStopping | None = None
        self._watched = self.monitor.metric
        if (stopping := early_stopping_config) and stopping.enabled:
            self._watched = (own := getattr(stopping, "metric", None)) or self._watched
            mode = stopping.mode or ("min" if own else self.monitor.mode)
            self.early_stopping = EarlyStopping(stopping.patience, mode, stopping.min_delta)
        self.ema = None if ema_decay is None else averaged(self.model, ema_decay)
        self.callbacks = CallbackList([Progress()] if callbacks is None else callbacks)
        self.seed, self.epochs, self.reason = seed, 0, ""
        self.outcome = Outcome.COMPLETED
        self._forward = self.runtime.forward(self.model)
        # Two copies of each metric: what one keeps across epochs must not mix the two sets.
        placed = {name: self.runtime.place(metric) for name, metric in (metrics or {}).items()}
        self.metrics: dict[events.Phase, dict[str, Metric]] = {"val": placed, "train": copy.deepcopy(placed)}
        self.modes = Modes(self.model, self.criterion, self.task, (self.metrics, self.ema), self.optimizer)
        self.reach = TrainedParameters(self.model, self.optimizer, self.criterion, self.task, placed)
        self.first: dict[events.Phase, FirstBatch] = {
            "train": FirstBatch("training", self._forward, self.criterion, self.metrics["train"]),
            "val": FirstBatch("validation", self.evaluated, self.criterion, self.metrics["val"]),
        }
        self._schedule = Schedule(scheduler, scheduler_interval, scheduler_monitor)
        self._clip_norm, self._check_gradients = gradient_clip_norm, check_gradients
        self._accumulate = accumulate_grad_batches
        self.components = components_of(self.model, self.criterion, self.task, self.metrics, self.device)
        self.cursor = EpochCursor(every_n_steps, accumulate_grad_batches, self.device)
        self._reporter, self._values = ProgressReporter(self.callbacks, log_every_steps), dict[str, float]()

    @classmethod
    def from_config(
        cls,
        config: RunConfig,
        *,
        batches: int,
        facts: Facts = NO_FACTS,
        runtime: Runtime | None = None,
    ) -> "Trainer":
        """Build everything but callbacks from a config; the weights come from its first seed.

        Args:
            batches: in an epoch, for a scheduler whose length is `auto`.
            facts: what the dataset declares, for components some of whose arguments are `auto`.
            runtime: the one that the data uses, where there is one already.

        Raises:
            ConfigError: a component can't be built.
        """
        # Before any component is built: the weights follow from the seed alone.
        seed_all(config.seeds[0])
        runtime = runtime or Runtime.from_config(config)
        model = runtime.place_network(config.create_model(facts))
        task = runtime.place(config.create_task(facts))
        criterion = runtime.place(config.create_criterion(facts))
        optimizer = config.create_optimizer(model, criterion, task)
        steps = math.ceil(batches / config.accumulate_grad_batches)
        return cls(
            model,
            optimizer,
            config.create_scheduler(optimizer, steps_per_epoch=steps),
            criterion,
            config.early_stopping_config,
            runtime=runtime,
            task=task,
            metrics={**task.own_metrics(), **config.create_metrics(facts)},
            monitor=config.monitor,
            scheduler_interval=config.scheduler.interval if config.scheduler else "epoch",
            scheduler_monitor=config.scheduler.monitor if config.scheduler else "val_loss",
            gradient_clip_norm=config.gradient_clip_norm,
            accumulate_grad_batches=config.accumulate_grad_batches,
            check_gradients=config.check_gradients,
            ema_decay=config.ema.decay if config.ema else None,
            seed=config.seeds[0],
            callbacks=(),
            log_every_steps=config.log_every_steps,
            every_n_steps=config.checkpoint.every_n_steps,
        )

    @property
    def evaluated(self) -> nn.Module:
        """The network that validation evaluates: with averaged weights where there are any."""
        return self._forward if self.ema is None else self.ema.module

    @property
    def lr(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def train_epoch(self, dl_train: Loader) -> float:
        """Train for one pass over the data, in train mode, and return the loss of the set.

        Raises:
            NotFinite: a loss, or a gradient where that is checked, is NaN or infinite.
        """
        sums = EpochMetrics(self.task, self.metrics["train"], "train loss", self._check_gradients)
        steps = len(dl_train)
        self._reporter.begin("train", self.course.epoch + 1, self.epochs, steps)
        started = time.perf_counter() - self.cursor.seconds
        with self.modes.training(self.callbacks.on_note), self.first["train"] as first:
            # The batches of a group share an optimizer step; of a resumed epoch, those that are left.
            for batches in groups(self.cursor.batches(dl_train, sums), self._accumulate):
                moved = [self.runtime.move(batch) for _, batch in batches]
                group = Group.of(moved, lambda batch: self.task.weights(self.criterion, batch))
                for (step, _), batch in zip(batches, moved, strict=True):
                    with self.runtime.autocast():
                        result = self.task.step(self._forward, self.criterion, first.observe(batch))
                    self.runtime.backward(group.loss(result))
                    sums.add(result)
                    if step == batches[-1][0]:
                        group.finish(self.optimizer)
                        if not first.done:
                            self.callbacks.on_notes(self.reach.notes(result.loss))
                        sums.add_norm(self._step())
                        first.complete()
                    self._reporter.step(step, sums)
                # Only here, after a whole group: no gradient is pending that a checkpoint would lose.
                if self.cursor.due(step, steps):
                    self._snapshot(step, steps, time.perf_counter() - started, sums)
        self._reporter.note(self.runtime.remarks, self.task.remarks)
        values = sums.values()
        self.course.samples += sums.samples
        self.course.train_seconds += time.perf_counter() - started
        self._values |= {f"train_{name}": value for name, value in values.items()}
        return self._values["train_loss"]

    def val_epoch(self, dl_val: Loader) -> float:
        """Evaluate one pass over the validation data, in eval mode, and return the loss of the set."""
        self._reporter.begin("val", self.course.epoch + 1, self.epochs, len(dl_val))
        values = evaluate(
            self.evaluated,
            dl_val,
            task=self.task,
            criterion=self.criterion,
            runtime=self.runtime,
            metrics=self.metrics["val"],
            label="validation loss",
            on_step=self._reporter.step,
            first=self.first["val"],
        )
        self._values |= {f"val_{name}": value for name, value in values.items()}
        return self._values["val_loss"]

    def train(self, dl_train: Loader, dl_val: Loader | None, epochs: int) -> float:
        """Train up to `epochs` in all, those before a resume included, and return `value`.

        Each epoch: train, validate if there is `dl_val`, check for NaN, best, early stop, scheduler, then the
        callbacks in order.
        """
        if dl_val is None:
            refuse_val_values((self.monitor.metric, self._watched, *self._schedule.watched))
        self.epochs, self.outcome, self.reason = epochs, Outcome.COMPLETED, ""
        stop: StopRequest | None = None
        if self.early_stopping and self.early_stopping.exhausted:
            stop = request_stop("early stopping had already ended it; set a higher patience to continue")
        while stop is None and self.course.epoch < epochs:
            event = self._one_epoch(dl_train, dl_val, self.course.epoch + 1)
            stop = self.callbacks.on_epoch_end(event) or event.stop
        if stop is not None:
            self.outcome, self.reason = stop.outcome, stop.reason
        return self.value

    @property
    def value(self) -> float:
        """The result of the training: the monitor's best or last value; infinitely bad if it diverged."""
        return self.course.best.worst if self.outcome is Outcome.DIVERGED else self.course.value

    def parts(self) -> dict[str, Stateful | None]:
        """Return everything with a state, by the name it has in a checkpoint."""
        return parts_of(self)

    def state(self, position: StateDict | None = None) -> StateDict:
        """Return the content of a checkpoint: at a `MidEpoch.position`, or between two epochs."""
        return state_of(self, position)

    def _one_epoch(self, dl_train: Loader, dl_val: Loader | None, epoch: int) -> events.EpochEnd:
        started = time.perf_counter() - self.cursor.seconds
        if self.seed is not None:
            seed_all(self.seed, epoch, device=self.device)
        set_epoch(epoch, dl_train, dl_val)
        losses = ("train_loss",) if dl_val is None else ("train_loss", "val_loss")
        self._values = self.cursor.values or {**dict.fromkeys(losses, math.nan), "lr": self.lr}
        stop: StopRequest | None = None
        try:
            self.train_epoch(dl_train)
            if dl_val is not None:
                self.val_epoch(dl_val)
        except NotFinite as error:
            stop = request_stop(f"{error} of epoch {epoch}", Outcome.DIVERGED)
        # A divergence goes before all else: such an epoch can neither be the best one nor stop early.
        values, best = dict(self._values), self.course.best
        if stop is None and not math.isfinite(monitored := best.monitored(values)):
            stop = request_stop(f"{self.monitor.metric} is {monitored} in epoch {epoch}", Outcome.DIVERGED)
        improved = stop is None and best.update(epoch, values)
        if stop is None and self.early_stopping and self.early_stopping(named(values, self._watched)):
            waited = self.early_stopping.waited
            stop = request_stop(f"{self._watched} has not improved for {waited} epochs, at epoch {epoch}")
        # The scheduler moves now, so that callbacks receive the next learning rate with the epoch.
        before = self.lr
        if stop is None:
            self._schedule.after_epoch(values)
        next_lr = values["lr"] if self.lr == before else self.lr
        seconds = time.perf_counter() - started
        self.course.end_epoch(values, seconds)
        return events.EpochEnd(
            epoch, self.epochs, values, improved, best.epoch, best.values, seconds, next_lr, stop
        )

    def _snapshot(self, step: int, steps: int, seconds: float, sums: EpochMetrics) -> None:
        """Let the callbacks keep the state within this epoch.

        Raises:
            NotFinite: a loss or a weight is; that of a training gone wrong is no state to continue from.
        """
        sums.read()
        if not self.reach.finite():
            raise NotFinite(f"a weight is not finite after step {step}")
        try:
            position = self.cursor.position(step, steps, seconds, self._values, sums)
        except Unkeepable as error:
            self.cursor.every = None  # report it once, not at every snapshot
            message = f"checkpoint.every_n_steps has no effect: the metric's {error}, which a checkpoint"
            hint = "can't hold; give it state_dict and load_state_dict, of tensors and numbers"
            self.callbacks.on_note(events.Note(f"{message} {hint}", "warning"))
        else:
            self.callbacks.on_mid_epoch(events.MidEpoch(self.course.epoch + 1, step, steps, position))

    def _step(self) -> Tensor | None:
        norm = self.runtime.step(self.optimizer, self._clip_norm, self._check_gradients)
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        self._schedule.after_step()
        return norm


def run(
    run_config: RunConfig,
    dl_train: Loader | None = None,
    dl_val: Loader | None = None,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    console: Style = "auto",
    command: Sequence[str] = (),
    source: str = "",
) -> events.RunResult:
    """Run a config: create its folder, data, Trainer and callbacks, train, and return the result.

    Several seeds, or folds, are several runs in folders below, until one is pruned; the result is their mean.

    Args:
        dl_train, dl_val: given, or made from the config; with `val: null` there is no `dl_val`.
        run_dir: the run's folder; a new one in `runs/` by default.
        resume: continue from the newest checkpoint in `run_dir`.
        callbacks: called after the default ones; those with a `state_dict` before a checkpoint is written.

    Raises:
        ConfigError: a component can't be built, or the checkpoint to resume belongs to another network.
        RunInUse: another process is running in this folder.
    """
    # The folder's lock is held throughout: two processes never write to one run.
    with (
        paths.anchored(),
        run_folder.acquire(run_dir, Path("runs"), run_config.name) as folder,
        split_as_before(folder, resume),
    ):
        context = RunContext(folder, resume, callbacks, console, command, source=source)
        run_config = context.settled(run_config)
        if len(run_config.repeats) == 1:
            return _run_once(run_config, dl_train, dl_val, context)
        with RepeatsSummary(folder, run_config, console) as summary:
            for config, below in summary.unless_stopped(context.per_repeat(run_config)):
                summary.add(_run_once(config, dl_train, dl_val, below))
        return summary.result


def _run_once(
    config: RunConfig, dl_train: Loader | None, dl_val: Loader | None, context: RunContext
) -> events.RunResult:
    # Build runtime, data, trainer and callbacks, in this order: each needs the ones before it.
    checkpoints = context.folder / run_folder.CHECKPOINTS
    runtime = Runtime.from_config(config)
    data = create_loaders(config, dl_train, dl_val, runtime.device)
    trainer = Trainer.from_config(config, batches=len(data.train), facts=data.facts, runtime=runtime)
    described = definitions_with(data.examples, trainer.criterion, trainer.metrics["val"])
    about = record_of(config, data.facts, described)
    count = trainer.task.pictured or config.pictures.count
    samples = SamplePredictions(trainer, data.val_set, count, checkpoints / "best.pt")
    every = data.listen(trainer.callbacks)
    default = default_callbacks(context.folder, config, trainer, samples, about, context.console)
    every.callbacks = include(trainer, data, default, context.callbacks, context.resume)
    # Restore a checkpoint, and report what would surprise later: before anything is written to the folder.
    resumed = resume_from(checkpoints, about, trainer.parts(), described) if context.resume else []
    noted = unkeepable(trainer) + setup_notes(config, trainer.criterion, data, described)
    every.on_notes([*noted, *rehearse(config, trainer, data), *resumed])
    # Train. A second Ctrl-C must not keep the callbacks from closing their files: signals end the run only
    # within `disturbed`.
    begin = run_start(context, config, trainer, data, about["definitions"])
    data.start(begin.first_epoch, begin.first_step)  # forks the workers, before a tracker starts a thread
    with defer_signals() as disturbed:
        try:
            with recorded(context, config, trainer.device, begin, every), disturbed():
                every.on_run_start(begin)
                trainer.train(data.train, data.val, config.epochs)
        except BaseException as error:
            # The outcome comes first: an exception's text may be anything.
            trainer.outcome = outcome_of(error, context.folder)
            trainer.reason = reason_of(error, context.folder)
            raise
        finally:
            data.stop()
            every.on_run_end(end := run_end(context, trainer, config.main_loss))
    return events.RunResult(end, context.folder)
