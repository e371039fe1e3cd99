"""What holds of every page: nobody is kept out, and it is light."""

import os
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, expect
from support.axe import assert_accessible
from support.browser import Visit, visiting
from support.console import create_token, origin, signed_in_with
from support.eventually import TIMEOUT_SECONDS
from support.providers import ECHO_SCRIPT, scripted
from support.shared_daemon import SharedDaemon, shared_daemon
from support.sse_client import ApiClient

from chatd.domain.access_scope import AccessScope

expect.set_options(timeout=1000 * TIMEOUT_SECONDS)

MAX_BYTES = 150_000
MAX_SECONDS = float(os.environ.get("CHATD_TEST_FIRST_PAGE_SECONDS", "3"))
"""Time of a first page, 0.3 on an idle machine. In an ordinary run there are other tests to run, too."""
SCRIPTS = {
    "rich": [
        {"reasoning": "Let me think."},
        {
            "text": "# Title\n\n**bold**\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n```\n1 < 2\n```\n\n> q"
        },
    ],
    "refused": [{"error": {"status": 401}}],
    "call": [{"tool_call": {"name": "clock", "id": "a", "args": {"zone": "utc"}}, "calls": [1]}],
    "hang": [{"text": "I begin"}, {"hang": True}],
}
EVERYTHING = [AccessScope.CHATS, AccessScope.OPERATE]


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    provider = scripted(ECHO_SCRIPT, **SCRIPTS)
    with shared_daemon(module_dsn, provider, console={"enabled": True}) as daemon:
        yield daemon


async def filled(api: ApiClient) -> AsyncIterator[str]:
    """Create chats in every state that a page shows in another way. Yield the paths of their pages."""
    clock = {"name": "clock", "parameters": {"type": "object"}}
    for words, status in (
        ("[[rich]]", "waiting"),
        ("[[refused]]", "error"),
        ("[[call]]", "requires_action"),
        ("[[hang]]", "running"),
    ):
        chat = await api.create(words, title=words, labels={"team": "red"}, tools=[clock])
        await api.wait_for_status(chat["id"], status)
        if status == "running":
            await api.send(chat["id"], "queued")
        yield f"/chats/{chat['id']}"
        yield f"/chats/{chat['id']}/why"


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
async def test_axe_finds_nothing_on_any_page(
    browser: Browser, console: SharedDaemon, *, dark: bool
) -> None:
    _, secret = await create_token(console, f"owner-{dark}", scopes=EVERYTHING)
    viewport = "narrow" if dark else "wide"
    options = {"dark": dark, "viewport": viewport}
    async with signed_in_with(browser, origin(console), secret, **options) as (visit, api):
        visit.guard.allow("404")
        paths = [path async for path in filled(api)]
        for path in ["/", "/?q=none&status=error", "/fleet", "/chats/none", *paths]:
            await visit.go(path)
            await visit.page.evaluate(
                "for (const each of document.querySelectorAll('details')) each.open = true"
            )
            await assert_accessible(visit.page, only_colours=dark)
            await assert_fits(visit)
    async with visiting(browser, origin(console), **options) as visit:
        await visit.go("/")
        await expect(visit.page.locator("h1")).to_have_text("Sign in")
        await assert_accessible(visit.page)


async def assert_fits(visit: Visit) -> None:
    """Fail if the page is wider than the window."""
    over = await visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert over <= 0, (visit.page.url, over)


async def test_first_page_is_light_and_quick(browser: Browser, console: SharedDaemon) -> None:
    _, secret = await create_token(console, "light")
    async with signed_in_with(browser, origin(console), secret) as (visit, _):
        sizes: list[int] = []
        session = await visit.context.new_cdp_session(visit.page)
        await session.send("Network.enable")
        session.on(
            "Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"])
        )
        await visit.go("/")
        await visit.page.wait_for_load_state("load")
        seconds = await visit.page.evaluate(
            "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
        )
        sys.stdout.write(f"first page: {sum(sizes)} bytes, {1000 * seconds:.0f} ms\n")
        assert 5_000 < sum(sizes) < MAX_BYTES
        assert seconds < MAX_SECONDS
