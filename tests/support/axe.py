"""axe-core, which finds what keeps people from using a page."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from support.node import run

FOLDER = Path(__file__).parents[1] / "console" / "axe"
_PROGRAM = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
_INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000")


@cache
def _source() -> str | None:
    """Return the program, fetched by npm if it is not there yet. None: it cannot be fetched."""
    if not _PROGRAM.exists():
        if not (shutil.which("node") and shutil.which("npm")):
            return None
        try:
            run(*_INSTALL, folder=FOLDER)
        except (AssertionError, subprocess.TimeoutExpired):
            return None
    return _PROGRAM.read_text()


async def assert_accessible(page: Page, *, only_colours: bool = False) -> None:
    """Fail if axe-core finds a violation on the page as it is now. Skip if npm cannot fetch axe-core.

    ``only_colours`` is for a page that has passed all rules in other colours. The program comes through
    the debugger, which no Content-Security-Policy restricts.
    """
    source = _source()
    if source is None:
        pytest.skip("npm could not fetch axe-core, by which pages are checked")
    await page.evaluate(source)
    found: list[dict[str, Any]] = await page.evaluate(
        """async (only) => (await axe.run(document, {resultTypes: ["violations"], ...only})).violations
             .map(({id, help, nodes}) => ({id, help, where: nodes.slice(0, 5).map(
               (node) => `${node.html.slice(0, 200)}: ${node.failureSummary}`)}))""",
        {"runOnly": ["color-contrast"]} if only_colours else {},
    )
    assert not found, "\n".join(
        f"{each['id']}: {each['help']}\n  " + "\n  ".join(each["where"]) for each in found
    )
