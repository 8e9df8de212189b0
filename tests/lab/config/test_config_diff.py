import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.config.config_diff import MISSING, differences, flatten, same

NAMES = st.text("abc", min_size=1, max_size=3)
LEAVES = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=True) | st.text("xyz.", max_size=3)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
CONFIGS = st.dictionaries(NAMES, TREES, max_size=4)


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """The way back, where keys are letters and list positions are digits."""
    root: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        here = root
        for part in above:
            here = here.setdefault(part, {})
        here[last] = value
    return {key: listed(value) for key, value in root.items()}


def listed(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        return value
    parts = {key: listed(item) for key, item in value.items()}
    return list(parts.values()) if all(key.isdigit() for key in parts) else parts


def test_paths_are_dotted_and_lists_are_counted() -> None:
    config = {"optimizer": {"target": "torch.optim.Adam", "betas": [0.9, 0.999]}, "tags": [], "ema": None}
    assert flatten(config) == {
        "optimizer.target": "torch.optim.Adam",
        "optimizer.betas.0": 0.9,
        "optimizer.betas.1": 0.999,
        "tags": [],
        "ema": None,
    }


def test_a_key_with_a_dot_is_no_path() -> None:
    assert flatten({"a": {"b.c": 1}}) == {"a.'b.c'": 1}
    assert differences({"a": {"b.c": 1}}, {"a": {"b": {"c": 1}}}) == [
        ("a.'b.c'", 1, MISSING),
        ("a.b.c", MISSING, 1),
    ]


@given(CONFIGS)
def test_nothing_is_lost(config: dict[str, Any]) -> None:
    assert same(unflatten(flatten(config)), config)


@given(CONFIGS)
def test_a_config_does_not_differ_from_itself(config: dict[str, Any]) -> None:
    assert differences(config, config) == []


@given(CONFIGS, CONFIGS)
def test_differences_lead_from_one_to_the_other_and_back(a: dict[str, Any], b: dict[str, Any]) -> None:
    found = differences(a, b)
    changed = flatten(a)
    for path, mine, other in found:
        assert same(changed.get(path, MISSING), mine)
        changed[path] = other
    assert same({path: value for path, value in changed.items() if value is not MISSING}, flatten(b))
    assert {(path, id(mine), id(other)) for path, other, mine in differences(b, a)} == {
        (path, id(mine), id(other)) for path, mine, other in found
    }


def test_differences_come_in_the_first_config_s_order() -> None:
    a = {"net": {"width": 64, "depth": 4}, "lr": 0.1, "old": 1}
    b = {"new": 2, "lr": 0.2, "net": {"depth": 5, "width": 64}}
    assert differences(a, b) == [
        ("net.depth", 4, 5),
        ("lr", 0.1, 0.2),
        ("old", 1, MISSING),
        ("new", MISSING, 2),
    ]
    assert repr(MISSING) == "–"


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        ("1", 1, False),
        (None, MISSING, False),
        (None, False, False),
        ([1, 2], (1.0, 2), True),
        ([1, 2], [1], False),
        ([True], [1], False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ({"a": 1}, {"b": 1}, False),
        ({}, [], False),
    ],
)
def test_values_are_the_same_as_a_config_means_them(a: Any, b: Any, equal: bool) -> None:
    assert same(a, b) is equal and same(b, a) is equal
