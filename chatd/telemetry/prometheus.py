"""Prometheus collector: the metrics in the text format of Prometheus."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from chatd.telemetry.instruments import Counter, Histogram, Instrument


class PrometheusCollector(Collector):
    """Collector of ``instruments`` and of the standard metrics of this process."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = tuple(instruments)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield each instrument as a metric family."""
        return map(_metric_family, self._instruments)


def _metric_family(instrument: Instrument) -> Metric:
    name, description, labels = instrument.name, instrument.description, instrument.labels
    if isinstance(instrument, Histogram):
        histogram = HistogramMetricFamily(name, description, labels=labels)
        bounds = [*map(_format_bound, instrument.bounds), "+Inf"]
        for values, observed in instrument.values.items():
            sums = zip(bounds, accumulate(observed.counts), strict=True)
            histogram.add_metric(values, buckets=list(sums), sum_value=observed.total)
        return histogram
    is_counter = isinstance(instrument, Counter) or instrument.kind == "counter"
    family_type = CounterMetricFamily if is_counter else GaugeMetricFamily
    family = family_type(name, description, labels=labels)
    for values, number in instrument.values.items():
        family.add_metric(values, number)
    return family


def _format_bound(bound: float) -> str:
    return repr(float(bound))
