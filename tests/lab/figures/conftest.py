from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lab.figures import canvas, classification, curves, samples


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that were saved, so that a test can read what is written in them."""
    kept: list[Figure] = []

    def save(figure: Figure, path: Path, title: str | None = None) -> None:
        kept.append(figure)
        canvas.save(figure, path, title)

    for module in (classification, curves, samples):
        monkeypatch.setattr(module, "save", save)
    yield kept
