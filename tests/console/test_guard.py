"""The guard of the browser tests fails what it has to, or a page that loads foreign scripts would pass."""

import pytest
from playwright.async_api import Browser, Route
from support.axe import assert_accessible
from support.browser import visiting

ORIGIN = "http://127.0.0.1:9"
"""The origin of pages that the tests answer themselves: nothing listens there."""
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:"


@pytest.mark.parametrize(
    ("body", "policy", "problem"),
    [
        ("<script>console.error('broken')</script>", "", "console error: broken"),
        ("<script>throw new Error('thrown')</script>", "", "script: thrown"),
        ("<script>alert('hello')</script>", "", "dialog: hello"),
        ("<script>alert('hello')</script>", STRICT, "Content Security Policy"),
        ("<p style='color: red'>", STRICT, "Content Security Policy"),
        ("<img src='http://elsewhere.test/a.png' alt>", "", "foreign request: http://elsewhere"),
        ("<img src='http://127.0.0.1:10/a.png' alt>", "", "foreign request: http://127.0.0.1:10"),
        ("<p>nothing</p>", STRICT, None),
    ],
)
async def test_the_guard_sees_what_a_page_does(
    browser: Browser, body: str, policy: str, problem: str | None
) -> None:
    async def answer(route: Route) -> None:
        if route.request.url != f"{ORIGIN}/":
            await route.abort()
            return
        headers = {"content-type": "text/html", "content-security-policy": policy}
        await route.fulfill(headers=headers, body=f"<link rel=icon href='data:,'>{body}")

    async with visiting(browser, ORIGIN) as visit:
        await visit.context.route("**/*", answer)
        await visit.go("/")
        if problem is None:
            visit.guard.check()
            return
        with pytest.raises(AssertionError, match=problem):
            visit.guard.check()
        visit.guard.allow("")


async def test_axe_sees_what_keeps_people_out_past_a_strict_policy(browser: Browser) -> None:
    async def answer(route: Route) -> None:
        headers = {"content-type": "text/html", "content-security-policy": STRICT}
        await route.fulfill(
            headers=headers, body="<link rel=icon href='data:,'><main><input></main>"
        )

    async with visiting(browser, ORIGIN) as visit:
        await visit.context.route("**/*", answer)
        await visit.go("/")
        with pytest.raises(AssertionError, match="label"):
            await assert_accessible(visit.page)
