"""The example page of the AI SDK, in a real browser, served by Vite as its readers do."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
from playwright.async_api import Page, async_playwright, expect
from support.ai_sdk import Gates
from support.browser import find_chromium, launch, visiting
from support.child_process import child_process
from support.eventually import eventually
from support.http import http_client
from support.in_process import InProcessDaemon
from support.npm_packages import AI_SDK_EXAMPLE_DIR, require_packages

SCREENSHOTS = Path(__file__).parents[3] / "docs" / "guides" / "images"
TAKES_SCREENSHOTS = os.environ.get("CHATD_TEST_SCREENSHOTS") == "1"


@contextmanager
def vite(chatd_url: str, token: str) -> Iterator[str]:
    """Run the development server of the example. Yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", "node_modules/vite/bin/vite.js", "--host=127.0.0.1", f"--port={port}"]
    with child_process(
        [*command, "--strictPort"],
        cwd=AI_SDK_EXAMPLE_DIR,
        env={**os.environ, "CHATD_URL": chatd_url, "VITE_CHATD_TOKEN": token},
        stdout=subprocess.DEVNULL,
    ):
        yield f"http://127.0.0.1:{port}"


async def wait_until_served(url: str) -> None:
    async with http_client(url) as http:

        async def answers() -> bool:
            try:
                return (await http.get("/")).status_code == 200
            except httpx2.ConnectError:
                return False

        await eventually(answers)


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def take_screenshot(page: Page, name: str) -> None:
    if TAKES_SCREENSHOTS:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.get_by_role("main").screenshot(path=SCREENSHOTS / f"{name}.png")


async def test_example(chatd: InProcessDaemon, gates: Gates) -> None:
    find_chromium()
    require_packages(AI_SDK_EXAMPLE_DIR)
    token = chatd.api.http.headers["authorization"].removeprefix("Bearer ")
    first, second, third = (uuid4().hex[:6] for _ in range(3))
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        with vite(str(chatd.api.http.base_url), token) as url:
            await wait_until_served(url)
            async with visiting(browser, url) as visit:
                visit.guard.allow("404")  # the chat is not there before its first message
                page = visit.page
                await visit.go("/")
                answers = page.locator('article[data-role="assistant"]')
                await say(page, f"hold {first}")
                await expect(answers).to_have_text(re.compile("^Half $"))
                await page.reload()
                await expect(answers).to_have_text(re.compile("^Half $"))
                await take_screenshot(page, "ai-sdk-resumed")
                gates.open(first)
                await expect(answers).to_have_text("Half and whole")

                await say(page, f"hold {second}")
                await expect(answers.nth(1)).to_have_text(re.compile("^Half $"))
                stop = page.get_by_role("button", name="Stop")
                await stop.click()
                await expect(stop).to_be_disabled()
                await expect(answers.nth(1)).to_have_text(re.compile("^Half $"))

                await say(page, f"pay {third}")
                allow = page.get_by_role("button", name="Allow")
                await expect(allow).to_be_visible()
                await take_screenshot(page, "ai-sdk-approval")
                await allow.click()
                await expect(answers.nth(2)).to_contain_text('Paid: "a receipt"')
                await expect(page.get_by_role("alert")).to_have_count(0)
                shown = await page.locator("article").all_inner_texts()
                await page.reload()
                await expect(page.locator("article")).to_have_count(len(shown))
                assert await page.locator("article").all_inner_texts() == shown
        await browser.close()
