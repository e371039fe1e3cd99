"""A daemon with the console, and visitors who have signed in."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

from playwright.async_api import Browser, Locator

from chatd.console.config import ConsoleConfig
from chatd.console.session import begin_session
from support.browser import Visit, visiting
from support.http import http_client
from support.shared_daemon import SharedDaemon
from support.sse_client import ApiClient

T = TypeVar("T")

WORDS = " ".join(f"w{number}" for number in range(120))
SCRIPTS = {
    "slow": [{"text": WORDS, "chunks": 120, "delay_seconds": 0.05}],
    "endless": [{"text": "word ", "repeat": 4000, "chunks": 4000, "delay_seconds": 0.02}],
    "fail": [{"error": {"status": 400, "message": "no such thing"}}],
    "pay": [
        {"tool_call": {"name": "pay", "args": {"note": "rent"}}, "calls": [1]},
        {"text": "Paid or not.", "calls": [2]},
    ],
    "ask": [
        {
            "tool_call": {
                "name": "ask_user_question",
                "args": {"question": "Which colour?", "options": ["red", "blue"]},
            },
            "calls": [1],
        },
        {"text": "You chose {result}.", "calls": [2]},
    ],
    "rich": [
        {"reasoning": "Let me think."},
        {"text": "# Title\n\n**bold** and `code`\n\n* one\n* two\n\n```\n1 < 2\n```"},
    ],
}
SECTIONS = {
    "console": {"enabled": True},
    "tools": {"builtin": ["ask_user_question"], "rules": {"pay": "ask"}},
    "http_tools": {"pay": {"url": "http://127.0.0.1:9/pay", "description": "Pay."}},
}

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


@asynccontextmanager
async def chatting(
    browser: Browser, console: SharedDaemon, content: str, **options: Any
) -> AsyncIterator[tuple[Visit, ApiClient, str]]:
    """Open the page of a new chat with this message."""
    async with signed_in(browser, console, **options) as (visit, api):
        chat = await api.create(content)
        await visit.go(f"/chats/{chat['id']}")
        yield visit, api, chat["id"]


def answers(visit: Visit) -> Locator:
    return visit.page.locator("#messages article.assistant .text")


async def send(visit: Visit, text: str) -> None:
    await visit.page.fill("#message", text)
    await visit.page.press("#message", "Enter")
