"""Reading a daemon's metrics as a scraper does, and by how much they grew."""

from collections.abc import Iterator
from typing import Any

from inside import Inside
from prometheus_client.parser import text_string_to_metric_families as parsed
from running import fact

from chatd.telemetry.exposition import PrometheusCollector

Series = tuple[str, frozenset[tuple[str, str]]]


class Numbers(dict[Series, float]):
    """All samples of one scrape."""

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(self.each(name, **labels))

    def each(self, name: str, **labels: str) -> Iterator[float]:
        for (found, having), number in self.items():
            if found == name and labels.items() <= dict(having).items():
                yield number


def numbers(text: str) -> Numbers:
    return Numbers(
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in parsed(text)
        for sample in family.samples
    )


class Meter:
    """What a daemon's metrics say, and what they said when this was made."""

    def __init__(self, chatd: Inside, before: Numbers) -> None:
        self._chatd = chatd
        self._before = before

    @classmethod
    async def on(cls, chatd: Inside) -> "Meter":
        return cls(chatd, await scraped(chatd))

    async def now(self) -> Numbers:
        return await scraped(self._chatd)

    async def grew(self, name: str, **labels: str) -> float:
        """By how much a number is larger than at first."""
        return (await self.now()).of(name, **labels) - self._before.of(name, **labels)

    async def grows(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Wait until a number is larger than at first by exactly so much; it must not be more."""

        async def has_grown() -> bool:
            grown = await self.grew(name, **labels)
            assert grown <= by, (name, labels, grown)
            return grown == by

        await fact(has_grown, what=lambda: f"{name} {labels} to grow by {by}", every=0.05)

    async def becomes(self, name: str, number: float, **labels: str) -> None:
        """Wait for a number to be this."""

        async def is_it() -> bool:
            return list((await self.now()).each(name, **labels)) == [number]

        await fact(is_it, what=lambda: f"{name} {labels} to be {number}", every=0.05)


async def scraped(chatd: Inside, **more: Any) -> Numbers:
    answer = await chatd.api.http.get("/metrics", **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return numbers(answer.text)


def left_behind(chatd: Inside) -> Numbers:
    """What a daemon has counted that answers no more."""
    return numbers(PrometheusCollector(chatd.daemon.services.metrics).render().decode())
