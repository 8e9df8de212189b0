"""What a person sees of a study: a line for each finished trial, and where the whole stands."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import IO, Any

from lab.console.formatting import format_duration, format_number
from lab.console.streams import SafeStream, columns
from lab.console.table import cut
from lab.events import Outcome
from lab.store.file_io import printed_json
from lab.train.callbacks.progress_bar import Style


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
        """What is to be done."""
        self._json("study_start", **facts)
        for name, text in lines.items():
            self._line(f"{name:<9}{text}")

    def trial_started(
        self, number: int, values: Mapping[str, Any], device: str | None, resumed: bool
    ) -> None:
        """One trial is at work."""
        self._json("trial_start", trial=number, params=values, device=device, resumed=resumed)
        if resumed:
            self._line(f"Trial {number:>3}  goes on from its checkpoint")

    def trial_over(
        self,
        number: int,
        outcome: Outcome,
        objectives: Mapping[str, float],
        values: Mapping[str, Any],
        *,
        epochs: int,
        seconds: float,
        cause: str,
        best: bool,
        state: str,
        shown: Mapping[str, Any] | None = None,
    ) -> None:
        """One trial's line.

        Args:
            values: of the parameters; `shown` has the names of choices for people.
        """
        self._json(
            "trial_end", trial=number, outcome=outcome, values=objectives, params=values, epochs=epochs,
            seconds=seconds, cause=cause, best=best,
        )  # fmt: skip
        good = outcome.is_success
        result = (
            "  ".join(f"{name} {format_number(value)}" for name, value in objectives.items()) if good else ""
        )
        named = values if shown is None else shown
        point = "  ".join(f"{name}={_shown(value)}" for name, value in named.items())
        mark = "  * best" if best else ""
        title = outcome.replace("_", " ")
        count = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        self._line(
            f"Trial {number:>3}  {title:<13} {result}  ({count}, {format_duration(seconds)}){mark}  {point}"
        )
        if not good:
            self._line(f"           {cause}")
        if not self.live:
            self._line(f"           {state}")

    def note(self, text: str) -> None:
        """Something worth a line, shown even when quiet."""
        self._json("note", message=text)
        is_word = text.partition(" ")[0].rstrip(":,;").isalpha()  # a path or a name stays as it is
        self._line(text[:1].upper() + text[1:] if is_word else text, always=True)

    def status(self, text: str) -> None:
        """Where the study stands, on a terminal in its last line."""
        if not self.live:
            self._line(text)
        elif text != self._status:
            self._status = cut(
                text, columns(self._out) - 1
            )  # of a line that wraps only the last part can be cleared
            self._write(f"\r\x1b[K{self._status}")

    def end(self, lines: Sequence[str], **facts: Any) -> None:
        """How it ended and where everything is."""
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
