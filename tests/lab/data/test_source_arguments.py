"""Arguments that data sources share: each is a field of a dataclass, and a misspelt one is refused."""

from dataclasses import fields
from typing import Any

import pytest

from lab.data import class_folder, class_table, image_folder, manifest, spheroid_plates
from lab.data.classification_files import LabelledReading
from lab.data.segmentation_files import Columns, Reading
from lab.data.segmentation_sets import Serving
from lab.data.source_arguments import (
    ClassFileArguments,
    CutArguments,
    MaskFileArguments,
    PairArguments,
    fields_from,
)
from lab.data.splits import Cut


@pytest.mark.parametrize(
    ("declared", "kinds"),
    [
        (CutArguments, (Cut,)),
        (PairArguments, (Cut, Serving)),
        (MaskFileArguments, (Cut, Serving, Reading)),
        (ClassFileArguments, (Cut, Serving, LabelledReading)),
    ],
)
def test_every_argument_is_a_field(declared: Any, kinds: tuple[Any, ...]) -> None:
    """None is declared that nothing reads; classes of one image each have no patches and no columns."""
    columns = {"group_by", "split_by", "condition"} if declared is MaskFileArguments else set()
    known = {each.name for kind in kinds for each in fields(kind)} | columns
    unused = {"patches", "val_transforms"} if declared is ClassFileArguments else set()
    assert set(declared.__annotations__) == known - unused


def test_fields_that_are_not_given_keep_their_defaults() -> None:
    assert fields_from(Cut, {"seed": 3, "patches": None}) == Cut(0.2, 0.0, 3, None, 0)
    assert Columns.of({"split_by": "set"}) == Columns(None, "set", None)


@pytest.mark.parametrize(
    ("source", "given"),
    [
        (image_folder, {"root": "x"}),
        (manifest, {"path": "x"}),
        (spheroid_plates, {}),
        (class_folder, {"root": "x"}),
        (class_table, {"path": "x"}),
    ],
)
def test_a_misspelt_argument_is_refused(source: Any, given: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'val_shar'; did you mean 'val_share'"):
        source(**given, val_shar=0.5)
