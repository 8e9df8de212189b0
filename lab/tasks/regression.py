"""Numbers from inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.figures.samples import regression_figure
from lab.tasks.base import Criterion, Samples, StepResult, Task, array, require_same_shape


class Regression(Task):
    """Outputs and targets of one shape; the prediction is the raw output."""

    pictured = 500

    def step(self, model: Callable[..., Any], criterion: Criterion, batch: Any) -> StepResult:
        """As for every task; refuses shapes that would silently broadcast.

        Raises:
            ValueError: output and target differ in shape, such as (N, 1) and (N,).
        """
        return require_same_shape(super().step(model, criterion, batch), "target is")

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """Truth and prediction, as a curve where there is one input."""
        inputs, *_ = samples.inputs
        regression_figure(
            array(inputs), array(samples.targets), array(samples.predictions), path, title=title
        )
        return True
