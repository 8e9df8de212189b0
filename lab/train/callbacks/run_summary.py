"""Write `summary.json`: a run's settings, outcome and results in one small file."""

import math
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from lab.config import ConfigError, RunConfig
from lab.config.saved_config import written
from lab.console.formatting import format_number
from lab.console.streams import SafeStream
from lab.events import RUNNING, Callback, Outcome, RunEnd, RunResult, RunStart, Stopped
from lab.store import file_io, paths, run_folder
from lab.store.definitions import newest
from lab.store.error_text import kind_and_text
from lab.store.redact import redact, redact_text
from lab.train.callbacks.progress_bar import Style

T = TypeVar("T")


class Summary(Callback):
    """The summary of a single run: written when it starts, with outcome `running`, and again when it ends."""

    def __init__(self) -> None:
        self._start: RunStart | None = None
        self._head: dict[str, object] = {}

    def on_run_start(self, event: RunStart) -> None:
        """Write the summary of a run that has just started."""
        self._start = event
        self._head = {
            "project": event.project,
            "name": event.name,
            "outcome": RUNNING,
            "seed": event.seed,
            "monitor": event.config.get("monitor"),
            "loss_mean": event.loss_mean,
            "device": event.device,
            "parameters": event.parameters,
            **({"loss_parameters": event.loss_parameters} if event.loss_parameters else {}),
            "definitions": dict(event.definitions),
            "started": _now(),
        }
        run_folder.write_summary(event.run_dir, {**self._head, "config": event.config})

    def on_run_end(self, event: RunEnd) -> None:
        """Add the outcome and the results."""
        if self._start is None:
            return
        result = {**_results(event), "best_epoch": event.best_epoch, "config": self._start.config}
        run_folder.write_summary(self._start.run_dir, {**self._head, **result})


def _results(end: RunEnd) -> dict[str, object]:
    """Return the entries of a finished run, of one seed or of several."""
    names = ("outcome", "reason", "value", "best", "last", "epochs", "seconds", "samples_per_second")
    return {name: getattr(end, name) for name in names} | {"ended": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class RepeatsSummary:
    """The summary of a run of several seeds or folds: mean, spread and table; a context around them all."""

    def __init__(self, folder: Path, config: RunConfig, console: Style) -> None:
        self._folder, self._config, self._console = folder, config, console
        self._names = tuple(config.repeats)
        self._kind = "seed" if config.folds is None else "fold"
        self._results: list[tuple[str, RunResult]] = []
        self._started = time.perf_counter()
        self._head = {
            "project": config.project,
            "name": config.name,
            "monitor": config.monitor.model_dump(mode="json"),
            "started": _now(),
            "config": redact(config.as_data()),
        }

    def __enter__(self) -> "RepeatsSummary":
        # Kept to undo the start: only the first seed finds out whether the components can be built.
        paths = [self._folder / name for name in (run_folder.CONFIG, run_folder.SUMMARY)]
        self._before = {path: path.read_bytes() if path.exists() else None for path in paths}
        file_io.atomic_write(self._folder / run_folder.CONFIG, written(self._config.as_data()))
        run_folder.write_summary(self._folder, {**self._head, "outcome": RUNNING})
        return self

    def add(self, result: RunResult) -> None:
        """Add the next finished seed or fold."""
        number = self._names[len(self._results)].partition("_")[2]
        self._results.append((number, result))

    def unless_stopped(self, repeats: Iterable[T]) -> Iterator[T]:
        """Yield the repeats, until one is pruned or otherwise stopped: that ends the whole run."""
        for repeat in repeats:
            yield repeat
            if self._stopped() is not None:
                return

    def _stopped(self) -> RunResult | None:
        return next((result for _, result in self._results if result.outcome.ends_all_repeats), None)

    @property
    def result(self) -> RunResult:
        """The mean over the repeats; infinitely bad where one of them diverged."""
        return RunResult(self._end(Outcome.COMPLETED), self._folder)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError) and not self._results:
            self._restore()
            return
        stopped = isinstance(error, (KeyboardInterrupt, Stopped)) or file_io.is_storage_fault(
            error, self._folder
        )
        broken = Outcome.INTERRUPTED if stopped else Outcome.FAILED
        end = self._end(Outcome.COMPLETED if error is None else broken)
        table = [
            {
                self._kind: int(number),
                "outcome": result.outcome,
                "value": float(result),
                **{name: getattr(result, name) for name in ("best", "last", "epochs", "seconds")},
                "folder": result.run_dir.name,
            }
            for number, result in self._results
        ]
        reason = redact_text(kind_and_text(error)) if error is not None else end.reason
        summary = {
            **_results(replace(end, reason=reason)),
            "spread": self._spread(),
            "definitions": newest(
                (run_folder.read_summary(result.run_dir) or {}).get("definitions")
                for _, result in self._results
            ),
            f"{self._kind}s": table,
        }
        run_folder.write_summary(self._folder, {**self._head, **summary})
        self._print(end)

    def _restore(self) -> None:
        """Undo the start, for a config that was refused: restore an existing run, remove a new one."""
        for path, content in self._before.items():
            if content is None:
                path.unlink()
            else:
                file_io.atomic_write(path, content)
        for below in run_folder.repeats(self._folder):
            if not any(below.iterdir()):
                below.rmdir()

    def _end(self, outcome: Outcome) -> RunEnd:
        results = [result for _, result in self._results]
        diverged = [number for number, result in self._results if result.outcome is Outcome.DIVERGED]
        reason = ""
        if outcome is Outcome.COMPLETED and (stopped := self._stopped()):
            outcome, reason = stopped.outcome, stopped.reason
        elif diverged:
            outcome = Outcome.DIVERGED if outcome is Outcome.COMPLETED else outcome
            reason = f"{self._kind} {', '.join(diverged)} diverged"
        return RunEnd(
            outcome=outcome,
            reason=reason,
            epochs=max((result.epochs for result in results), default=0),
            value=statistics.fmean(results) if results else math.nan,
            best_epoch=0,
            best=self._mean("best"),
            last=self._mean("last"),
            seconds=time.perf_counter() - self._started,
            samples_per_second=statistics.fmean(r.samples_per_second for r in results) if results else 0.0,
        )

    def _columns(self, which: Literal["best", "last"]) -> dict[str, list[float]]:
        rows = [result.best if which == "best" else result.last for _, result in self._results]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name, math.nan) for row in rows] for name in [self._config.main_loss, *names]}

    def _mean(self, which: Literal["best", "last"]) -> dict[str, float]:
        return {name: statistics.fmean(v) if v else math.nan for name, v in self._columns(which).items()}

    def _spread(self) -> dict[str, float]:
        """Return the sample standard deviation over the repeats; NaN for one seed, or where one diverged."""
        return {
            name: statistics.stdev(v) if len(v) > 1 and all(map(math.isfinite, v)) else math.nan
            for name, v in self._columns("best").items()
        }

    def _print(self, end: RunEnd) -> None:
        out = SafeStream()
        if self._console == "json":
            event = {"event": f"{self._kind}s_end", "value": end.value, "best": end.best}
            out.write(f"{file_io.printed_json(event)}\n")
            out.flush()
            return
        if not self._results:
            return
        spread = self._spread()
        lines = ["", f"{len(self._results)} {self._kind}s: mean ± standard deviation of the best epochs"]
        for name, mean in end.best.items():
            if name != "lr":
                each = "  ".join(format_number(value) for value in self._columns("best")[name])
                lines.append(f"  {name:<20} {format_number(mean)} ± {format_number(spread[name])}   ({each})")
        out.write("\n".join([*lines, f"  in {paths.shown(self._folder)}", ""]))
        out.flush()
