"""Console output of a study: a line for each finished trial, and the state of the whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.config.optimize_config import OptimizeConfig
from lab.console.formatting import format_duration, format_number
from lab.console.streams import SafeStream, columns
from lab.console.table import cut
from lab.events import Outcome
from lab.hpo.clock import REAL, Clock
from lab.hpo.cost_estimate import time_left, trials_left
from lab.hpo.executor import Slot
from lab.hpo.storage import unless_unavailable
from lab.hpo.study_callbacks import StudyCallback, TrialResult
from lab.hpo.trial import Trial
from lab.hpo.worker_main import EpochReported, RunStarted
from lab.report.trial_attributes import TrialAttributes
from lab.report.trial_ranking import ranked
from lab.store.file_io import printed_json
from lab.train.callbacks.progress_bar import Style

_MINUTE = 60.0
_STALLED = 300.0  # seconds without a step after which the state names a trial


class StudyConsole:
    """Writes to the console; on a terminal the last line is the state of the study.

    Args:
        style: as for a run; `quiet` has warnings and the result only, `json` one object a line.
    """

    def __init__(self, style: Style = "auto", stream: IO[str] | None = None) -> None:
        self._out = SafeStream(stream)
        self.style = style
        self.live = style == "auto" and self._out.live
        self._status = ""

    def begin(self, lines: Mapping[str, str], **facts: Any) -> None:
        """Print the study, the search and the storage."""
        self._json("study_start", **facts)
        for name, text in lines.items():
            self._line(f"{name:<9}{text}")

    def trial_started(self, trial: Trial, device: str | None) -> None:
        """One trial is at work."""
        self._json(
            "trial_start", trial=trial.number, params=trial.values, device=device, resumed=trial.resume
        )
        if trial.resume:
            self._line(f"Trial {trial.number:>3}  continues from its checkpoint")

    def trial_over(self, trial: Trial, result: TrialResult, state: str, shown: Mapping[str, Any]) -> None:
        """One trial's line.

        Args:
            shown: the parameters' values, with the names of choices for people.
        """
        number, outcome, end = trial.number, result.outcome, result.finished
        best = result.best is not None and result.best.number == number
        self._json(
            "trial_end", trial=number, outcome=outcome, values=result.values, params=trial.values,
            epochs=end.epochs, seconds=end.seconds, cause=end.reason, best=best,
        )  # fmt: skip
        good = outcome.is_success
        values = [f"{name} {format_number(value)}" for name, value in result.values.items()] if good else []
        point = "  ".join(f"{name}={_shown(value)}" for name, value in shown.items())
        mark = "  * best" if best else ""
        title = f"{outcome.replace('_', ' '):<13} {'  '.join(values)}"
        count = f"{end.epochs} epoch{'' if end.epochs == 1 else 's'}"
        self._line(f"Trial {number:>3}  {title}  ({count}, {format_duration(end.seconds)}){mark}  {point}")
        if not good:
            self._line(f"           {end.reason}")
        if not self.live:
            self._line(f"           {state}")

    def note(self, text: str) -> None:
        """Something worth a line, shown even when quiet."""
        self._json("note", message=text)
        is_word = text.partition(" ")[0].rstrip(":,;").isalpha()  # a path or a name stays as it is
        self._line(text[:1].upper() + text[1:] if is_word else text, always=True)

    def status(self, text: str) -> None:
        """Print the state of the study, on a terminal in its last line."""
        if not self.live:
            self._line(text)
        elif text != self._status:
            # Of a line that wraps only the last part can be cleared.
            self._status = cut(text, columns(self._out) - 1)
            self._write(f"\r\x1b[K{self._status}")

    def end(self, lines: Sequence[str], **facts: Any) -> None:
        """Print the result and the paths of all that is left."""
        self._json("study_end", **facts)
        self._status = ""
        for text in lines:
            self._line(text, always=True)

    def _line(self, text: str, always: bool = False) -> None:
        if self.style == "json" or (self.style == "quiet" and not always):
            return
        clear = "\r\x1b[K" if self.live else ""
        self._write(f"{clear}{text}\n{self._status if self.live else ''}")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
        self.live = self.live and not self._out.gone

    def _json(self, event: str, **fields: Any) -> None:
        if self.style == "json":
            self._write(printed_json({"event": event, **fields}) + "\n")


class ConsoleCallback(StudyCallback):
    """Prints a line for each trial, and where the study stands.

    On a terminal the last line is up to date; elsewhere there is one a minute.
    """

    def __init__(
        self, config: OptimizeConfig, study: optuna.Study, console: StudyConsole, clock: Clock = REAL
    ) -> None:
        self._config, self._study, self._console, self._clock = config, study, console, clock
        self._trials: Sequence[FrozenTrial] = ()
        self._read_at = clock.monotonic()
        self._steps_at: dict[int, float] = {}  # by number of the running trials

    def on_message(self, text: str) -> None:
        """Print it."""
        self._console.note(text)

    def on_trial_start(self, trial: Trial, slot: Slot) -> None:
        """Print that it is continued, if it is."""
        self._console.trial_started(trial, slot.device)
        self.on_steps(trial)

    def on_run_start(self, trial: Trial, message: RunStarted) -> None:
        """Note the time."""
        self.on_steps(trial)

    def on_steps(self, trial: Trial) -> None:
        """Note the time."""
        self._steps_at[trial.number] = self._clock.monotonic()

    def on_epoch_end(self, trial: Trial, message: EpochReported) -> None:
        """Note the time."""
        self.on_steps(trial)

    def on_trial_release(self, trial: Trial) -> None:
        """Forget the time."""
        self._steps_at.pop(trial.number, None)

    def on_trial_end(self, trial: Trial, result: TrialResult) -> None:
        """Print its line, with names for its choices; two choices of one component have their own."""
        self._trials, self._read_at = result.trials, self._clock.monotonic()
        self.on_trial_release(trial)
        space = self._config.space
        shown = dict(space.shown(space.to_params(trial.values))) if trial.values else {}
        self._console.trial_over(trial, result, self._standing(), shown)

    def on_poll(self) -> None:
        """Print where the study stands, when it is time for that."""
        if self._clock.monotonic() - self._read_at > (2.0 if self._console.live else _MINUTE):
            self._read_at = self._clock.monotonic()
            self._trials = unless_unavailable(lambda: self._study.get_trials(deepcopy=False), self._trials)
            self._console.status(self._standing())

    def _standing(self) -> str:
        known = [(trial, TrialAttributes.of(trial)) for trial in self._trials]
        ours = [(trial, attributes) for trial, attributes in known if attributes.forked_from is None]
        finished = [attributes for trial, attributes in ours if trial.state.is_finished()]
        counts = Counter(str(each.outcome or Outcome.COMPLETED) for each in finished)
        best = ranked(self._trials, self._study.directions)
        shown = f"{format_number(best[0].values[0])} (trial {best[0].number})" if best else ""
        running = [attributes for trial, attributes in ours if trial.state == TrialState.RUNNING]
        begun = sum(trial.state != TrialState.WAITING for trial in self._trials)
        waiting = trials_left(self._config, len(finished) + len(running), begun)
        left = self._seconds_left(finished, running, waiting)
        return standing(counts, self._config.total, len(running), shown, left) + self._stalled()

    def _stalled(self) -> str:
        """Name the trials of this process that have made no step for long."""
        waits = {number: self._clock.monotonic() - at for number, at in self._steps_at.items()}
        stalled = {number: seconds for number, seconds in waits.items() if seconds > _STALLED}
        return "".join(
            f" · trial {number}: no step for {format_duration(waited)}" for number, waited in stalled.items()
        )

    def _seconds_left(
        self, finished: list[TrialAttributes], running: list[TrialAttributes], waiting: int
    ) -> float | None:
        """By the mean time of the finished trials, pauses not counted, and all workers everywhere."""
        spans = [stop - start for each in finished for start, stop in each.spans or ()]
        if not spans:
            return None
        elapsed = [self._at_work(each) for each in running]
        workers = max(len(running), self._config.n_workers)
        return time_left(sum(spans) / len(finished), elapsed, waiting, workers)

    def _at_work(self, known: TrialAttributes) -> float:
        """Return the seconds that a running trial has had, pauses not counted."""
        earlier = sum(stop - start for start, stop in known.spans or ())
        return earlier + (0.0 if known.since is None else max(0.0, self._clock.now() - known.since))


def standing(counts: Counter[str], total: int, running: int, best: str, seconds_left: float | None) -> str:
    """`12/20 done (3 pruned, 1 failed), 2 running · best 0.0123 (trial 7) · about 2 min left`."""
    done = sum(counts.values())
    kinds = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if name != Outcome.COMPLETED
    )
    parts = [
        f"{done}/{total} done{f' ({kinds})' if kinds else ''}{f', {running} running' if running else ''}"
    ]
    if best:
        parts.append(f"best {best}")
    if seconds_left is not None and done < total:
        parts.append(f"about {format_duration(seconds_left)} left")
    return " · ".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, Mapping) and isinstance(value.get("target"), str):
        return str(value["target"]).rpartition(".")[2]
    return str(value)
