from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.data.file_problems import MOST_SHOWN
from lab.predict.prediction import Prediction, prepare_output


class Made(Prediction):
    def lines(self) -> Iterable[str]:
        return ["made"]


def test_a_screenful_of_failures_is_printed() -> None:
    done = Made(Path("out"), notes=["odd"])
    assert done.as_text().splitlines() == ["Warning: odd", "made"]
    for n in range(MOST_SHOWN + 5):
        done.fail(f"im{n}", ValueError(f"im{n}.png: empty file"))
    lines = done.as_text().splitlines()
    assert lines[1:3] == ["Failed: im0.png: empty file", "Failed: im1.png: empty file"]
    assert lines[MOST_SHOWN + 1 :] == [
        "  … and 5 more, see out/prediction.json", "made", f"{MOST_SHOWN + 5} failed."
    ]  # fmt: skip


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    prepare_output([tmp_path / "a" / "b" / "x.png", tmp_path / "a" / "y.png"], [], force=False)
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file/below: can't be written: Not a directory"):
        prepare_output([tmp_path / "file" / "below" / "x.png"], [], force=False)
