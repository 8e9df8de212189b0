"""The loop that keeps an executor's slots busy, shared by the search and the reruns after it."""

from collections.abc import Callable
from typing import Any, ClassVar

from lab.console.signals import Signals
from lab.events import Outcome, Stopped, StopRequest
from lab.hpo.clock import REAL, Clock
from lab.hpo.executor import Executor, Handler, Job, WorkerDied
from lab.hpo.worker_main import Answer, Message

_TICK = 0.5  # seconds between two looks at the clock

ExecutorFactory = Callable[[Handler], Executor]


class JobLoop:
    """Starts jobs as slots become free, and ends in order on a signal.

    Args:
        create_executor: makes the executor, given what handles its messages.
        signals: the caller's context; the first signal stops all jobs.
        on_message: receives messages for people.
    """

    jobs_are: ClassVar[str] = "jobs"

    def __init__(
        self,
        create_executor: ExecutorFactory,
        signals: Signals,
        on_message: Callable[[str], None],
        clock: Clock = REAL,
    ) -> None:
        self._signals, self._on_message, self._clock = signals, on_message, clock
        self._executor = create_executor(self._handle)
        self._stop_reason: Stopped | None = None

    def run_jobs(self) -> None:
        """Run jobs until there are none.

        Raises:
            Stopped: by a signal; what was running can be resumed.
        """
        with self._signals.deferred():
            try:
                while self.step():
                    pass
            finally:
                left = [job.subject for job in self._executor.jobs]
                self._executor.close()
                for subject in left:
                    self._abandon(subject)
                self._report_signal()
        if self._signals.received is not None:
            raise self._signals.received

    def step(self) -> bool:
        """Start, handle and stop what is due; returns whether anything runs or is waited for."""
        if not self._fill_slots():
            return False
        self._executor.poll(_TICK)
        self._check_deadlines()
        return True

    def _fill_slots(self) -> bool:
        """Start jobs in free slots; returns whether there is anything to run or to wait for."""
        raise NotImplementedError

    def _handle(self, job: Job, message: Message | WorkerDied) -> Answer:
        """Handle a job's message; the answer matters for `EpochReported` only."""
        raise NotImplementedError

    def _abandon(self, subject: Any) -> None:
        """Clean up after a job that was ended by force."""

    def _stopping(self) -> bool:
        return self._stop_reason is not None or self._signals.received is not None

    def _check_deadlines(self) -> None:
        """Stop what has to stop. The first signal stops all jobs at once, wherever they are in an epoch."""
        if (signal := self._signals.received) is not None:
            self._report_signal()
            for job in list(self._executor.jobs):
                self._executor.stop(job, signal)

    def _stop_request(self, job: Job) -> StopRequest | None:
        """Return the answer to a job's epoch while all are stopping."""
        stop = self._signals.received or self._stop_reason
        if stop is None:
            return None
        # The answer is how the job learns of it: it is not to be stopped a second time while it ends.
        job.stopping = self._clock.monotonic()
        return StopRequest(stop.reason, Outcome.INTERRUPTED, stop.cause)

    def _report_signal(self) -> None:
        if (signal := self._signals.received) is not None and self._stop_reason is not signal:
            self._stop_reason = signal
            resumable = f"running {self.jobs_are} can be resumed"
            self._on_message(f"{signal.reason}: stopping; {resumable}. Press Ctrl-C again to abort")
