import base64

import pytest
from jinja2 import UndefinedError

from lab.report.pages import counted, embedded, render


def test_what_was_judged() -> None:
    assert counted(1, "test", []) == "1 test image"
    assert counted(1200, "val", []) == "1,200 validation images"
    assert counted(60, "val", ["fold_0", "fold_1"]) == "60 held-out images of 2 folds"
    assert counted(60, "test", ["fold_0", "fold_1"]) == "60 test images of 2 folds"
    assert counted(24, "test", ["seed_0", "seed_1"]) == "24 test images of 2 seeds"
    assert counted(3, "test", [], "video") == "3 test videos"


def test_a_picture_is_part_of_the_page() -> None:
    kind, _, content = embedded(b"\x89PNG").partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == b"\x89PNG"


def test_what_a_template_needs_must_be_given() -> None:
    assert "sortable" in render("study_sort.js", {})
    with pytest.raises(UndefinedError):
        render("classification_page.html.j2", {"figure": str, "area": str, "spread": str})
