"""Numbers that are counted, measured or read, each with a name, a meaning and bounded labels."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

Values = tuple[str, ...]
"""The values of the labels, in the order of the labels."""

Vocabulary = Collection[str] | None
"""What a label may say; None: what the configuration or the code bounds."""

OTHER = "other"
MOST_SERIES = 1_000
"""Combinations of label values that one metric keeps apart."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper bounds of the buckets of whatever takes time: from a round trip to a long turn."""


class _Labelled:
    """A metric's name, what it means, and what its labels may say."""

    def __init__(self, name: str, meaning: str, labels: Mapping[str, Vocabulary]) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self._vocabularies = tuple(labels.values())

    def _seeds(self) -> Iterable[Values]:
        """Combinations that are there from the start, so that the first rise of each is seen."""
        known = [vocabulary for vocabulary in self._vocabularies if vocabulary is not None]
        return product(*known) if len(known) == len(self.labels) else ()

    def _fit(self, values: Values, kept: Collection[Values]) -> Values:
        """``values`` as they may be kept."""
        fit = tuple(
            value if vocabulary is None or value in vocabulary else OTHER
            for value, vocabulary in zip(values, self._vocabularies, strict=True)
        )
        return fit if fit in kept or len(kept) < MOST_SERIES else (OTHER,) * len(values)


class Counter(_Labelled):
    """A number that only rises, one for each combination of label values."""

    kind: Literal["counter"] = "counter"

    def __init__(self, name: str, meaning: str, **labels: Vocabulary) -> None:
        super().__init__(name, meaning, labels)
        self.values: dict[Values, float] = dict.fromkeys(self._seeds(), 0.0)

    def add(self, *values: str, amount: float = 1.0) -> None:
        """One more, or ``amount`` more."""
        if values not in self.values:
            values = self._fit(values, self.values)
            self.values.setdefault(values, 0.0)
        self.values[values] += amount


@dataclass(slots=True)
class Spread:
    """How often a measure fell into each bucket (the last one has no bound), and the sum of all."""

    counts: list[int]
    total: float = 0.0


class Histogram(_Labelled):
    """A measure whose distribution matters; ``bounds`` are the upper bounds of its buckets."""

    kind: Literal["histogram"] = "histogram"

    def __init__(
        self,
        name: str,
        meaning: str,
        *,
        bounds: Sequence[float] = SECONDS,
        **labels: Vocabulary,
    ) -> None:
        super().__init__(name, meaning, labels)
        self.bounds = bounds
        self.values: dict[Values, Spread] = {values: self._spread() for values in self._seeds()}

    def observe(self, measure: float, *values: str) -> None:
        """It was so much this time."""
        spread = self.values.get(values)
        if spread is None:
            spread = self.values.setdefault(self._fit(values, self.values), self._spread())
        spread.counts[bisect_left(self.bounds, measure)] += 1
        spread.total += measure

    def _spread(self) -> Spread:
        return Spread([0] * (len(self.bounds) + 1))


Read = Callable[[], float | Mapping[Values, float] | None]
"""The number now, or one for each combination of label values; None: it is not known."""


class Reading(_Labelled):
    """A number that somebody has anyway, and is asked for when the metrics are read."""

    def __init__(
        self,
        name: str,
        meaning: str,
        *,
        kind: Literal["gauge", "counter"] = "gauge",
        **labels: Vocabulary,
    ) -> None:
        super().__init__(name, meaning, labels)
        self.kind = kind
        self.read: Read = lambda: None

    @property
    def values(self) -> Mapping[Values, float]:
        found = self.read()
        if found is None:
            return {}
        return found if isinstance(found, Mapping) else {(): found}


Instrument = Counter | Histogram | Reading
