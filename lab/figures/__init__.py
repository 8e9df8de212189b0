"""Figures of a run: curves over the epochs, panels of samples, several runs in one figure.

Matplotlib is imported where it is needed and used through its object interface, without global state: a
figure can be drawn in any thread, without a display, and beside a user's own pyplot figures.
"""

from lab.figures.curves import history, overlay
from lab.figures.panels import difference, panel, stack, to_rgb
from lab.figures.samples import classification_figure, dice, regression_figure, segmentation_figure

__all__ = [
    "classification_figure",
    "dice",
    "difference",
    "history",
    "overlay",
    "panel",
    "regression_figure",
    "segmentation_figure",
    "stack",
    "to_rgb",
]
