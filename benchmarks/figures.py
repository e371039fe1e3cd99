"""Figures: a value with its unit and one sentence, and what is asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the value, or on its ratio to the floor."""

    comparison: Literal["≤", "<", "≥"]
    bound: float
    applies_to: Literal["value", "ratio"] = "value"

    def is_met(self, value: float) -> bool:
        match self.comparison:
            case "≤":
                return value <= self.bound
            case "<":
                return value < self.bound
            case "≥":
                return value >= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured. ``description`` explains it in one line."""

    name: str
    title: str
    value: float
    unit: str
    description: str
    baseline: float | None = None
    target: Target | None = None
    detail: Mapping[str, float] = field(default_factory=dict)
    """What the value is made of, or how it spread."""

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the floor's."""
        return self.value / self.baseline if self.baseline else None

    @property
    def target_met(self) -> bool | None:
        """Whether the requirement holds; None when there is none."""
        if self.target is None:
            return None
        number = self.value if self.target.applies_to == "value" else self.ratio
        return number is not None and self.target.is_met(number)

    def to_json(self) -> dict[str, Any]:
        required = self.target
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.baseline,
            "ratio": self.ratio,
            "required": f"{required.applies_to} {required.comparison} {required.bound:g}"
            if required
            else None,
            "ok": self.target_met,
            "detail": dict(self.detail),
            "says": self.description,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one measure found, or why it found nothing."""

    name: str
    title: str
    seconds: float
    figures: Sequence[Figure] = ()
    error: str | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
