"""One daemon for the tests of a module, isolated from each other by owners.

Starting a daemon and a database costs more than most tests of the API. The daemon runs in a thread
with an event loop of its own, as a server would, and each test gets a client that acts for a fresh
owner: owners are the isolation that the product promises, so these tests exercise it as well. A test
that needs settings, a provider or a database of its own starts its own daemon (`in_process`).
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio

from chatd.llm.provider import Provider
from support.auth import AuthenticatedDaemons, authenticated_daemons
from support.eventually import TIMEOUT_SECONDS
from support.http import http_client
from support.in_process import InProcessDaemon
from support.providers import scripted
from support.sse_client import ApiClient


class SharedDaemon:
    """A daemon with token authentication in a thread of its own."""

    def __init__(self, dsn: str, provider: Provider, sections: dict[str, Any]) -> None:
        self._dsn, self._provider, self._sections = dsn, provider, sections
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._authenticated: AuthenticatedDaemons | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shared daemon", daemon=True)

    @property
    def url(self) -> str:
        """The address of the daemon."""
        assert self._authenticated is not None
        return str(self._authenticated.chatd.api.http.base_url)

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        self._thread.start()
        ready = self._ready.wait(TIMEOUT_SECONDS)
        if self._failure is not None:
            raise self._failure
        assert ready, "the shared daemon is not ready"

    def stop(self) -> None:
        """Stop the daemon, and raise what went wrong in it."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * TIMEOUT_SECONDS)
        assert not self._thread.is_alive(), "the shared daemon did not stop"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the tests
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with authenticated_daemons(self._dsn, self._provider, **self._sections) as daemons:
            self._authenticated = daemons
            self._ready.set()
            await self._stop.wait()

    @asynccontextmanager
    async def as_new_owner(self) -> AsyncIterator[InProcessDaemon]:
        """Yield the daemon with a client that acts for an owner nobody has used before."""
        authenticated, loop = self._authenticated, self._loop
        assert authenticated is not None
        assert loop is not None
        creation = asyncio.run_coroutine_threadsafe(
            authenticated.new_caller_headers(f"owner-{uuid4()}"), loop
        )
        with anyio.fail_after(TIMEOUT_SECONDS):
            headers = await asyncio.wrap_future(creation)
        daemon = authenticated.chatd
        url = str(daemon.api.http.base_url)
        async with http_client(url, headers=headers) as http:
            yield replace(daemon, api=ApiClient(http))


@contextmanager
def shared_daemon(
    dsn: str, provider: Provider | None = None, **sections: Any
) -> Iterator[SharedDaemon]:
    """Run one daemon until the block ends. Check that it leaves no task behind."""
    daemon = SharedDaemon(dsn, provider or scripted(), sections)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
