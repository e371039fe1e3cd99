"""History of the metrics: the last hour of one process, in memory, for charts.

A sample keeps what changed since the one before it. Prometheus keeps more and for longer. This is for an
operator who has no dashboard at hand, and it says nothing of other processes but what the database says.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Final

from chatd.domain.outcomes import TurnOutcome
from chatd.telemetry.instruments import Histogram, ObservableMetric
from chatd.telemetry.metrics import Metrics

SAMPLE_SECONDS: Final = 10.0
MAX_SAMPLES: Final = 360
"""Samples of one hour: some 100 kB, and as much again for each twenty models."""
MAX_MODELS: Final = 20
"""Models of one sample. The calls of others are counted in the series, but not by model."""

_GOOD: Final = frozenset({TurnOutcome.FINISHED, TurnOutcome.REQUIRES_ACTION, TurnOutcome.PARKED})
_BAD: Final = frozenset({TurnOutcome.FAILED, TurnOutcome.PANICKED, TurnOutcome.ABORTED})


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: a number for each sample, None where there was nothing to measure."""

    name: str
    description: str
    unit: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """Calls of one model in the time that the history covers."""

    model: str
    calls: int
    errors: int
    errors_by_kind: Mapping[str, int]
    first_part_seconds: float | None
    """Time to the first part that 95 of 100 answers kept to. None: there was no answer."""


@dataclass(frozen=True, slots=True)
class History:
    """The samples of the last hour, oldest first."""

    times: Sequence[datetime]
    series: Sequence[Series]
    models: Sequence[ModelCalls]


@dataclass(slots=True)
class _ModelSample:
    calls: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    first_parts: list[int] | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    at: datetime
    values: Mapping[str, float | None]
    models: Mapping[str, _ModelSample]


_DESCRIPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "turns_finished": ("Turns that ended well", "turns"),
    "turns_failed": ("Turns that failed", "turns"),
    "first_part_median_seconds": ("Time to the first part, half of the answers", "seconds"),
    "first_part_p95_seconds": ("Time to the first part, 95 of 100 answers", "seconds"),
    "model_calls": ("Calls to models", "calls"),
    "model_errors": ("Calls to models that failed", "calls"),
    "output_tokens": ("Tokens written by models", "tokens"),
    "pending_chats": ("Pending chats of the whole database", "chats"),
    "leased_chats": ("Chats leased by this process", "chats"),
    "streams": ("Open streams of this process", "streams"),
    "loop_lag_p95_seconds": ("Delay of the event loop, 95 of 100 looks", "seconds"),
    "takeovers": ("Chats taken over from workers that did not finish", "chats"),
}
"""The series, with what each shows and its unit."""


class MetricsHistory:
    """Samples of the metrics of this process. ``sample`` is called every ``SAMPLE_SECONDS``."""

    def __init__(self, metrics: Metrics, *, now: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._now = now
        self._samples: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._before: dict[str, float] = {}
        self._buckets_before: dict[tuple[str, ...], list[int]] = {}

    def sample(self) -> None:
        """Append what changed since the last call."""
        models = self._model_samples()
        turns, database = self._metrics.turns, self._metrics.database
        first_parts = _added(model.first_parts for model in models.values())
        lag = self._new_observations(self._metrics.process.loop_lag, ())
        ended = {outcome: turns.ended.values[outcome,] for outcome in TurnOutcome}
        output = sum(
            tokens for (_, _, kind), tokens in turns.tokens.values.items() if kind == "output"
        )
        values: dict[str, float | None] = {
            "turns_finished": self._since("finished", sum(ended[each] for each in _GOOD)),
            "turns_failed": self._since("failed", sum(ended[each] for each in _BAD)),
            "first_part_median_seconds": quantile(turns.first_part, first_parts, 0.5),
            "first_part_p95_seconds": quantile(turns.first_part, first_parts, 0.95),
            "model_calls": self._since("calls", sum(turns.provider_calls.values.values())),
            "model_errors": self._since("errors", sum(turns.provider_errors.values.values())),
            "output_tokens": self._since("tokens", output),
            "pending_chats": _total(database.pending_chats),
            "leased_chats": _total(self._metrics.leases.leased_chats),
            "streams": _total(self._metrics.streams.open_streams),
            "loop_lag_p95_seconds": quantile(self._metrics.process.loop_lag, lag, 0.95),
            "takeovers": self._since("takeovers", turns.takeovers.values[()]),
        }
        kept = sorted(models, key=lambda name: -models[name].calls)[:MAX_MODELS]
        by_model = {name: models[name] for name in kept if _has_news(models[name])}
        self._samples.append(_Sample(self._now(), values, by_model))

    def read(self) -> History:
        """Return the samples so far."""
        samples = tuple(self._samples)
        return History(
            times=[sample.at for sample in samples],
            series=[
                Series(name, description, unit, [sample.values[name] for sample in samples])
                for name, (description, unit) in _DESCRIPTIONS.items()
            ],
            models=self._models(samples),
        )

    def _models(self, samples: Sequence[_Sample]) -> Sequence[ModelCalls]:
        by_name: dict[str, list[_ModelSample]] = {}
        for sample in samples:
            for name, model in sample.models.items():
                by_name.setdefault(name, []).append(model)
        return [self._model(name, found) for name, found in sorted(by_name.items())]

    def _model(self, name: str, samples: Sequence[_ModelSample]) -> ModelCalls:
        kinds: dict[str, int] = {}
        for sample in samples:
            for kind, count in sample.errors.items():
                kinds[kind] = kinds.get(kind, 0) + count
        first_parts = _added(sample.first_parts for sample in samples)
        return ModelCalls(
            model=name,
            calls=sum(sample.calls for sample in samples),
            errors=sum(kinds.values()),
            errors_by_kind=kinds,
            first_part_seconds=quantile(self._metrics.turns.first_part, first_parts, 0.95),
        )

    def _model_samples(self) -> dict[str, _ModelSample]:
        turns = self._metrics.turns
        models: dict[str, _ModelSample] = {}
        for (name, purpose), count in turns.provider_calls.values.items():
            new = self._since(f"calls {purpose} {name}", count)
            models.setdefault(name, _ModelSample()).calls += int(new)
        for (name, purpose, kind), count in turns.provider_errors.values.items():
            if new := self._since(f"errors {purpose} {kind} {name}", count):
                errors = models.setdefault(name, _ModelSample()).errors
                errors[kind] = errors.get(kind, 0) + int(new)
        for (name,) in turns.first_part.values:
            new_parts = self._new_observations(turns.first_part, (name,))
            if any(new_parts or ()):
                models.setdefault(name, _ModelSample()).first_parts = new_parts
        return models

    def _since(self, key: str, count: float) -> float:
        """Return by how much a count has risen since the last sample."""
        before = self._before.get(key, 0.0)
        self._before[key] = count
        return count - before

    def _new_observations(self, histogram: Histogram, values: tuple[str, ...]) -> list[int] | None:
        """Return the observations of each bucket since the last sample."""
        observed = histogram.values.get(values)
        if observed is None:
            return None
        key = (histogram.name, *values)
        before = self._buckets_before.get(key) or [0] * len(observed.counts)
        self._buckets_before[key] = list(observed.counts)
        return [new - old for new, old in zip(observed.counts, before, strict=True)]


def quantile(histogram: Histogram, counts: Sequence[int] | None, share: float) -> float | None:
    """Return the bound that ``share`` of the observations kept to, between two bounds by its part.

    It is exact to the width of a bucket. None: there were no observations.
    """
    total = sum(counts or ())
    if not counts or not total:
        return None
    target, bounds = share * total, [0.0, *histogram.bounds]
    for number, reached in enumerate(accumulate(counts)):
        if reached >= target and counts[number]:
            if number >= len(histogram.bounds):
                return float(bounds[-1])
            low, high = bounds[number], bounds[number + 1]
            part = (target - (reached - counts[number])) / counts[number]
            return float(low + (high - low) * part)
    return float(bounds[-1])


def _has_news(model: _ModelSample) -> bool:
    return bool(model.calls or model.errors or model.first_parts)


def _added(many: Iterable[list[int] | None]) -> list[int] | None:
    """Return the sums of several lists of counts."""
    lists = [counts for counts in many if counts is not None]
    return [sum(column) for column in zip(*lists, strict=True)] if lists else None


def _total(metric: ObservableMetric) -> float | None:
    """Return the sum over all label values. None: it is not known."""
    values = metric.values
    return sum(values.values()) if values else None
