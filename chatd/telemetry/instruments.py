"""Hand-written instruments: counters, histograms and gauges without locks, ten times as fast.

prometheus_client's own instruments lock on each count, which was measured to cost ten times as much as a
plain number, and one turn counts about thirty times. Everything that counts here runs on one event loop, so
no lock is needed. prometheus_client still renders the exposition format, see ``prometheus``.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

LabelValues = tuple[str, ...]
"""Values of the labels, in the order of the labels."""

AllowedValues = Collection[str] | None
"""Vocabulary of a label. None: the configuration or the code bounds its values."""

OTHER = "other"
MAX_SERIES = 1_000
"""Most combinations of label values of one metric."""

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
"""Upper bounds for durations in seconds, from a round trip to a long turn."""


class _LabelledMetric:
    """Name, help text and labels of a metric."""

    def __init__(self, name: str, description: str, labels: Mapping[str, AllowedValues]) -> None:
        self.name = name
        self.description = description
        self.labels = tuple(labels)
        self._allowed_values = tuple(labels.values())

    def _initial_series(self) -> Iterable[LabelValues]:
        """Return the combinations that exist from the start, so that their first increase is visible."""
        vocabularies = [allowed for allowed in self._allowed_values if allowed is not None]
        return product(*vocabularies) if len(vocabularies) == len(self.labels) else ()

    def _bounded(self, values: LabelValues, existing: Collection[LabelValues]) -> LabelValues:
        """Return ``values`` with ``other`` in place of what is not allowed."""
        bounded = tuple(
            value if allowed is None or value in allowed else OTHER
            for value, allowed in zip(values, self._allowed_values, strict=True)
        )
        if bounded in existing or len(existing) < MAX_SERIES:
            return bounded
        return (OTHER,) * len(values)


class Counter(_LabelledMetric):
    """Counter: a number that only rises, one for each combination of label values."""

    kind: Literal["counter"] = "counter"

    def __init__(self, name: str, description: str, **labels: AllowedValues) -> None:
        super().__init__(name, description, labels)
        self.values: dict[LabelValues, float] = dict.fromkeys(self._initial_series(), 0.0)

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Add ``amount`` to the series of these label values."""
        if values not in self.values:
            values = self._bounded(values, self.values)
            self.values.setdefault(values, 0.0)
        self.values[values] += amount


@dataclass(slots=True)
class HistogramBuckets:
    """Number of observations in each bucket (the last one has no bound), and their sum."""

    counts: list[int]
    total: float = 0.0


class Histogram(_LabelledMetric):
    """Histogram: the distribution of a measure. ``bounds`` are the upper bounds of its buckets."""

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
        """Record one observation."""
        buckets = self.values.get(values)
        if buckets is None:
            key = self._bounded(values, self.values)
            buckets = self.values.setdefault(key, self._new_buckets())
        buckets.counts[bisect_left(self.bounds, value)] += 1
        buckets.total += value

    def _new_buckets(self) -> HistogramBuckets:
        return HistogramBuckets([0] * (len(self.bounds) + 1))


ObserveCallback = Callable[[], float | Mapping[LabelValues, float] | None]
"""Returns the current number, or one for each combination of label values. None: it is not known."""


class ObservableMetric(_LabelledMetric):
    """Gauge or counter whose number is read from ``callback`` when the metrics are scraped."""

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
        """The current numbers by label values."""
        current = self.callback()
        if current is None:
            return {}
        return current if isinstance(current, Mapping) else {(): current}


Instrument = Counter | Histogram | ObservableMetric
