"""History of the metrics: bounded, and made of what changed between two samples."""

from datetime import UTC, datetime, timedelta

import pytest

from chatd.domain.outcomes import CallPurpose, TurnOutcome
from chatd.telemetry.history import MAX_MODELS, MAX_SAMPLES, MetricsHistory, quantile
from chatd.telemetry.instruments import Histogram
from chatd.telemetry.metrics import Metrics

START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0

    def now(self) -> datetime:
        self.seconds += 10
        return START + timedelta(seconds=self.seconds)


def values_of(history: MetricsHistory, name: str) -> list[float | None]:
    return [*next(series.values for series in history.read().series if series.name == name)]


def test_samples_are_differences_and_only_those_of_the_last_hour_are_kept() -> None:
    metrics, clock = Metrics(), Clock()
    history = MetricsHistory(metrics, now=clock.now)
    for number in range(MAX_SAMPLES + 5):
        metrics.turns.ended.add(TurnOutcome.FINISHED, amount=number)
        history.sample()
    finished = values_of(history, "turns_finished")
    assert finished == [*range(5, MAX_SAMPLES + 5)]
    times = history.read().times
    assert (len(times), times[-1] - times[0]) == (MAX_SAMPLES, timedelta(seconds=3590))


def test_models_are_bounded_and_the_busiest_are_kept() -> None:
    metrics = Metrics()
    history = MetricsHistory(metrics, now=Clock().now)
    for number in range(3 * MAX_MODELS):
        metrics.turns.provider_calls.add(f"m{number}", CallPurpose.ANSWER, amount=number)
    history.sample()
    kept = {model.model for model in history.read().models}
    assert kept == {f"m{number}" for number in range(2 * MAX_MODELS, 3 * MAX_MODELS)}
    assert values_of(history, "model_calls") == [sum(range(3 * MAX_MODELS))]


def test_what_is_not_known_is_no_number() -> None:
    history = MetricsHistory(Metrics(), now=Clock().now)
    history.sample()
    assert values_of(history, "pending_chats") == [None]
    assert values_of(history, "first_part_p95_seconds") == [None]


@pytest.mark.parametrize(
    ("observed", "share", "expected"),
    [
        ([], 0.5, None),
        ([0.5], 0.5, 0.5),
        ([0.5, 0.5, 0.5, 3.0], 0.5, 2 / 3),
        ([0.5, 0.5, 0.5, 3.0], 1.0, 4.0),
        ([99.0], 0.95, 4.0),
    ],
)
def test_quantiles_lie_in_the_bucket_that_has_them(
    observed: list[float], share: float, expected: float | None
) -> None:
    histogram = Histogram("h", "H.", bounds=(1, 2, 4))
    for value in observed:
        histogram.observe(value)
    found = quantile(histogram, histogram.values[()].counts, share)
    assert found == pytest.approx(expected)
