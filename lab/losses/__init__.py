"""Losses that torch does not ship, named in YAML as `criterion: {target: lab.losses.BCEDice}`.

Each is a module that takes the network's raw output and the target.
"""

from lab.losses.scene_graph import SceneGraphLoss
from lab.losses.segmentation import BCEDice, CrossEntropy, WeightedSum
from lab.losses.terms import Loss

__all__ = ["BCEDice", "CrossEntropy", "Loss", "SceneGraphLoss", "WeightedSum"]
