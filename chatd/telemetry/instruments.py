"""Numbers that are counted, measured or read, each with a name, a meaning and bounded labels."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

LabelValues = tuple[str, ...]
"""The values of the labels, in the order of the labels."""

AllowedValues = Collection[str] | None
"""What a label may say; None: what the configuration or the code bounds."""

OTHER = "other"
MAX_SERIES = 1_000
"""Combinations of label values that one metric keeps apart."""

DEFAULT_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
)
"""Upper bounds of the buckets of whatever takes time: from a round trip to a long turn."""


class _LabelledMetric:
    """A metric's name, what it means, and what its labels may say."""

    def __init__(self, name: str, description: str, labels: Mapping[str, AllowedValues]) -> None:
        self.name = name
        self.description = description
        self.labels = tuple(labels)
        self._allowed_values = tuple(labels.values())

    def _initial_series(self) -> Iterable[LabelValues]:
        """Combinations that are there from the start, so that the first rise of each is seen."""
        known = [vocabulary for vocabulary in self._allowed_values if vocabulary is not None]
        return product(*known) if len(known) == len(self.labels) else ()

    def _bounded(self, values: LabelValues, existing: Collection[LabelValues]) -> LabelValues:
        """``header_values`` as they may be kept."""
        fit = tuple(
            value if vocabulary is None or value in vocabulary else OTHER
            for value, vocabulary in zip(values, self._allowed_values, strict=True)
        )
        return fit if fit in existing or len(existing) < MAX_SERIES else (OTHER,) * len(values)


class Counter(_LabelledMetric):
    """A number that only rises, one for each combination of label values."""

    kind: Literal["counter"] = "counter"

    def __init__(self, name: str, description: str, **labels: AllowedValues) -> None:
        super().__init__(name, description, labels)
        self.values: dict[LabelValues, float] = dict.fromkeys(self._initial_series(), 0.0)

    def add(self, *values: str, amount: float = 1.0) -> None:
        """One more, or ``amount`` more."""
        if values not in self.values:
            values = self._bounded(values, self.values)
            self.values.setdefault(values, 0.0)
        self.values[values] += amount


@dataclass(slots=True)
class HistogramBuckets:
    """How often a measure fell into each bucket (the last one has no bound), and the sum of all."""

    counts: list[int]
    total: float = 0.0


class Histogram(_LabelledMetric):
    """A measure whose distribution matters; ``bounds`` are the upper bounds of its buckets."""

    kind: Literal["histogram"] = "histogram"

    def __init__(
        self,
        name: str,
        description: str,
        *,
        bounds: Sequence[float] = DEFAULT_BUCKETS,
        **labels: AllowedValues,
    ) -> None:
        super().__init__(name, description, labels)
        self.bounds = bounds
        self.values: dict[LabelValues, HistogramBuckets] = {
            values: self._new_buckets() for values in self._initial_series()
        }

    def observe(self, value: float, *values: str) -> None:
        """It was so much this time."""
        spread = self.values.get(values)
        if spread is None:
            spread = self.values.setdefault(self._bounded(values, self.values), self._new_buckets())
        spread.counts[bisect_left(self.bounds, value)] += 1
        spread.total += value

    def _new_buckets(self) -> HistogramBuckets:
        return HistogramBuckets([0] * (len(self.bounds) + 1))


ObserveCallback = Callable[[], float | Mapping[LabelValues, float] | None]
"""The number now, or one for each combination of label values; None: it is not known."""


class ObservableMetric(_LabelledMetric):
    """A number that somebody has anyway, and is asked for when the metrics are read."""

    def __init__(
        self,
        name: str,
        description: str,
        *,
        metric_kind: Literal["gauge", "counter"] = "gauge",
        **labels: AllowedValues,
    ) -> None:
        super().__init__(name, description, labels)
        self.kind = metric_kind
        self.callback: ObserveCallback = lambda: None

    @property
    def values(self) -> Mapping[LabelValues, float]:
        found = self.callback()
        if found is None:
            return {}
        return found if isinstance(found, Mapping) else {(): found}


Instrument = Counter | Histogram | ObservableMetric
