"""The tables of a prediction: a row an object, and a row an image and class."""

from collections.abc import Iterable, Mapping, Sequence

from lab.predict.connected_objects import MaskObject
from lab.predict.mask_scores import MEASURES
from lab.store.file_io import to_csv

OBJECTS, METRICS = "objects.csv", "metrics.csv"
_PIXELS = (
    "area_px",
    "equivalent_diameter_px",
    "circularity",
    "centroid_x_px",
    "centroid_y_px",
    "left_px",
    "top_px",
    "width_px",
    "height_px",
)
_MICRONS = ("area_um2", "equivalent_diameter_um", "centroid_x_um", "centroid_y_um")
Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""image -> class -> measure."""


def object_columns(pixel_size: float | None) -> list[str]:
    """The names of what `object_rows` gives."""
    return ["image", "label", "class", *_PIXELS, *(() if pixel_size is None else _MICRONS)]


def object_rows(
    image: str, objects: Iterable[MaskObject], classes: Sequence[str], pixel_size: float | None
) -> list[list[object]]:
    """A row an object; with a pixel's size in µm, its size and place in µm too."""
    rows = []
    for each in objects:
        measured = [each.area, each.diameter, each.circularity, each.x, each.y]
        row = [
            image,
            each.label,
            classes[each.index],
            *measured,
            each.left,
            each.top,
            each.width,
            each.height,
        ]
        if pixel_size is not None:
            row += [each.area * pixel_size**2, *(v * pixel_size for v in (each.diameter, each.x, each.y))]
        rows.append(row)
    return rows


def objects_csv(rows: Iterable[Sequence[object]], pixel_size: float | None) -> str:
    """`objects.csv`, its head included."""
    return to_csv(object_columns(pixel_size), rows)


def metrics_csv(scores: Scores) -> str:
    """`metrics.csv`: a row an image and class; what a class that isn't there would score is left empty."""
    rows = (
        [image, name, *values.values()]
        for image, by_class in scores.items()
        for name, values in by_class.items()
    )
    return to_csv(["image", "class", *MEASURES], rows)


def means(scores: Scores) -> dict[str, dict[str, float]]:
    """class -> measure -> the mean over the images that have it."""
    found: dict[str, dict[str, list[float]]] = {}
    for by_class in scores.values():
        for name, values in by_class.items():
            for key, value in values.items():
                found.setdefault(name, {}).setdefault(key, [])
                if value is not None:
                    found[name][key].append(value)
    return {
        name: {key: sum(values) / len(values) for key, values in by_key.items() if values}
        for name, by_key in found.items()
    }
