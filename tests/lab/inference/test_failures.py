from pathlib import Path

from lab.data.problems import MOST_SHOWN
from lab.inference.failures import Failure, told


def test_a_screenful_of_failures_is_told() -> None:
    failed = [Failure(f"im{n}", f"im{n}.png: empty file") for n in range(MOST_SHOWN + 5)]
    assert told(failed[:2], Path("out")) == ["Failed: im0.png: empty file", "Failed: im1.png: empty file"]
    lines = told(failed, Path("out"))
    assert len(lines) == MOST_SHOWN + 1 and lines[-1] == "  … and 5 more, see out/prediction.json"
    assert told([], Path("out")) == []
