import base64

import pytest
from jinja2 import UndefinedError

from lab.report.html_page import embedded, render


def test_a_picture_is_part_of_the_page() -> None:
    kind, _, content = embedded(b"\x89PNG").partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == b"\x89PNG"


def test_what_a_template_needs_must_be_given() -> None:
    assert "sortable" in render("study_sort.js", {})
    with pytest.raises(UndefinedError):
        render("evaluation_base.html.j2", {"duration": str})
