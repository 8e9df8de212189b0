"""Names in figures: long ones are cut, and those that are no text have their bytes escaped."""

import os
from pathlib import Path

import pytest
from PIL import Image

from lab.figures import canvas

NAME = os.fsdecode(b"gr\xf6\xdfe.png")


@pytest.mark.parametrize("place", ["title", "tick", "legend", "text", "head"])
def test_a_name_that_is_no_text(tmp_path: Path, place: str) -> None:
    def drawn(name: str, file: str) -> bytes:
        figure, (ax,) = canvas.grid(1, 1)
        canvas.plain(ax, name if place == "title" else "title", "below")
        ax.plot([0, 1], [1, 2], label=name if place == "legend" else "line")
        if place == "tick":
            ax.set_xticks([0, 1], labels=["a", name])
        ax.text(0, 1, name if place == "text" else "text")
        ax.legend()
        canvas.save(figure, tmp_path / file, name if place == "head" else None)
        with Image.open(tmp_path / file) as image:
            return image.tobytes()

    assert drawn(NAME, "a.png") == drawn(r"gr\xf6\xdfe.png", "b.png") != drawn("x.png", "c.png")


def test_a_long_name_is_cut_in_its_middle() -> None:
    assert [canvas.cut_middle("optimizer.weight_decay", limit) for limit in (30, 9)] == [
        "optimizer.weight_decay",
        "opti…ecay",
    ]
