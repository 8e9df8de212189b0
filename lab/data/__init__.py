"""Data sources, named in YAML as `data: lab.data.digits`. Each returns `Splits(train, val, test, facts)`."""

from lab.data.action_genome import action_genome
from lab.data.class_folder import class_folder
from lab.data.class_table import class_table
from lab.data.detections import DetectionFolder
from lab.data.easg import easg
from lab.data.functions import function
from lab.data.handwriting import digits
from lab.data.images import image_folder
from lab.data.manifest import manifest
from lab.data.moving_boxes import moving_boxes
from lab.data.plates import spheroid_plates
from lab.data.protocols import CollatedDataset, EpochStream, NamedDataset, SampledDataset
from lab.data.sequences import conditioned_discs
from lab.data.shapes import shapes
from lab.data.splits import Splits
from lab.data.wells import spheroids

__all__ = [
    "CollatedDataset",
    "DetectionFolder",
    "EpochStream",
    "NamedDataset",
    "SampledDataset",
    "Splits",
    "action_genome",
    "class_folder",
    "class_table",
    "conditioned_discs",
    "digits",
    "easg",
    "function",
    "image_folder",
    "manifest",
    "moving_boxes",
    "shapes",
    "spheroid_plates",
    "spheroids",
]
