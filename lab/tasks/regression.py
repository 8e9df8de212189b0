"""Numbers from inputs."""

from pathlib import Path
from typing import Any

from lab.figures.samples import regression_figure
from lab.losses.targets import as_numbers
from lab.tasks.base import Criterion, Samples, Task, array, require_same_shape


class Regression(Task):
    """Outputs and targets of one shape; the prediction is the raw output."""

    tensors = True
    pictured = 500

    def fit(self, output: Any, target: Any) -> Any:
        """The target as floats; refuses shapes that would silently broadcast.

        Raises:
            Unfit: output and target differ in shape, such as (N, 1) and (N,).
        """
        require_same_shape(output, target, "target is")
        return as_numbers(target, output)

    def finite(self, criterion: Criterion) -> bool:
        """Targets are numbers, whatever the loss."""
        return True

    def draw(self, samples: Samples, path: Path, title: str) -> bool:
        """Truth and prediction, as a curve where there is one input."""
        inputs, *_ = samples.inputs
        regression_figure(
            array(inputs), array(samples.targets), array(samples.predictions), path, title=title
        )
        return True
