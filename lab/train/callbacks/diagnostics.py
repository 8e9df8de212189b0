"""Warnings, once each, of signs in the curves that a training goes wrong."""

import math
from collections.abc import Callable, Iterator

from lab.checkpoint import StateDict
from lab.config.sections import DiagnosticsConfig
from lab.events import Callback, EpochEnd, Note

ONE_CLASS = "val_one_class"
_LASTING = 3  # epochs: a network often begins with one class everywhere, and a single epoch proves little


class Diagnostics(Callback):
    """A low metric late in the training, a wide gap to the training data, predictions of one class only.

    Args:
        notify: receives the warnings.
    """

    def __init__(self, config: DiagnosticsConfig, notify: Callable[[Note], None]) -> None:
        self._config, self._notify = config, notify
        self._warned: set[str] = set()
        self._wide = 0  # epochs in a row with too wide a gap

    def state_dict(self) -> dict[str, object]:
        """Return the warnings that were made, and for how long the gap has been wide."""
        return {"told": sorted(self._warned), "wide": self._wide}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from a `state_dict`."""
        self._warned, self._wide = set(state["told"]), state["wide"]

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Warn of new findings."""
        for kind, text in self._findings(event):
            if kind not in self._warned:
                self._warned.add(kind)
                self._notify(Note(f"epoch {event.epoch}: {text}", "warning"))

    def _findings(self, event: EpochEnd) -> Iterator[tuple[str, str]]:
        config, values = self._config, event.values
        name = config.metric
        val = values.get(f"val_{name}", math.nan)
        train = values.get(f"train_{name}", math.nan)
        if event.epoch >= config.after_epochs and val < config.least:
            found = f"val_{name} is {val:.3f} and should be {config.least:g} by now; look at the plots"
            yield (
                "low",
                f"{found}: do the masks fit, are patches centred on objects, are some images different?",
            )
        self._wide = self._wide + 1 if train - val > config.gap + 1e-9 else 0
        if self._wide >= _LASTING:
            found = (
                f"for {_LASTING} epochs the gap is wide: train_{name} is {train:.3f} and val_{name} {val:.3f}"
            )
            yield "gap", f"{found}; more augmentation, fewer patches an image or a smaller network may help"
        if event.epoch >= _LASTING and values.get(ONE_CLASS, 0.0) >= 1.0:
            yield "one class", "the network predicts one class for every pixel of the validation images"
