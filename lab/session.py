"""The paperwork of one run: who it is, what it was started with, and how it ended."""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from lab import commands, rundir
from lab.config import ConfigError, Problem, RunConfig, loading, wandb_environment
from lab.config.unvalidated import VAL_LOSS
from lab.data.class_counts import as_text, class_counts
from lab.data.loaders import Loaders
from lab.events import Callback, Outcome, RunEnd, RunStart, Stopped
from lab.first_batch import fault_of, message_of
from lab.infeasible import Infeasible
from lab.midway import Midway
from lab.monitoring import Course
from lab.provenance.code import Code
from lab.provenance.history import History
from lab.provenance.machine import collect
from lab.provenance.modules import import_paths, installed
from lab.reach import Reach
from lab.record import as_written, written
from lab.redact import redact, redact_text
from lab.runtime import is_out_of_memory
from lab.signals import Interrupted
from lab.tasks import Task


class Trained(Protocol):
    """What the paperwork needs to know of a Trainer."""

    model: nn.Module
    reach: Reach
    task: Task
    criterion: Callable[[Any, Any], Any]
    device: torch.device
    course: Course
    midway: Midway
    outcome: Outcome
    reason: str

    @property
    def value(self) -> float: ...


@dataclass(frozen=True)
class Session:
    """How `run` was called, for one run folder.

    Args:
        group: the folder name of the whole run, where this is one of several seeds.
        source: the config's YAML as its author wrote it; empty where there is none.
        code: what all seeds and folds of the run use, for they use the same.
    """

    folder: Path
    resume: bool = False
    callbacks: Sequence[Callback] = ()
    console: Any = "auto"
    command: Sequence[str] = ()
    group: str | None = None
    source: str = ""
    code: Code = field(default_factory=Code)

    def per_repeat(self, config: RunConfig) -> Iterator[tuple[RunConfig, "Session"]]:
        """A config and a session of its own for each seed or fold, in a folder below."""
        for name, values in config.repeats.items():
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            yield config.with_values(values), replace(self, folder=folder, group=self.folder.name)

    def settled(self, config: RunConfig) -> RunConfig:
        """The run's config, with what the environment sets for W&B; of a resumed run, with what it set first.

        Raises:
            ConfigError: the run to resume is of another kind, or a variable holds what W&B doesn't know.
        """
        self.refuse_other_repeats(config)
        recorded: dict[str, Any] = {}
        with suppress(ConfigError):  # a record that can't be read; the config is then given by another file
            recorded = loading.read(self.folder / rundir.CONFIG).data if self.resume else {}
        return wandb_environment.settled(config, recorded)

    def refuse_other_repeats(self, config: RunConfig) -> None:
        """A single run lives in its folder, several seeds or folds in folders below: none becomes another.

        Raises:
            ConfigError: the run to resume is of another kind.
        """
        folds = config.folds is not None
        now = "folds" if folds else "several seeds" if len(config.seeds) > 1 else "one seed"
        below = {path.name.partition("_")[0] for path in rundir.repeats(self.folder)}
        was = "several seeds" if "seed" in below else "folds" if below else "one seed"
        if (self.folder / rundir.CHECKPOINTS).is_dir():
            was = "one seed"
        elif not below:
            return
        if self.resume and was != now:
            field = "folds" if folds or was == "folds" else "seeds"
            message = f"the run in {self.folder} has {was}; start a new run, or leave {field} as they were"
            raise ConfigError([Problem((field,), message)])

    @contextmanager
    def recorded(
        self, config: RunConfig, device: torch.device, begin: RunStart, listeners: Callback
    ) -> Iterator[None]:
        """Write `config.yaml`, which reruns this run, and `provenance.json`, with a note for what it lacks.

        What is imported within the context, such as by a dataset for its first sample, is added at its end.
        """
        rundir.atomic_write(self.folder / rundir.CONFIG, written(config.as_data()))
        path, paths = self.folder / rundir.PROVENANCE, set(import_paths(config.as_data()))
        first = not self.code.looked
        self.code.look(paths)
        history, notes = History.of(path, begin.resumed) if self.resume else (History(), [])
        source = as_written(self.source) if self.source else ""
        part = {
            "first_epoch": begin.first_epoch,
            "first_step": begin.first_step,
            **collect(list(self.command) or sys.argv, config.seeds[0], str(device), named=installed(paths)),
            "yaml": self.code.keep(source) if source else None,
        }
        history.add(part | self.code.as_data(), self.code.texts)
        history.write(path)
        for note in (*notes, *(self.code.notes() if first else ())):
            listeners.on_note(note)
        try:
            yield
        finally:
            if self.code.look(paths):
                history.renew(part | self.code.as_data(), self.code.texts)
                with suppress(OSError):  # a full disk, of which others report
                    history.write(path)

    def start_event(
        self, config: RunConfig, trainer: Trained, data: Loaders, definitions: Mapping[str, int] = {}
    ) -> RunStart:
        """What the listeners hear first."""
        weights = trainer.model.state_dict().values()
        return RunStart(
            run_id=self.folder.name if self.group is None else f"{self.group}-{self.folder.name}",
            run_dir=self.folder,
            project=config.project,
            name=config.name,
            seed=config.seeds[0],
            config=redact(config.as_data()),
            first_epoch=trainer.course.epoch + 1,
            epochs=config.epochs,
            device=str(trainer.device),
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            model_bytes=sum(t.numel() * t.element_size() for t in weights),
            train_samples=data.train_samples,
            val_samples=data.val_samples,
            group=self.group,
            first_step=trainer.midway.begin_at(len(data.train)),
            definitions=definitions,
            test_samples=data.test_samples,
            classes=as_text(counts) if (counts := class_counts(data.facts)) else "",
            loss_mean=trainer.task.set_mean(trainer.criterion),
            loss_parameters=trainer.reach.count,
        )

    def end_event(self, trainer: Trained, main_loss: str = VAL_LOSS) -> RunEnd:
        """The last event; `main_loss` is always among `best` and `last`."""
        missing = {main_loss: float("nan")}
        course = trainer.course
        names = ("best.pt", "final.pt")
        labels = {
            f"{name.removesuffix('.pt').capitalize()} model": rundir.CHECKPOINTS + "/" + name
            for name in names
        }
        labels |= {"Curves": rundir.HISTORY, "Predictions": rundir.PREDICTIONS, "Summary": rundir.SUMMARY}
        labels |= {"Traceback": rundir.TRACEBACK} if trainer.outcome in ("failed", "out_of_memory") else {}
        whole = self.folder if self.group is None else self.folder.parent
        again = commands.main("--resume", whole) if trainer.outcome == "interrupted" else ""
        return RunEnd(
            outcome=trainer.outcome,
            again=again,
            reason=trainer.reason,
            epochs=course.epoch,
            value=trainer.value,
            best_epoch=course.best.epoch,
            best=course.best.values or missing,
            last=course.history[-1] if course.history else missing,
            seconds=course.seconds,
            samples_per_second=course.samples_per_second,
            files={label: self.folder / name for label, name in labels.items() if self.group is None},
        )

    def fault(self, error: BaseException) -> tuple[Outcome, str]:
        """The outcome of a run that an exception ended; the traceback of a failure is kept in its folder."""
        if isinstance(error, (KeyboardInterrupt, Interrupted)):
            return "interrupted", error.reason if isinstance(error, Interrupted) else "Ctrl-C"
        if isinstance(error, Stopped):
            return error.outcome, error.reason
        if isinstance(error, Infeasible):
            return "infeasible", redact_text(str(error))
        text = redact_text("".join(traceback.format_exception(error)))
        with suppress(OSError):  # a full disk may be the very fault
            rundir.atomic_write(path := self.folder / rundir.TRACEBACK, text)
            if (fault := fault_of(error)) is not None:
                fault.traceback = path
        outcome: Outcome = "out_of_memory" if is_out_of_memory(error) else "failed"
        return outcome, redact_text(message_of(error))
