"""Flusher: what happens to a step while a flush of its parts is under way."""

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

import pytest

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.hub import ChatHub
from chatd.store.stream_reads import PartBatch
from chatd.worker.flusher import Flusher

CHAT = UUID(int=1)


class Streams:
    """Store that records the batches, and calls ``meanwhile`` while each is stored."""

    def __init__(self) -> None:
        self.flushed: list[tuple[int, int, int]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def flush_parts(self, batches: Sequence[PartBatch]) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        self.flushed += [(batch.epoch, batch.first_part, batch.last_part) for batch in batches]


class Steps:
    """Steps of one chat, whose parts are published and tracked."""

    def __init__(self) -> None:
        self.streams, self.hub = Streams(), ChatHub(subscriber_buffer=100)
        self.flusher = Flusher(cast("Any", self.streams), flush_interval_seconds=60, flush_bytes=1)

    def start(self, *, epoch: int, base: int = 0, parts: int) -> None:
        self.preview = self.hub.start_step(CHAT, epoch=epoch, base=base)
        self.flusher.track(CHAT, self.preview)
        self.publish(parts)

    def publish(self, parts: int) -> None:
        for _ in range(parts):
            self.hub.publish_part(CHAT, self.preview, {"index": 0, "type": "text", "text": "a"})


@pytest.mark.parametrize(
    ("meanwhile", "flushed"),
    [
        pytest.param({"epoch": 2, "parts": 2}, (2, 1, 2), id="of a new epoch"),
        pytest.param({"epoch": 1, "base": 5, "parts": 2}, (1, 6, 7), id="after more parts"),
    ],
)
async def test_step_that_starts_during_a_flush_is_flushed_from_its_first_part(
    meanwhile: dict[str, int], flushed: tuple[int, int, int]
) -> None:
    steps = Steps()
    steps.start(epoch=1, parts=3)
    steps.streams.meanwhile = lambda: steps.start(**meanwhile)
    for _ in range(3):
        await steps.flusher.step()
    assert steps.streams.flushed == [(1, 1, 3), flushed]


async def test_parts_of_a_failed_flush_are_flushed_with_the_next_ones() -> None:
    steps = Steps()
    steps.start(epoch=1, parts=3)

    def fail() -> None:
        raise DatabaseUnavailable

    steps.streams.meanwhile = fail
    with pytest.raises(DatabaseUnavailable):
        await steps.flusher.step()
    steps.publish(1)
    await steps.flusher.step()
    assert steps.streams.flushed == [(1, 1, 4)]


async def test_step_that_ends_during_a_flush_is_tracked_no_more() -> None:
    steps = Steps()
    steps.start(epoch=1, parts=3)
    steps.streams.meanwhile = lambda: steps.flusher.untrack(CHAT, epoch=1)
    await steps.flusher.step()
    steps.publish(1)
    await steps.flusher.step()
    assert steps.streams.flushed == [(1, 1, 3)]
