"""What holds of every page: nobody is kept out, it is light, and large data and killed servers do no harm.

``CHATD_TEST_CONSOLE_LARGE=1`` makes the chats and lists ten times as large.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect
from support.axe import assert_accessible
from support.browser import Visit, visiting
from support.console import create_token, origin, signed_in_with
from support.eventually import TIMEOUT_SECONDS
from support.processes import chatd_process
from support.providers import ECHO_SCRIPT, scripted
from support.server_kills import SETUP, TEXT
from support.shared_daemon import SharedDaemon, shared_daemon
from support.sse_client import ApiClient

from chatd.domain.access_scope import AccessScope
from chatd.store.database import Database

expect.set_options(timeout=1000 * TIMEOUT_SECONDS)

FACTOR = 10 if os.environ.get("CHATD_TEST_CONSOLE_LARGE") else 1
MAX_BYTES = 150_000
MAX_SECONDS = 0.3 if FACTOR > 1 else 3.0
"""Time of a first page. In an ordinary run the machine has other tests to run, too."""
MAX_LARGE_SECONDS = 1.0 if FACTOR > 1 else 5.0
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


async def test_large_chat_opens_by_its_newest_messages(
    browser: Browser, console: SharedDaemon, module_dsn: str
) -> None:
    messages = 1_000 * FACTOR
    _, secret = await create_token(console, "large")
    async with signed_in_with(browser, origin(console), secret) as (visit, api):
        chat = await api.create("hello")
        await api.wait_for_status(chat["id"], "waiting")
        await fill(
            module_dsn,
            "INSERT INTO chat_messages (id, chat_id, version, role, content)"
            " SELECT chat_message_id(1000 + n, 1), $1, 1000 + n,"
            "        CASE n % 2 WHEN 0 THEN 'user' ELSE 'assistant' END,"
            "        jsonb_build_array(jsonb_build_object('type', 'text', 'text', '**m** ' || n))"
            " FROM generate_series(1, $2::int) n",
            chat["id"],
            messages,
        )
        await visit.go(f"/chats/{chat['id']}")
        articles = visit.page.locator("#messages article")
        assert 10 < await articles.count() < 200
        seconds = await visit.page.evaluate(
            "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
        )
        sys.stdout.write(f"chat of {messages} messages: {1000 * seconds:.0f} ms\n")
        assert seconds < MAX_LARGE_SECONDS


async def test_long_list_is_filtered(
    browser: Browser, console: SharedDaemon, module_dsn: str
) -> None:
    chats = 1_000 * FACTOR
    _, secret = await create_token(console, "long")
    async with signed_in_with(browser, origin(console), secret) as (visit, api):
        chat = await api.create(title="seed")
        await fill(
            module_dsn,
            "INSERT INTO chats (id, root_chat_id, owner_id, title, labels, last_model_config_id)"
            " SELECT id, id, 'long', 'chat ' || n, jsonb_build_object('n', (n % 7)::text), m"
            " FROM (SELECT gen_random_uuid() AS id, n, last_model_config_id AS m"
            "       FROM generate_series(1, $2::int) n, chats WHERE chats.id = $1) made",
            chat["id"],
            chats,
        )
        await visit.go(f"/?q=chat {chats - 1}")
        await expect(visit.page.locator(".chats li")).to_have_count(1)
        seconds = await visit.page.evaluate(
            "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
        )
        sys.stdout.write(f"one of {chats} chats: {1000 * seconds:.0f} ms\n")
        assert seconds < MAX_LARGE_SECONDS


async def fill(dsn: str, statement: str, *values: object) -> None:
    """Run a statement that fills a table."""
    database = Database(dsn, pool_size=1)
    await database.open()
    try:
        async with database.dedicated_connection() as connection:
            await connection.execute(statement, *values)
    finally:
        await database.close()


@pytest.mark.slow
async def test_server_killed_in_mid_answer_doubles_no_letter(
    browser: Browser, dsn: str, tmp_path: Path
) -> None:
    """The process that serves the page and answers is killed. The next one has the same address."""
    scripts = SETUP["scripts"].replace("delay_seconds = 0.1", "delay_seconds = 0.03")
    settings = SETUP["settings"] + "\n[console]\nenabled = true\n"
    with chatd_process(tmp_path, dsn, settings=settings, scripts=scripts) as first:
        await first.wait_until_ready()
        port = first.port
        async with visiting(browser, first.url) as visit:
            visit.guard.allow("Failed to load|ERR_")  # the stream that breaks
            await visit.go("/")
            await visit.page.get_by_label("First message of a new chat").fill("hello")
            await visit.press("Enter")
            await visit.page.wait_for_url("**/chats/*")
            preview = visit.page.locator("#preview")
            await expect(preview).to_contain_text(TEXT[:20])
            first.send_signal(signal.SIGKILL)
            await first.wait_for_exit()
            with chatd_process(
                tmp_path, dsn, name="b", settings=settings, scripts=scripts, port=port
            ) as second:
                await second.wait_until_ready()
                answer = visit.page.locator("#messages article.assistant .text")
                await expect(answer).to_have_count(1)
                assert (await answer.inner_text()).strip() == TEXT.strip()
                await expect(preview).to_be_empty()
                assert urlsplit(visit.page.url).port == port
