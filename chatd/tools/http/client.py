"""HTTP client of all tools of one process. Its library is imported at the first call, in a thread."""

from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    import httpx2

_CONNECT_SECONDS: Final = 10.0
"""Time for connecting. The call as a whole has a time limit of its own."""
_MAX_IDLE_CONNECTIONS: Final = 100
"""Connections that are kept open between calls."""


class ToolHttpClient:
    """Pool of connections to the endpoints of tools. It follows no redirect and reads no environment."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None
        self._connecting = anyio.Lock()

    async def get(self) -> "httpx2.AsyncClient":
        """Return the client."""
        async with self._connecting:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(_build_client)
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def _build_client() -> "httpx2.AsyncClient":
    import httpx2  # noqa: PLC0415 - takes 0.2 s, and most processes have no tools

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_MAX_IDLE_CONNECTIONS),
        follow_redirects=False,
        trust_env=False,
    )
