"""Warns, once each, of what a person would see in the curves of a training that goes wrong."""

from collections.abc import Callable, Iterator

from lab.config.sections import DiagnosticsConfig
from lab.events import Callback, EpochEnd, Note

ONE_CLASS = "val_one_class"
_SETTLED = 3  # epochs; a network often begins with one class everywhere


class Diagnostics(Callback):
    """A low metric late in the training, a wide gap to the training data, predictions of one class only.

    Args:
        notify: takes the warnings.
    """

    def __init__(self, config: DiagnosticsConfig, notify: Callable[[Note], None]) -> None:
        self._config, self._notify = config, notify
        self._told: set[str] = set()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Warn of what is new."""
        for kind, text in self._findings(event):
            if kind not in self._told:
                self._told.add(kind)
                self._notify(Note(f"epoch {event.epoch}: {text}", "warning"))

    def _findings(self, event: EpochEnd) -> Iterator[tuple[str, str]]:
        config, values = self._config, event.values
        name = config.metric
        val, train = values.get(f"val_{name}"), values.get(f"train_{name}")
        if val is not None and event.epoch >= config.after_epochs and val < config.least:
            yield (
                "low",
                (
                    f"val_{name} is {val:.3f} and should be {config.least:g} by now; look at the pictures: "
                    "do the masks fit, are patches centred on objects, are some images unlike the others?"
                ),
            )
        if val is not None and train is not None and train - val > config.gap + 1e-9:
            text = f"train_{name} is {train:.3f} and val_{name} {val:.3f}: the network learns images by heart"
            yield "gap", f"{text}; more augmentation, fewer patches an image or a smaller network may help"
        if event.epoch >= _SETTLED and values.get(ONE_CLASS, 0.0) >= 1.0:
            yield "one class", "the network predicts one class for every pixel of the validation images"
