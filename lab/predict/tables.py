"""The tables of a prediction: a row per object, and a row per image and class."""

from collections.abc import Iterable, Mapping, Sequence

from lab.predict.connected_objects import MaskObject
from lab.predict.mask_scores import MEASURES
from lab.store.file_io import to_csv

OBJECTS, METRICS = "objects.csv", "metrics.csv"
_MEASURED = ("area_px", "equivalent_diameter_px", "circularity", "centroid_x_px", "centroid_y_px")
_BOX = ("left_px", "top_px", "width_px", "height_px")
_MICRONS = ("area_um2", "equivalent_diameter_um", "centroid_x_um", "centroid_y_um")
Scores = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""image -> class -> measure."""


def object_rows(
    image: str, objects: Iterable[MaskObject], classes: Sequence[str], pixel_size: float | None
) -> list[list[object]]:
    """Return a row per object; with a pixel size in µm, also its size and position in µm."""
    rows = []
    for each in objects:
        measured = [each.area, each.diameter, each.circularity, each.x, each.y]
        box = [each.left, each.top, each.width, each.height]
        row = [image, each.label, classes[each.index], *measured, *box]
        if pixel_size is not None:
            row += [each.area * pixel_size**2, *(v * pixel_size for v in (each.diameter, each.x, each.y))]
        rows.append(row)
    return rows


def objects_csv(rows: Iterable[Sequence[object]], pixel_size: float | None) -> str:
    """Return `objects.csv` with its header."""
    columns = ["image", "label", "class", *_MEASURED, *_BOX, *(() if pixel_size is None else _MICRONS)]
    return to_csv(columns, rows)


def metrics_csv(scores: Scores) -> str:
    """Return `metrics.csv`: a row per image and class; scores of absent classes are empty."""
    rows = (
        [image, name, *values.values()]
        for image, by_class in scores.items()
        for name, values in by_class.items()
    )
    return to_csv(["image", "class", *MEASURES], rows)


def means(scores: Scores) -> dict[str, dict[str, float]]:
    """Return class -> measure -> the mean over the images that have it."""
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
