"""The pages that say why a chat is as it is, and show the fleet to operators."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from playwright.async_api import Browser, expect
from support.axe import assert_accessible
from support.browser import Visit
from support.console import create_token, origin, signed_in, signed_in_with
from support.eventually import TIMEOUT_SECONDS, eventually
from support.providers import ECHO_SCRIPT, scripted
from support.shared_daemon import SharedDaemon, shared_daemon
from support.sse_client import ApiClient

from chatd.domain.access_scope import AccessScope

expect.set_options(timeout=1000 * TIMEOUT_SECONDS)

CLOCK = {"name": "clock", "parameters": {"type": "object"}}
SCRIPTS = {
    "hang": [{"text": "I begin"}, {"hang": True}],
    "limited": [{"error": {"status": 429}, "attempts": [1]}, {"text": "Better.", "attempts": [2]}],
    "refused": [{"error": {"status": 401}, "attempts": [1]}, {"text": "Now.", "attempts": [2]}],
    "call": [{"tool_call": {"name": "clock", "id": "a"}, "calls": [1]}, {"text": "Noon."}],
}
SECTIONS = {
    "console": {"enabled": True},
    "worker": {"heartbeat_seconds": 0.2, "lease_seconds": 60, "shutdown_grace_seconds": 0},
    "metrics": {"refresh_interval_seconds": 0.2},
}


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn, scripted(ECHO_SCRIPT, **SCRIPTS), **SECTIONS) as daemon:
        yield daemon


@asynccontextmanager
async def operating(
    browser: Browser, console: SharedDaemon, owner: str, *scopes: AccessScope, **options: str
) -> AsyncIterator[tuple[Visit, ApiClient]]:
    """Open a browser context for somebody with these scopes."""
    _, secret = await create_token(console, owner, scopes=scopes)
    async with signed_in_with(browser, origin(console), secret, **options) as found:
        yield found


async def test_journal_says_what_happened_and_who_did_it(
    browser: Browser, console: SharedDaemon
) -> None:
    async with signed_in(browser, console) as (visit, api):
        chat = await api.create("[[limited]]", tools=[CLOCK])
        await api.wait_for_status(chat["id"], "waiting")
        await api.send(chat["id"], "[[call]]")
        await api.wait_for_status(chat["id"], "requires_action")
        await api.http.post(f"/api/v1/chats/{chat['id']}/interrupt")
        await api.wait_for_status(chat["id"], "waiting")
        await api.send(chat["id"], "[[refused]]")
        await api.wait_for_status(chat["id"], "error")

        await visit.go(f"/chats/{chat['id']}")
        await visit.tab_to("Why?")
        await visit.press("Enter")
        await visit.page.wait_for_url("**/why")
        reasons = visit.page.locator("section", has_text="Reasons").first
        await expect(reasons).to_contain_text("The last turn failed")
        await expect(reasons).to_contain_text("auth")
        entries = visit.page.locator(".timeline > li")
        words = [await entry.locator("strong").inner_text() for entry in await entries.all()]
        assert words[:4] == [
            "Created",
            "A worker claimed the chat",
            "An attempt failed, and is made again",
            "The turn ended",
        ]
        assert words[-1] == "The turn failed"
        assert "A stop was requested" in words
        retried, asked = entries.nth(2), entries.filter(has_text="The chat asks for answers")
        await expect(retried).to_contain_text("Attempt 1:")
        await expect(retried).to_contain_text("by worker")
        await expect(asked).to_contain_text("Asks for the client's result of a tool: clock")
        await expect(asked.locator(".calls")).to_contain_text("by the client")
        stopped = entries.filter(has_text="A stop was requested")
        await expect(stopped).to_contain_text(f"by {chat['owner_id']}, token ")
        await assert_accessible(visit.page)


async def test_long_journals_are_read_page_by_page(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, api):
        chat = await api.create()
        for number in range(149):
            await api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": f"t{number}"})
        await visit.go(f"/chats/{chat['id']}/why")
        entries = visit.page.locator(".timeline > li")
        await expect(entries).to_have_count(100)
        await expect(entries.last).to_have_id("v150")
        await visit.page.get_by_text("Older entries").click()
        await expect(entries).to_have_count(50)
        await expect(entries.first).to_have_id("v1")
        await visit.page.get_by_text("Newest entries").click()
        await expect(entries.first).to_have_id("v51")


async def test_who_may_read_why(browser: Browser, console: SharedDaemon) -> None:
    """Other owners read nothing, operators the reasons, and auditors the journal too."""
    async with signed_in(browser, console) as (_, api):
        chat = await api.create(title="hush")
    path = f"/chats/{chat['id']}/why"
    async with signed_in(browser, console) as (visit, _):
        visit.guard.allow("404")
        await visit.go(path)
        await expect(visit.page.locator("h1")).to_have_text("Nothing here")
    async with operating(browser, console, "boss", AccessScope.OPERATE) as (visit, _):
        await visit.go(path)
        await expect(visit.page.locator("#journal ~ p")).to_contain_text("read-all")
        assert "hush" not in await visit.page.content()
    async with operating(browser, console, "audit", AccessScope.READ_ALL) as (visit, _):
        await visit.go(path)
        await expect(visit.page.locator(".timeline > li")).to_have_count(1)


async def test_fleet_is_for_operators(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, _):
        visit.guard.allow("403")
        await visit.go("/fleet")
        await expect(visit.page.locator("h1")).to_have_text("Not allowed")


async def test_worker_is_drained_and_resumed_by_keyboard(
    browser: Browser, console: SharedDaemon
) -> None:
    async with operating(browser, console, "boss", AccessScope.OPERATE) as (visit, api):
        await visit.go("/fleet")
        await visit.tab_to("Drain: ")
        await visit.press("Enter")
        workers = visit.page.locator("#workers")
        await expect(workers).to_contain_text("drained")
        await expect(visit.page.locator("#announcement")).to_contain_text("claims no more chats")
        assert "Have claim again" in await visit.focused(), "the focus stays"
        await visit.press("Enter")
        await expect(workers).to_contain_text("live")
        shown = (await api.http.get("/api/v1/fleet")).json()
        assert [worker["draining"] for worker in shown["workers"]] == [False]
        await assert_accessible(visit.page)


async def test_chats_of_any_owner_are_found_interrupted_retried_and_archived(
    browser: Browser, console: SharedDaemon
) -> None:
    async with signed_in(browser, console) as (_, theirs):
        hung = await theirs.create("[[hang]]")
        await theirs.wait_for_status(hung["id"], "running")
        failed = [await theirs.create("[[refused]]") for _ in range(2)]
        for chat in failed:
            await theirs.wait_for_status(chat["id"], "error")
        owner = hung["owner_id"]

        async with operating(browser, console, "boss", AccessScope.OPERATE) as (visit, _):
            await visit.go("/fleet")
            await visit.page.get_by_role("textbox", name="Owner").fill(owner)
            await visit.press("Enter")
            await visit.page.wait_for_url("**/fleet?*")
            rows = visit.page.locator("#chats tbody tr")
            await expect(rows).to_have_count(3)
            page = visit.page
            await page.get_by_role("button", name=f"Interrupt {hung['id'][:8]}").click()
            await theirs.wait_for_status(hung["id"], "waiting")
            await page.get_by_role("button", name=f"Retry {failed[0]['id'][:8]}").click()
            await theirs.wait_for_status(failed[0]["id"], "waiting")
            await page.get_by_role("button", name=f"Archive {failed[1]['id'][:8]}").click()

            async def archived() -> bool:
                return bool((await theirs.chat(failed[1]["id"]))["archived"])

            await eventually(archived)
            await expect(rows).to_have_count(1)
            assert owner in await rows.inner_text()


async def test_charts_have_tables_and_updates_can_be_paused(
    browser: Browser, console: SharedDaemon
) -> None:
    async with operating(
        browser, console, f"boss-{uuid4()}", AccessScope.OPERATE, AccessScope.CHATS
    ) as (visit, api):
        chat = await api.create("hello")
        await api.wait_for_status(chat["id"], "waiting")
        await visit.go("/fleet")
        charts = visit.page.locator(".chart")
        await expect(charts).to_have_count(6)
        await charts.first.get_by_text("As a table").click()
        await expect(charts.first.locator("tbody tr")).to_have_count(6)
        await visit.page.get_by_role("button", name="Pause updates").click()
        await expect(visit.page.locator("#freshness")).to_have_text("Paused")
        before = len(visit.guard.requests)
        await visit.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert len(visit.guard.requests) == before
        await visit.page.get_by_role("button", name="Pause updates").click()
        await expect(visit.page.locator("#freshness")).to_have_text("Every 5 seconds")
        await expect(charts.first.locator("tbody tr").first).to_be_visible()
        await visit.page.get_by_text("all running or done").click()
        await expect(visit.page.locator("#actors-table")).to_contain_text("metrics history")
        await assert_accessible(visit.page)
