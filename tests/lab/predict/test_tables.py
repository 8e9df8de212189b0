"""What the tables say, cell by cell."""

import csv
import io

import pytest

from lab.predict.connected_objects import MaskObject
from lab.predict.tables import Scores, means, metrics_csv, object_rows, objects_csv

OBJECT = MaskObject(1, 2, 314, 62.5, 10.25, 4096.123, 3, 4, 20, 21)
NAMES = ["background", "cell", "de,bris"]


def test_an_object_in_pixels_and_in_microns() -> None:
    text = objects_csv(object_rows("a", [OBJECT], NAMES, 0.5), 0.5)
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {
        "image": "a", "label": "1", "class": "de,bris", "area_px": "314", "equivalent_diameter_px": "19.9949",
        "circularity": "1", "centroid_x_px": "10.25", "centroid_y_px": "4096.12", "left_px": "3",
        "top_px": "4", "width_px": "20", "height_px": "21", "area_um2": "78.5",
        "equivalent_diameter_um": "9.99746", "centroid_x_um": "5.125", "centroid_y_um": "2048.06",
    }  # fmt: skip


def test_without_a_pixels_size_there_is_nothing_in_microns() -> None:
    assert "um" not in objects_csv([], None) and objects_csv([], None).startswith(
        "image,label,class,area_px,"
    )


def test_what_is_not_there_is_left_empty_and_out_of_the_mean() -> None:
    scores: Scores = {
        "a": {"cell": {"dice": 0.5, "iou": 1 / 3, "precision": 1.0, "recall": 1 / 3}},
        "b": {"cell": dict.fromkeys(("dice", "iou", "precision", "recall"))},
        "c": {"cell": {"dice": 1.0, "iou": 1.0, "precision": 0.5, "recall": 1.0}},
    }
    assert metrics_csv(scores) == (
        "image,class,dice,iou,precision,recall\na,cell,0.5,0.333333,1,0.333333\nb,cell,,,,\nc,cell,1,1,0.5,1\n"
    )
    assert means(scores) == {
        "cell": {"dice": 0.75, "iou": pytest.approx(2 / 3), "precision": 0.75, "recall": pytest.approx(2 / 3)}
    }
