"""A daemon with the console, and visitors who have signed in."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

from playwright.async_api import Browser

from chatd.console.config import ConsoleConfig
from chatd.console.session import begin_session
from support.browser import Visit, visiting
from support.http import http_client
from support.shared_daemon import SharedDaemon
from support.sse_client import ApiClient

T = TypeVar("T")

_CONFIG = ConsoleConfig(
    signs_in=True,
    secret="",
    session_hours=1,
    behind_tls_proxy=False,
    loopback_only=False,
    allowed_origins=(),
)


async def in_daemon(daemon: SharedDaemon, work: Awaitable[T]) -> T:
    """Await something on the event loop of the daemon."""

    async def run() -> T:
        return await work

    assert daemon._loop is not None
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), daemon._loop))


def origin(daemon: SharedDaemon) -> str:
    assert daemon._authenticated is not None
    return str(daemon._authenticated.chatd.api.http.base_url).rstrip("/")


async def create_token(daemon: SharedDaemon, owner: str, **more: Any) -> tuple[Any, str]:
    """Create a token. Return it and its secret."""
    assert daemon._authenticated is not None
    return await in_daemon(daemon, daemon._authenticated.tokens.create(owner_id=owner, **more))


async def revoke(daemon: SharedDaemon, token_id: Any) -> None:
    assert daemon._authenticated is not None
    await in_daemon(daemon, daemon._authenticated.tokens.revoke(token_id))


@asynccontextmanager
async def signed_in(
    browser: Browser, daemon: SharedDaemon, **options: Any
) -> AsyncIterator[tuple[Visit, ApiClient]]:
    """Open a browser context for a new owner who has signed in. Yield it, and a client of that owner."""
    _, secret = await create_token(daemon, f"owner-{uuid4()}")
    async with signed_in_with(browser, origin(daemon), secret, **options) as found:
        yield found


@asynccontextmanager
async def signed_in_with(
    browser: Browser, url: str, secret: str, **options: Any
) -> AsyncIterator[tuple[Visit, ApiClient]]:
    """Open a browser context in which a token has signed in. Yield it, and a client with the token."""
    value = begin_session(secret, _CONFIG, now=time.time()).encode()
    async with (
        http_client(url, headers={"authorization": f"Bearer {secret}"}) as http,
        visiting(browser, url, **options) as visit,
    ):
        cookie = {"name": "chatd", "value": value, "url": url, "httpOnly": True}
        await visit.context.add_cookies([{**cookie, "sameSite": "Strict"}])  # type: ignore[list-item]
        yield visit, ApiClient(http)
