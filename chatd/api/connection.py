"""The connection of a client, as far as a response that lasts has to know of it."""

import asyncio
from collections.abc import Callable
from typing import Final

import anyio

_FLUSH_SECONDS: Final = 1.0
"""Time for a client to take what was written before its connection is cut."""


class Connection:
    """A connection, with what is to be called once it is lost. All its requests share it.

    To wait for the server's message that says so takes a task for each stream. It also comes too late for
    a stream behind which the client has sent another request.
    """

    __slots__ = ("_callbacks", "_is_lost", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._callbacks: list[Callable[[], None]] = []
        self._is_lost = False

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the connection is lost, or at once if it is."""
        if self._is_lost:
            callback()
        else:
            self._callbacks.append(callback)

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call ``callback`` any more."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    async def cut(self) -> None:
        """Close the connection in the middle of a response, so that no client takes it for whole.

        What was written is still sent, unless the client does not take it in time.
        """
        if self._is_lost:
            return
        lost = anyio.Event()
        self.on_loss(lost.set)
        # The head may wait in the response's own transport until the next turn of the loop.
        asyncio.get_running_loop().call_soon(self._transport.close)
        with anyio.move_on_after(_FLUSH_SECONDS, shield=True):
            await lost.wait()
        if not self._is_lost:
            self._transport.abort()

    def lose(self) -> None:
        """Note that the connection is lost."""
        self._is_lost = True
        while self._callbacks:
            self._callbacks.pop()()
