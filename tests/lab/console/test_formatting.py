import math

import pytest

from lab.console.formatting import format_duration, format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.5, "0.5000"), (-0.5, "-0.5000"), (1.0, "1.0000"), (0.001, "0.0010"),
        (0.00099, "9.900e-04"), (9999.0, "9999.0000"), (10000.0, "1.000e+04"), (-1e-9, "-1.000e-09"),
        (0, "0"), (-3, "-3"), (123456, "123456"), (14321937, "1.432e+07"),
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"),
        (None, "–"), (True, "–"), ("x", "–"),
    ],
)  # fmt: skip
def test_figure(value: object, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"), (0.0002, "0.2 ms"), (0.0025, "2.5 ms"), (0.0125, "12 ms"), (0.84, "840 ms"),
        (0.9996, "1.0 s"), (1, "1.0 s"),
        (42.04, "42.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185.4, "3 min 05 s"),
        (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (7620, "2 h 07 min"), (86399.6, "1 d 00 h"),
        (273600, "3 d 04 h"),
        (math.nan, "–"), (math.inf, "–"), (-1, "–"), (None, "–"), (True, "–"), ("1", "–"),
    ],
)  # fmt: skip
def test_duration(seconds: object, text: str) -> None:
    assert format_duration(seconds) == text
