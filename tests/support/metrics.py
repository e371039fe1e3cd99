"""Reading a daemon's metrics as a scraper does, and by how much they grew."""

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
        for (found, having), number in self.items():
            if found == name and labels.items() <= dict(having).items():
                yield number


def parse_samples(text: str) -> Samples:
    return Samples(
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in parsed(text)
        for sample in family.samples
    )


class MetricsObserver:
    """What a daemon's metrics say, and what they said when this was made."""

    def __init__(self, chatd: InProcessDaemon, before: Samples) -> None:
        self._chatd = chatd
        self._before = before

    @classmethod
    async def start(cls, chatd: InProcessDaemon) -> "MetricsObserver":
        return cls(chatd, await scrape(chatd))

    async def current(self) -> Samples:
        return await scrape(self._chatd)

    async def increase(self, name: str, **labels: str) -> float:
        """By how much a number is larger than at first."""
        return (await self.current()).sum_of(name, **labels) - self._before.sum_of(name, **labels)

    async def wait_for_increase(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Wait until a number is larger than at first by exactly so much; it must not be more."""

        async def has_grown() -> bool:
            grown = await self.increase(name, **labels)
            assert grown <= by, (name, labels, grown)
            return grown == by

        await eventually(
            has_grown, describe=lambda: f"{name} {labels} to grow by {by}", interval_seconds=0.05
        )

    async def wait_for_value(self, name: str, value: float, **labels: str) -> None:
        """Wait for a number to be this."""

        async def is_it() -> bool:
            return list((await self.current()).matching(name, **labels)) == [value]

        await eventually(
            is_it, describe=lambda: f"{name} {labels} to be {value}", interval_seconds=0.05
        )


async def scrape(chatd: InProcessDaemon, **more: Any) -> Samples:
    answer = await chatd.api.http.get("/metrics", **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse_samples(answer.text)


def final_samples(chatd: InProcessDaemon) -> Samples:
    """Return the samples of a daemon that no longer serves requests."""
    return parse_samples(PrometheusCollector(chatd.daemon.services.metrics).render().decode())
