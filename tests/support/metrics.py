"""The metrics of a daemon, read as a scraper does, and their increase."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parsed

from chatd.telemetry.prometheus import PrometheusCollector
from support.eventually import eventually
from support.in_process import InProcessDaemon

Series = tuple[str, frozenset[tuple[str, str]]]


class Samples(dict[Series, float]):
    """All samples of one scrape."""

    def sum_of(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels."""
        return sum(self.matching(name, **labels))

    def matching(self, name: str, **labels: str) -> Iterator[float]:
        for (sample_name, sample_labels), number in self.items():
            if sample_name == name and labels.items() <= dict(sample_labels).items():
                yield number


def parse_samples(text: str) -> Samples:
    return Samples(
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in parsed(text)
        for sample in family.samples
    )


class MetricsObserver:
    """Metrics of a daemon, compared with their values when the observer was created."""

    def __init__(self, chatd: InProcessDaemon, before: Samples) -> None:
        self._chatd = chatd
        self._before = before

    @classmethod
    async def start(cls, chatd: InProcessDaemon) -> "MetricsObserver":
        return cls(chatd, await scrape(chatd))

    async def current(self) -> Samples:
        return await scrape(self._chatd)

    async def increase(self, name: str, **labels: str) -> float:
        """Return the increase of a number since the start."""
        return (await self.current()).sum_of(name, **labels) - self._before.sum_of(name, **labels)

    async def wait_for_increase(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Wait until a number has increased by exactly ``by``. It must not increase by more."""

        async def has_grown() -> bool:
            grown = await self.increase(name, **labels)
            assert grown <= by, (name, labels, grown)
            return grown == by

        await eventually(
            has_grown, describe=lambda: f"{name} {labels} to grow by {by}", interval_seconds=0.05
        )

    async def wait_for_value(self, name: str, value: float, **labels: str) -> None:
        """Wait until a number has this value."""

        async def has_value() -> bool:
            return list((await self.current()).matching(name, **labels)) == [value]

        await eventually(
            has_value, describe=lambda: f"{name} {labels} to be {value}", interval_seconds=0.05
        )


async def scrape(chatd: InProcessDaemon, **more: Any) -> Samples:
    answer = await chatd.api.http.get("/metrics", **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse_samples(answer.text)


def final_samples(chatd: InProcessDaemon) -> Samples:
    """Return the samples of a daemon that no longer serves requests."""
    return parse_samples(PrometheusCollector(chatd.daemon.services.metrics).render().decode())
