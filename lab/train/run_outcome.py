"""The outcome of a run that an exception ended."""

import traceback
from contextlib import suppress
from pathlib import Path

from lab.config import Infeasible
from lab.console.signals import Interrupted
from lab.events import Outcome, Stopped
from lab.store import file_io, run_folder
from lab.store.redact import redact_text
from lab.train.first_batch_errors import fault_of, message_of
from lab.train.runtime import is_out_of_memory


def outcome_of(error: BaseException, folder: Path) -> tuple[Outcome, str]:
    """Return the outcome and its reason; the traceback of a failure is kept in the run's folder."""
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return Outcome.INTERRUPTED, error.reason if isinstance(error, Interrupted) else "Ctrl-C"
    if isinstance(error, Stopped):
        return error.outcome, error.reason
    if isinstance(error, Infeasible):
        return Outcome.INFEASIBLE, redact_text(str(error))
    text = redact_text("".join(traceback.format_exception(error)))
    with suppress(OSError):  # a full disk may be the cause itself
        file_io.atomic_write(path := folder / run_folder.TRACEBACK, text)
        if (fault := fault_of(error)) is not None:
            fault.traceback = path
    outcome = Outcome.OUT_OF_MEMORY if is_out_of_memory(error) else Outcome.FAILED
    return outcome, redact_text(message_of(error))
