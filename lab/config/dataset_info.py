"""The facts that data declares about itself: every key that the program writes or reads, with its type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypedDict

from lab.config.mask_values import Auto, Background, background_index

Facts: TypeAlias = Mapping[str, Any]
"""Plain data by name, as in `Splits.facts` and checkpoints: fields of `DatasetInfo` and a user's own keys."""

NO_FACTS: Facts = {}

DECISIVE = ("classes", "background", "sequences")
"""Fields that a network depends on: a run can't be resumed with other ones."""

MEASURED = ("mean", "std", "counts")
"""Fields whose change is reported when a run is resumed."""

SCENE_GRAPH = ("objects", "relations", "exclusive", "features", "mode", "dataset")
"""Fields that the evaluation of scene graphs requires."""


class MaskValues(TypedDict):
    """Arguments of `lab.data.masks.MaskReader` that read masks of the same source again."""

    classes: Mapping[str, int | str]
    ignore: int | str | None
    ignore_others: bool


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Metadata of a dataset. A field that isn't declared has its default.

    Args:
        in_channels, size: of images: channels, and [height, width] where all have one.
        classes: names by index.
        background: the name of the class that is no object; None: each is one; `auto`: the one called so.
        normalise: see `lab.data.normalization.Mode`; mean, std: by channel, for `train`.
        sequences: index by the name of a sequence, where the network gets one beside the image.
        counts: samples in each set, or in each set by class; `unlabelled`: those that are in no set.
        split: the names of the samples in each set.
        class_weights: one a class, so that rare ones weigh as much as frequent ones.
        without_objects: names of training images that show nothing but background.
        patches: counts of objects in images that patches are cut from.
        depths: the largest value in the files of each type; value_range: the stated one.
        mask_values: the values in mask files, where the layout of the data defines them.
        layout: a description of how a folder was read.
        file_sizes: parallel to `split`, the bytes of each sample's files.
        warnings: sentences on the data, printed when a run starts.
        objects, relations, exclusive: see `lab.graphs.Vocabulary`.
        features, mode, dataset: of scene graphs: numbers that describe a box, what is given, and whose
            protocol of evaluation is followed.
    """

    in_channels: int | None = None
    size: Sequence[int] | None = None
    classes: Sequence[str] = ()
    background: str | Auto | None = Auto.AUTO
    normalise: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    sequences: Mapping[str, int] | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Sequence[str]] = field(default_factory=dict)
    class_weights: Sequence[float] | None = None
    without_objects: Sequence[str] = ()
    patches: Mapping[str, Any] | None = None
    depths: Mapping[str, float] = field(default_factory=dict)
    value_range: Sequence[float] | None = None
    mask_values: MaskValues | None = None
    layout: str = ""
    file_sizes: Mapping[str, Sequence[int]] | None = None
    warnings: Sequence[str] = ()
    objects: Sequence[str] = ()
    relations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    exclusive: Sequence[str] = ()
    features: int | None = None
    mode: str = ""
    dataset: str = ""

    @classmethod
    def from_facts(cls, facts: Facts) -> "DatasetInfo":
        """The fields among the facts; a user's own keys are left out, and no value is validated."""
        return cls(**{name: facts[name] for name in _NAMES if name in facts})

    def to_facts(self) -> dict[str, object]:
        """The declared fields as plain data, for `Splits.facts`."""
        values = ((name, getattr(self, name)) for name in _NAMES)
        return {name: value for name, value in values if value != getattr(_UNDECLARED, name)}

    @property
    def background_class(self) -> Background:
        """The index of the class that is no object, or `auto` where the data names no classes.

        Raises:
            ValueError: `background` is none of the classes.
        """
        if not isinstance(self.classes, Sequence) or isinstance(self.classes, str) or not self.classes:
            return Auto.AUTO
        return background_index([str(name) for name in self.classes], self.background)


_NAMES = tuple(each.name for each in fields(DatasetInfo))
_UNDECLARED = DatasetInfo()
