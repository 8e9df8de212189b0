"""Data sources, named in YAML as `data: lab.data.digits`. Each returns `Splits(train, val, test, facts)`."""

from lab.data.functions import function
from lab.data.handwriting import digits
from lab.data.images import image_folder
from lab.data.manifest import manifest
from lab.data.moving_boxes import moving_boxes
from lab.data.plates import spheroid_plates
from lab.data.sequences import conditioned_discs
from lab.data.splits import Splits
from lab.data.wells import spheroids

__all__ = [
    "Splits",
    "conditioned_discs",
    "digits",
    "function",
    "image_folder",
    "manifest",
    "moving_boxes",
    "spheroid_plates",
    "spheroids",
]
