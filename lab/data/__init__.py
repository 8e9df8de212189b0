"""Data sources, named in YAML as `data: lab.data.digits`. Each returns `Splits(train, val, test, facts)`.

A source is imported when it is first named: all of them would take a tenth of a second of every start.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lab.data.protocols import CollatedDataset, EpochStream, NamedDataset, SampledDataset
from lab.data.splits import Splits

if TYPE_CHECKING:
    from lab.data.sources.action_genome import action_genome
    from lab.data.sources.class_folder import class_folder
    from lab.data.sources.class_table import class_table
    from lab.data.sources.conditioned_discs import conditioned_discs
    from lab.data.sources.detection_folder import DetectionFolder
    from lab.data.sources.digits import digits
    from lab.data.sources.easg import easg
    from lab.data.sources.function import function
    from lab.data.sources.image_folder import image_folder
    from lab.data.sources.manifest import manifest
    from lab.data.sources.moving_boxes import moving_boxes
    from lab.data.sources.shapes import shapes
    from lab.data.sources.spheroid_plates import spheroid_plates
    from lab.data.sources.spheroids import spheroids

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


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> object:
    """Import the source of that name, from the module of its name in `lab.data.sources`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "detection_folder" if name == "DetectionFolder" else name
    return getattr(import_module(f"lab.data.sources.{module}"), name)
