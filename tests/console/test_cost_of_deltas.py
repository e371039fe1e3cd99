"""The cost of a stream for the page that shows it."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect
from support.console import SCRIPTS, SECTIONS, chatting
from support.eventually import eventually
from support.providers import scripted
from support.shared_daemon import SharedDaemon, shared_daemon


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn, scripted(**SCRIPTS), **SECTIONS) as daemon:
        yield daemon


async def test_hundred_deltas_a_second_cost_little(browser: Browser, console: SharedDaemon) -> None:
    async with chatting(browser, console, "[[endless]]") as (visit, _, _):
        await expect(visit.page.locator("#preview .live")).to_contain_text("word word")
        session = await visit.context.new_cdp_session(visit.page)
        await session.send("Performance.enable")

        async def busy_seconds() -> dict[str, float]:
            found = (await session.send("Performance.getMetrics"))["metrics"]
            return {each["name"]: each["value"] for each in found}

        before = await busy_seconds()
        length = len(await visit.page.inner_text("#preview"))

        async def grew() -> bool:
            return len(await visit.page.inner_text("#preview")) > length + 5 * 60

        await eventually(grew)
        after = await busy_seconds()
        busy = after["TaskDuration"] - before["TaskDuration"]
        assert busy < 0.5 * (after["Timestamp"] - before["Timestamp"])
        await visit.press("Escape")
        await expect(visit.page.locator("#status")).to_have_text("ready")
