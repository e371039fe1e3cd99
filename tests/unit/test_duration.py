"""Lengths of time as people read them."""

import pytest

from chatd.domain.duration import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.26, "0.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (61, "1 min 1 s"),
        (119.9, "1 min 59 s"),
        (3599.9, "59 min 59 s"),
        (7260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
        (-3.2, "-3.2 s"),
        (-0.01, "0.0 s"),
        (-90, "-1 min 30 s"),
    ],
)
def test_duration_with_tenths_of_seconds(seconds: float, text: str) -> None:
    assert format_duration(seconds, decimals=1) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (90, "1 min"), (3700, "1 h"), (200_000, "2 d")],
)
def test_duration_in_one_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds, units=1) == text


def test_duration_in_whole_seconds() -> None:
    assert format_duration(12.7) == "13 s"
    assert format_duration(150) == "2 min 30 s"
