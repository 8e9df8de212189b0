from typing import Any

import pytest

from lab.config.dataset_info import DatasetInfo
from lab.data.class_counts import as_text, class_counts


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {
                "classes": ["cat", "dog"],
                "counts": {"train": {"cat": 1400, "dog": 7}, "val": {"cat": 4}, "test": {}},
            },
            "2 classes: cat 1,400 + 4, dog 7 + 0",
        ),
        ({"classes": ["sky", "car", "road"], "counts": {"train": 3, "val": 1}}, "3 classes: sky, car, road"),
        ({"classes": ["x" * 30, "a\nb"], "counts": {}}, f"2 classes: {'x' * 23}…, a b"),
    ],
)
def test_classes_and_counts_on_a_line(facts: dict[str, Any], text: str) -> None:
    assert as_text(class_counts(DatasetInfo.from_facts(facts))) == text


def test_of_many_classes_the_first_ones() -> None:
    counts = {str(k): k for k in range(1000)}
    text = as_text(class_counts(DatasetInfo(classes=list(counts), counts={"train": counts, "val": counts})))
    assert text.startswith("1,000 classes: 0 0 + 0, 1 1 + 1, ") and text.endswith("9 9 + 9 and 990 more")


@pytest.mark.parametrize("facts", [{}, {"classes": ["background", "foreground"]}, {"classes": 3}])
def test_data_without_classes_of_its_own(facts: dict[str, Any]) -> None:
    assert class_counts(DatasetInfo.from_facts(facts)) == {}
