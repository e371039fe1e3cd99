"""Figures: a value with its unit and one sentence, and what is asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Required:
    """A bound on the value, or on its ratio to the floor."""

    sense: Literal["≤", "<", "≥"]
    bound: float
    of: Literal["value", "ratio"] = "value"

    def holds(self, number: float) -> bool:
        match self.sense:
            case "≤":
                return number <= self.bound
            case "<":
                return number < self.bound
            case "≥":
                return number >= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured. ``says`` explains it in one line."""

    name: str
    title: str
    value: float
    unit: str
    says: str
    floor: float | None = None
    required: Required | None = None
    detail: Mapping[str, float] = field(default_factory=dict)
    """What the value is made of, or how it spread."""

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the floor's."""
        return self.value / self.floor if self.floor else None

    @property
    def ok(self) -> bool | None:
        """Whether the requirement holds; None when there is none."""
        if self.required is None:
            return None
        number = self.value if self.required.of == "value" else self.ratio
        return number is not None and self.required.holds(number)

    def as_json(self) -> dict[str, Any]:
        required = self.required
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "ratio": self.ratio,
            "required": f"{required.of} {required.sense} {required.bound:g}" if required else None,
            "ok": self.ok,
            "detail": dict(self.detail),
            "says": self.says,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one measure found, or why it found nothing."""

    name: str
    title: str
    seconds: float
    figures: Sequence[Figure] = ()
    broken: str | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
