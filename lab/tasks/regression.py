"""Numbers from inputs."""

from pathlib import Path

from lab.figures.samples import regression_figure
from lab.losses.targets import as_numbers
from lab.losses.terms import Criterion, Output, Target
from lab.tasks.base import Samples, Task, array, require_same_shape


class Regression(Task):
    """Outputs and targets of one shape; the prediction is the raw output."""

    tensors = True
    pictured = 500

    def fit(self, output: Output, target: Target) -> Target:
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
