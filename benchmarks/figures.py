"""Figures: a measured value with its unit, one sentence, and its target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the value, or on its ratio to the baseline."""

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
    """One measured value. ``description`` explains it in one line."""

    name: str
    title: str
    value: float
    unit: str
    description: str
    baseline: float | None = None
    target: Target | None = None
    detail: Mapping[str, float] = field(default_factory=dict)
    """Components of the value, or its spread."""

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the baseline's."""
        return self.value / self.baseline if self.baseline else None

    @property
    def target_met(self) -> bool | None:
        """True if the target is met; None without a target."""
        if self.target is None:
            return None
        number = self.value if self.target.applies_to == "value" else self.ratio
        return number is not None and self.target.is_met(number)

    def to_json(self) -> dict[str, Any]:
        target = self.target
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "target": f"{target.applies_to} {target.comparison} {target.bound:g}"
            if target
            else None,
            "target_met": self.target_met,
            "detail": dict(self.detail),
            "description": self.description,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The figures of one measure, or the error that prevented them."""

    name: str
    title: str
    seconds: float
    figures: Sequence[Figure] = ()
    error: str | None = None


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile. Raises ValueError when there are no values."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
