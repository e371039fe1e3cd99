"""Intake: what arrives from a server, counted and slowed down.

A server that writes without end would keep the event loop busy, since each message is parsed and handled
there. Between messages the reader therefore pauses, so that the server waits for its own pipe or
connection. One that sends nothing but messages nobody asked for is given up.
"""

from typing import Final

import anyio

_MESSAGES_PER_PAUSE: Final = 16
_BYTES_PER_PAUSE: Final = 1024 * 1024
_PAUSE_SECONDS: Final = 0.01
"""With at most 16 messages or 1 MiB between two pauses: a tenth of the event loop (measured)."""
MAX_UNREQUESTED_MESSAGES: Final = 10_000
"""Messages between two results that are no progress of a call."""


class IntakeRefused(Exception):
    """The server sends what cannot be taken. The message says what, for people and models."""


class Intake:
    """Bytes and messages of one connection."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._messages = 0
        self._unrequested = 0
        self._bytes_at_pause = 0

    async def add_bytes(self, count: int) -> None:
        """Count bytes, and pause if many came."""
        self.total_bytes += count
        if self.total_bytes - self._bytes_at_pause >= _BYTES_PER_PAUSE:
            await self._pause()

    async def add_message(self) -> None:
        """Count a message, and pause if many came. Raise ``IntakeRefused``."""
        self._messages += 1
        self._unrequested += 1
        if self._unrequested > MAX_UNREQUESTED_MESSAGES:
            raise IntakeRefused("it sends messages without end")
        if self._messages % _MESSAGES_PER_PAUSE == 0:
            await self._pause()

    def allow_progress(self) -> None:
        """Record that the last message was progress of a call. The call's time limit bounds those."""
        self._unrequested -= 1

    def settle(self) -> None:
        """Record that a request has its result."""
        self._unrequested = 0

    async def _pause(self) -> None:
        self._bytes_at_pause = self.total_bytes
        await anyio.sleep(_PAUSE_SECONDS)
