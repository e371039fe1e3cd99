"""Signals of the process, until its end."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import anyio

_MAX_PENDING: Final = 16
"""Signals that wait to be handled. More of them would say nothing new."""


@contextmanager
def received_signals(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """Yield the signals of these numbers as they come. Afterwards they are ignored.

    Each goes from its handler to being ignored in one step. The receiver of anyio gives it its default
    action back first, by which a signal at that moment ends a process that has stopped in order.
    """
    loop = asyncio.get_running_loop()
    send, receive = anyio.create_memory_object_stream[signal.Signals](_MAX_PENDING)

    def deliver(number: int) -> None:
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError):
            send.send_nowait(signal.Signals(number))

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(deliver, number)

    with send, receive:
        for number in numbers:
            signal.signal(number, handle)
        try:
            yield receive
        finally:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
