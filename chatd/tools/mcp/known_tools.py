"""The tools of a server as they were last listed, and whether they should be listed again."""

from collections.abc import Callable
from typing import Final

import anyio

from chatd.tools.mcp.config import McpServerConfig
from chatd.tools.mcp.connection import ListedTools
from chatd.tools.mcp.listing import ToolList, tool_list

DEFAULT_LIST_SECONDS: Final = 300.0
"""Age at which a list is read again, if the server does not say."""
_MIN_LIST_SECONDS: Final = 10.0
_MAX_LIST_SECONDS: Final = 3600.0


class KnownTools:
    """List of tools that is kept, also while its server is unavailable."""

    def __init__(self, config: McpServerConfig, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self.list: ToolList | None = None
        self.wanted = True  # the actor connects once at its start, so that no turn has to wait
        self._expires_at = 0.0
        self._answered = anyio.Event()

    @property
    def expired(self) -> bool:
        """True if the list should be read again."""
        return self._now() >= self._expires_at

    def want(self) -> None:
        """Ask the actor to read the list."""
        if not self.wanted:
            self.wanted = True
            self._answered = anyio.Event()

    def take(self, listing: ListedTools) -> None:
        """Keep a list for as long as the server says that it holds, within bounds."""
        self.list = tool_list(self._config, listing.tools)
        seconds = listing.ttl_seconds or DEFAULT_LIST_SECONDS
        self._settle(min(max(seconds, _MIN_LIST_SECONDS), _MAX_LIST_SECONDS))

    def give_up(self) -> None:
        """Keep the list there is, because a new one cannot be had now."""
        self._settle(_MIN_LIST_SECONDS)

    async def wait(self, seconds: float) -> None:
        """Wait until the actor has a list or gave up, at most ``seconds``."""
        with anyio.move_on_after(seconds):
            await self._answered.wait()

    def _settle(self, seconds: float) -> None:
        self._expires_at = self._now() + seconds
        self.wanted = False
        self._answered.set()
