"""The meaning of a batch, one class for each kind of task."""

from lab.losses.terms import Criterion
from lab.tasks.base import Samples, StepResult, Task
from lab.tasks.classification import Classification
from lab.tasks.regression import Regression
from lab.tasks.scene_graph import SceneGraph
from lab.tasks.segmentation import Segmentation

__all__ = [
    "Classification",
    "Criterion",
    "Regression",
    "Samples",
    "SceneGraph",
    "Segmentation",
    "StepResult",
    "Task",
]
