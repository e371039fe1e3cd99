"""The transport of one response, which sends its head together with the begin of its body.

uvicorn writes them one after the other, and each write to a socket costs 20 us of the kernel, here and at
the client that it wakes twice. The benchmark ``turns`` watches it.
"""

import asyncio


class ResponseTransport:
    """The methods of a transport that a response uses.

    Its first write waits for the second one, or for the next turn of the loop.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        """The first write, while it waits. Empty once it was sent."""

    def write(self, data: bytes) -> None:
        """Write as a transport does."""
        if self._held is None:
            self._held = data
            self._loop.call_soon(self._flush)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once everything was sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if not self._transport.is_closing():  # the client may have closed it
                self._transport.write(held)
