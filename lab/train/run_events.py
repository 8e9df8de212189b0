"""The first and the last event of a run, and the outcome of one that an exception ended."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lab.config import Infeasible, RunConfig
from lab.config.no_validation import VAL_LOSS
from lab.console import shell_commands
from lab.data.class_counts import as_text, class_counts
from lab.data.loaders import Loaders
from lab.events import Outcome, RunEnd, RunStart, Stopped
from lab.store import file_io, run_folder
from lab.store.error_text import text_of, traceback_of
from lab.store.redact import redact, redact_text
from lab.train.first_batch_errors import fault_of, message_of
from lab.train.run_context import RunContext
from lab.train.runtime import is_out_of_memory
from lab.train.state_inventory import Trained


def run_start(
    context: RunContext,
    config: RunConfig,
    trainer: Trained,
    data: Loaders,
    definitions: Mapping[str, int] = {},
) -> RunStart:
    """Return the first event."""
    weights = trainer.model.state_dict().values()
    return RunStart(
        run_id=context.folder.name if context.group is None else f"{context.group}-{context.folder.name}",
        run_dir=context.folder,
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
        group=context.group,
        first_step=trainer.cursor.begin_at(len(data.train)),
        definitions=definitions,
        test_samples=data.test_samples,
        classes=as_text(counts) if (counts := class_counts(data.info)) else "",
        loss_mean=trainer.task.set_mean(trainer.criterion),
        loss_parameters=trainer.reach.count,
    )


def run_end(context: RunContext, trainer: Trained, main_loss: str = VAL_LOSS) -> RunEnd:
    """Return the last event; `main_loss` is always among `best` and `last`."""
    missing = {main_loss: float("nan")}
    course = trainer.course
    labels = {
        "Best model": f"{run_folder.CHECKPOINTS}/best.pt",
        "Final model": f"{run_folder.CHECKPOINTS}/final.pt",
        "Curves": run_folder.HISTORY,
        "Predictions": run_folder.PREDICTIONS,
        "Summary": run_folder.SUMMARY,
    }
    labels |= {"Traceback": run_folder.TRACEBACK} if trainer.outcome.has_traceback else {}
    whole = context.folder if context.group is None else context.folder.parent
    again = shell_commands.main("--resume", whole) if trainer.outcome is Outcome.INTERRUPTED else ""
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
        files={label: context.folder / name for label, name in labels.items() if context.group is None},
    )


def outcome_of(error: BaseException, folder: Path) -> Outcome:
    """Return the outcome of a run in a folder that an exception ended."""
    if isinstance(error, Stopped):
        return error.outcome
    if isinstance(error, KeyboardInterrupt) or file_io.is_storage_fault(error, folder.parent):
        return Outcome.INTERRUPTED
    if isinstance(error, Infeasible):
        return Outcome.INFEASIBLE
    return Outcome.OUT_OF_MEMORY if is_out_of_memory(error) else Outcome.FAILED


def reason_of(error: BaseException, folder: Path) -> str:
    """Return the reason of the outcome; the traceback of a failure is kept in the run's folder."""
    if isinstance(error, Stopped):
        return error.reason
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    if file_io.is_storage_fault(error, folder.parent):
        return file_io.storage_message(error)
    if isinstance(error, Infeasible):
        return redact_text(text_of(error))
    with suppress(OSError):
        file_io.atomic_write(path := folder / run_folder.TRACEBACK, redact_text(traceback_of(error)))
        if (fault := fault_of(error)) is not None:
            fault.traceback = path
    return redact_text(message_of(error))
