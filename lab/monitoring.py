"""Which epoch was best, by the one monitored figure."""

import math
from collections.abc import Mapping
from typing import Any

from lab.config.sections import Monitor
from lab.events import Values


class Best:
    """Remembers the best epoch's values.

    Args:
        monitor: which value, and which direction is better.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.epoch = 0
        self.values: dict[str, float] = {}

    @property
    def worst(self) -> float:
        """What no run can be worse than."""
        return math.inf if self.monitor.mode == "min" else -math.inf

    def monitored(self, values: Values) -> float:
        """The monitored value.

        Raises:
            ValueError: nothing is logged under that name.
        """
        return named(values, self.monitor.metric)

    def update(self, epoch: int, values: Values) -> bool:
        """Take in one epoch; True where it is the best so far. A value that is not finite never is."""
        new = self.monitored(values)
        best = self.values.get(self.monitor.metric, self.worst)
        improved = math.isfinite(new) and (new < best if self.monitor.mode == "min" else new > best)
        if improved:
            self.epoch, self.values = epoch, dict(values)
        return improved

    def state_dict(self) -> dict[str, Any]:
        """The best epoch and its values."""
        return {"epoch": self.epoch, "values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.values = state["epoch"], dict(state["values"])


def named(values: Values, name: str) -> float:
    """One logged value.

    Raises:
        ValueError: nothing is logged under that name.
    """
    if name not in values:
        raise ValueError(f"nothing is logged as '{name}'; there are: {', '.join(values)}")
    return values[name]
