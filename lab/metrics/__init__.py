"""Metrics that gather on the device and are read once an epoch; in YAML `dice: lab.metrics.Dice`."""

from lab.metrics.base import Metric
from lab.metrics.classification import F1, Accuracy, ClassPrecision, ClassRecall
from lab.metrics.regression import MAE, R2, RMSE
from lab.metrics.scene_graph import GraphRecall
from lab.metrics.segmentation import Dice, IoU, OneClass, Precision, Recall

__all__ = [
    "F1",
    "MAE",
    "R2",
    "RMSE",
    "Accuracy",
    "ClassPrecision",
    "ClassRecall",
    "Dice",
    "GraphRecall",
    "IoU",
    "Metric",
    "OneClass",
    "Precision",
    "Recall",
]
