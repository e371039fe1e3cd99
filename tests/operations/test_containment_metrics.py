"""The metric of containment: each cut is counted under its actor."""

from uuid import UUID

from support.metrics import parse_samples

from chatd.store.containment import Containment
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.prometheus import PrometheusCollector


async def test_cut_is_counted_under_its_actor() -> None:
    metrics = Metrics()
    containment = Containment[UUID]("reaper", metrics.containment)
    with containment.guard(UUID(int=1)):
        raise ValueError
    samples = parse_samples(PrometheusCollector(metrics).render().decode())
    assert samples.sum_of("chatd_cuts_total", actor="reaper") == 1
    assert samples.sum_of("chatd_cuts_total") == 1
