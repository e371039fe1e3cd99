"""The metrics as text, in the format of Prometheus."""

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
    """Shows ``instruments``, and what the system knows of this process."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._instruments = tuple(instruments)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    @override
    def collect(self) -> Iterator[Metric]:
        return map(_metric_family, self._instruments)


def _metric_family(instrument: Instrument) -> Metric:
    name, meaning, labels = instrument.name, instrument.description, instrument.labels
    if isinstance(instrument, Histogram):
        spreads = HistogramMetricFamily(name, meaning, labels=labels)
        bounds = [*map(_format_bound, instrument.bounds), "+Inf"]
        for values, spread in instrument.values.items():
            sums = zip(bounds, accumulate(spread.counts), strict=True)
            spreads.add_metric(values, buckets=list(sums), sum_value=spread.total)
        return spreads
    counts = isinstance(instrument, Counter) or instrument.kind == "counter"
    family = (CounterMetricFamily if counts else GaugeMetricFamily)(name, meaning, labels=labels)
    for values, number in instrument.values.items():
        family.add_metric(values, number)
    return family


def _format_bound(bound: float) -> str:
    return repr(float(bound))
