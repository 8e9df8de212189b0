"""Console output of a run: a bar per phase, a line per epoch, and a summary at the end."""

import time
from collections.abc import Mapping
from typing import IO, Literal

from lab.console.formatting import format_duration, format_number
from lab.console.progress_bars import Bar, progress_bar
from lab.console.streams import SafeStream
from lab.events import Callback, EpochEnd, Note, Outcome, PhaseStart, RunEnd, RunStart, StepsDone
from lab.store.file_io import printed_json
from lab.store.paths import shown

Style = Literal["auto", "plain", "quiet", "json"]
_LABELS = {"train": "training", "val": "validating"}
_FIRST = ("train_loss", "val_loss")
_FINAL = {"val_loss": "validation", "train_loss": "training"}  # the first that is logged
_HIDDEN = ("train_one_class", "val_one_class")  # there for a warning, and in metrics.csv


class Progress(Callback):
    """Write to the console.

    Args:
        style: `auto` has bars on a terminal and plain lines elsewhere; `quiet` has warnings and the result
            only; `json` has one JSON object a line on standard output and nothing else.
        mark: the text after an epoch that is the best so far.
    """

    def __init__(self, style: Style = "auto", stream: IO[str] | None = None, mark: str = "best") -> None:
        self._out = SafeStream(stream)
        self._style = style
        self._mark = mark
        self._bars = style == "auto" and self._out.live
        self._bar: Bar | None = None
        self._done = 0
        self._steps = 0
        self._started = time.perf_counter()

    def on_run_start(self, event: RunStart) -> None:
        """Print the run's folder and its components."""
        self._json(
            "run_start",
            run_dir=shown(event.run_dir),
            seed=event.seed,
            device=event.device,
            epochs=event.epochs,
        )
        if self._style in ("quiet", "json"):
            return
        within = f", after batch {event.first_step}" if event.first_step else ""
        again = f", continuing at epoch {event.first_epoch}{within}" if event.resumed else ""
        self._line(f"Run      {shown(event.run_dir)}  (seed {event.seed}{again})")
        size = f"{event.model_bytes / 2**20:.2f} MB"
        loss = f"; loss {event.loss_parameters:,} more" if event.loss_parameters else ""
        self._line(f"Device   {event.device}; model {event.parameters:,} parameters, {size}{loss}")
        test = f", {event.test_samples:,} test" if event.test_samples else ""
        classes = f"; {event.classes}" if event.classes else ""
        counts = f"{event.train_samples:,} training, {event.val_samples:,} validation{test} samples"
        self._line(f"Data     {counts}{classes}")

    def on_phase_start(self, event: PhaseStart) -> None:
        """Open the phase's bar."""
        self._close_bar()
        self._done, self._steps = 0, event.steps
        if self._bars:
            label = f"Epoch {event.epoch}/{event.epochs or '?'} {_LABELS[event.phase]}"
            self._bar = progress_bar(event.steps or None, "batch", label, out=self._out)

    def on_steps(self, event: StepsDone) -> None:
        """Move the bar."""
        if self._bar is not None:
            if event.loss is not None:
                self._bar.set_postfix(loss=f"{event.loss:.4f}", refresh=False)
            self._bar.update(event.step - self._done)
            self._done = event.step

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Print the epoch's line."""
        self._close_bar()
        self._json("epoch", epoch=event.epoch, epochs=event.epochs, improved=event.improved, **event.values)
        if self._style in ("quiet", "json"):
            return
        mark = f"  * {self._mark}" if event.improved else ""
        width = len(str(event.epochs))
        figures = "  ".join(f"{name} {format_number(value)}" for name, value in _ordered(event.values))
        self._line(f"Epoch {event.epoch:>{width}}/{event.epochs}  {figures}  {event.seconds:.1f}s{mark}")
        before = event.values.get("lr", event.next_lr)
        if event.next_lr != before and event.epoch < event.epochs and event.stop is None and _drops(event):
            self._line(f"         learning rate {format_number(before)} -> {format_number(event.next_lr)}")
        if event.stop is not None:
            what = "Stopping: " if event.diverged else "Early stopping: "
            self._line(f"{what}{event.stop.reason}")

    def on_note(self, event: Note) -> None:
        """Print a line; warnings are shown even when quiet."""
        self._json("note", level=event.level, message=event.message)
        if self._style == "json" or (self._style == "quiet" and event.level == "info"):
            return
        self._line(f"{'Warning: ' if event.level == 'warning' else ''}{event.message}")

    def on_run_end(self, event: RunEnd) -> None:
        """Print the outcome, the best epoch, and the paths of all files."""
        self._close_bar()
        files = {label: shown(path) for label, path in event.files.items()}
        self._json("run_end", **(vars(event) | {"files": files}))
        if self._style == "json":
            return
        because = f": {event.reason}" if event.reason and event.outcome is not Outcome.COMPLETED else ""
        outcome = event.outcome.replace("_", " ").capitalize()
        epochs = f"{event.epochs} epoch{'' if event.epochs == 1 else 's'}"
        speed = f", {event.samples_per_second:,.0f} training samples/s" if event.samples_per_second else ""
        self._line(f"{outcome}{because}. {epochs} in {format_duration(event.seconds)}{speed}.")
        if event.best_epoch:
            best = "  ".join(
                f"{name} {format_number(value)}" for name, value in _ordered(event.best) if name != "lr"
            )
            self._line(f"Best     epoch {event.best_epoch}: {best}")
        if event.outcome.is_result and event.epochs:
            name, kind = next((name, kind) for name, kind in _FINAL.items() if name in event.last)
            self._line(f"Training finished. Final {kind} loss: {format_number(event.last[name])}")
        for label, path in event.files.items() if self._style != "quiet" else ():
            if path.exists():
                self._line(f"{label:<12} {shown(path)}")
        if event.again:
            self._line(f"{'Resume':<12} {event.again}")

    def _line(self, text: str) -> None:
        self._close_bar()
        self._out.write(text + "\n")
        self._out.flush()

    def _json(self, event: str, **data: object) -> None:
        if self._style == "json":
            self._line(printed_json({"event": event, **data}))

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _ordered(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Order values: the losses, then each metric's train and validation value, then the learning rate."""
    first = [(name, values[name]) for name in _FIRST if name in values]
    rest = [(name, value) for name, value in values.items() if name not in (*_FIRST, *_HIDDEN, "lr")]
    rest.sort(key=lambda item: (item[0].split("_", 1)[-1], item[0].startswith("val")))
    return first + rest + [(name, values[name]) for name in ("lr",) if name in values]


def _drops(event: EpochEnd) -> bool:
    """Return whether a change is worth a line: a quarter is, a little every epoch isn't."""
    before = event.values.get("lr", event.next_lr)
    return before > 0 and not 0.75 < event.next_lr / before < 1.5
