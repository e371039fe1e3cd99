"""Lengths of time, written for people."""

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


def format_duration(seconds: float, *, units: int = 2, decimals: int = 0) -> str:
    """Return a length of time in its ``units`` largest units, such as ``2 h 5 min``.

    ``decimals`` are those of a length under a minute. What is smaller than the last unit is cut off.
    """
    size = round(abs(seconds), decimals)
    sign = "-" if seconds < 0 and size else ""
    for index, (name, length) in enumerate(_UNITS):
        if size >= length:
            text = f"{size // length:.0f} {name}"
            if units > 1:
                smaller, smaller_length = (*_UNITS, ("s", 1))[index + 1]
                text += f" {size % length // smaller_length:.0f} {smaller}"
            return sign + text
    return f"{sign}{size:.{decimals}f} s"
