"""A real Chromium, and a guard that finds what no page of chatd may do in it."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    Request,
)

from support.eventually import TIMEOUT_SECONDS

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",  # a container's root has no namespaces for it
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # Whatever a page asks for, nothing leaves this machine. The guard still sees that it asked.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_LOCAL_SCHEMES = frozenset({"data", "blob", "about"})
"""Schemes whose URLs no server is asked for."""

VIEWPORTS = {"wide": (1280, 800), "narrow": (360, 740)}


def find_chromium() -> str:
    """Return the path of Chromium. Skip the test if there is none."""
    configured = os.environ.get("CHATD_TEST_CHROMIUM")
    found = configured or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("the console's tests need Chromium (apt-get install chromium)")
    return found


async def launch(playwright: Playwright) -> Browser:
    """Start Chromium without a window."""
    return await playwright.chromium.launch(
        executable_path=find_chromium(), args=[*_ARGUMENTS], headless=True
    )


class Guard:
    """Watcher of a browser context: every error, dialog and foreign request is a problem.

    Chromium reports what a Content-Security-Policy has blocked as an error on the console.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        """URLs of all requests, in order, also of those that the browser then blocked."""
        self.answered: list[str] = []
        """URLs of those that a server has answered."""
        self._origin = origin
        self._allowed: list[re.Pattern[str]] = []
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.problems.append(f"script: {error.error}"))
        context.on("request", self._on_request)
        context.on("response", lambda response: self.answered.append(response.url))
        context.on("dialog", self._on_dialog)

    def allow(self, pattern: str) -> None:
        """Let problems pass whose text matches ``pattern``: those that the test is about."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """Fail if there was a problem that no test has allowed."""
        found = [
            each for each in self.problems if not any(one.search(each) for one in self._allowed)
        ]
        assert not found, "\n".join(found)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            where = message.location.get("url", "")
            self.problems.append(f"console {message.type}: {message.text} ({where})")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.requests.append(request.url)
        if (
            parts.scheme not in _LOCAL_SCHEMES
            and f"{parts.scheme}://{parts.netloc}" != self._origin
        ):
            self.problems.append(f"foreign request: {request.url}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()


class Visit:
    """One visitor with a browser context of their own: a page, and the guard of all pages."""

    def __init__(self, context: BrowserContext, page: Page, guard: Guard, origin: str) -> None:
        self.context = context
        self.page = page
        self.guard = guard
        self.origin = origin

    async def go(self, path: str) -> None:
        """Open a page of the origin."""
        await self.page.goto(f"{self.origin}{path}")

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, in whatever has the focus."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def focused(self) -> str:
        """Return the accessible text of the element that has the focus."""
        return str(await self.page.evaluate(_FOCUSED))

    async def tab_to(self, text: str, *, limit: int = 80) -> None:
        """Press Tab until an element whose text or label contains ``text`` has the focus."""
        seen = []
        for _ in range(limit):
            await self.page.keyboard.press("Tab")
            seen.append(await self.focused())
            if text in seen[-1]:
                return
        raise AssertionError(f"{text!r} is not reached by the Tab key: {seen}")


_FOCUSED = """() => {
  const focused = document.activeElement;
  if (!focused || focused === document.body) return "";
  const labels = [...(focused.labels || [])].map((label) => label.textContent);
  return [focused.getAttribute("aria-label"), ...labels, focused.textContent, focused.name]
    .filter(Boolean).join(" ").replace(/\\s+/g, " ").trim().slice(0, 200);
}"""


@asynccontextmanager
async def visiting(
    browser: Browser,
    origin: str,
    *,
    viewport: str = "wide",
    dark: bool = False,
    headers: dict[str, str] | None = None,
    init_scripts: Sequence[str] = (),
    **options: Any,
) -> AsyncIterator[Visit]:
    """Open a browser context for one visitor. At the end, fail if a page did what none may do."""
    width, height = VIEWPORTS[viewport]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        extra_http_headers=headers or {},
        **options,
    )
    context.set_default_timeout(1000 * TIMEOUT_SECONDS)
    try:
        for script in init_scripts:
            await context.add_init_script(script)
        guard = Guard(context, origin)
        yield Visit(context, await context.new_page(), guard, origin)
        guard.check()
    finally:
        await context.close()
