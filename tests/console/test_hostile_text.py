"""Text of others in every field, on every page: nothing becomes markup or script, and nothing is loaded."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser
from support.attacks import HOSTILE, PAYLOADS, SHORT, assert_inert
from support.auth import AuthenticatedDaemons, authenticated_daemons, bearer
from support.browser import Visit
from support.console import signed_in_with
from support.eventually import eventually
from support.files import file_input, whole_png
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta

from chatd.domain.access_scope import AccessScope
from chatd.domain.message import Role, text_of
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest, PartDelta

OWNER = SHORT
CLOCK = {"name": "clock", "description": HOSTILE, "parameters": {"type": "object"}}


async def respond(request: ModelRequest) -> AsyncIterator[Delta]:
    """Answer with attacks: in text and reasoning, by calls, or by an error."""
    asked = text_of(next(m for m in reversed(request.messages) if m.role is Role.USER).content)
    if "[[fail]]" in asked:
        raise ProviderError(HOSTILE, status_code=400, code=SHORT)
    if "[[call]]" in asked and request.messages[-1].role is not Role.TOOL:
        yield tool_call_delta("clock", "a", '{"text": "<script>alert(1)</script>"}')
        yield tool_call_delta(SHORT, SHORT[:50], '{"<b>": "<img src=x onerror=alert(1)>"}', index=1)
        yield finished("tool_call")
        return
    yield PartDelta({"index": 0, "type": "reasoning", "text": HOSTILE})
    for start in range(0, len(HOSTILE), 97):
        yield text_delta(HOSTILE[start : start + 97], index=1)
    yield finished()


@asynccontextmanager
async def hostile_daemon(dsn: str) -> AsyncIterator[AuthenticatedDaemons]:
    async with authenticated_daemons(
        dsn, FunctionProvider(respond), models=[SHORT], console={"enabled": True}
    ) as at:
        yield at


def base_url(at: AuthenticatedDaemons) -> str:
    return str(at.chatd.api.http.base_url).rstrip("/")


async def fill(at: AuthenticatedDaemons, headers: Mapping[str, str]) -> dict[str, str]:
    """Create chats that have attacks in every field. Return their ids by what they do."""
    http = at.chatd.api.http

    async def create(content: Any, **more: Any) -> str:
        body = {"content": content, "title": SHORT, "labels": {SHORT[:60].replace(":", ""): SHORT}}
        answer = await http.post("/api/v1/chats", json=body | more, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def until(chat_id: str, status: str) -> dict[str, Any]:
        async def reached() -> Any:
            chat = (await http.get(f"/api/v1/chats/{chat_id}", headers=headers)).json()
            return chat["status"] == status and chat

        return dict(await eventually(reached))

    files = [
        file_input("image/png", whole_png(), name=SHORT),
        file_input("text/html", HOSTILE.encode(), name=f"{SHORT}.html"),
    ]
    chats = {"answered": await create([{"type": "text", "text": HOSTILE}, *files])}
    await until(chats["answered"], "waiting")
    chats["failed"] = await create(f"[[fail]] {HOSTILE}", tools=[CLOCK])
    await until(chats["failed"], "error")
    chats["asking"] = await create(f"[[call]] {HOSTILE}", tools=[CLOCK])
    await until(chats["asking"], "requires_action")
    queued = {"content": HOSTILE}
    path = f"/api/v1/chats/{chats['asking']}/messages"
    assert (await http.post(path, json=queued, headers=headers)).status_code == 202
    chats["called"] = await create(f"[[call]] {HOSTILE}", tools=[CLOCK])
    asked = (await until(chats["called"], "requires_action"))["actions"]
    results = [
        {"tool_call_id": call["tool_call_id"], "result": {"<b>": HOSTILE}, "is_error": True}
        for call in asked
    ]
    path = f"/api/v1/chats/{chats['called']}/tool-results"
    answer = await http.post(path, json={"results": results}, headers=headers)
    assert answer.status_code == 200, answer.text
    await until(chats["called"], "waiting")
    return chats


def pages_of(chats: Mapping[str, str]) -> Iterator[str]:
    attack = quote(SHORT)
    yield "/"
    yield f"/?q={attack}&label={attack}&status={attack}"
    yield f"/?q={attack}&in=messages"
    for chat_id in chats.values():
        yield f"/chats/{chat_id}"
        yield f"/chats/{chat_id}/why"
    yield "/fleet"
    yield f"/fleet?owner_id={attack}&status={attack}"
    yield f"/fleet?owner_id={attack}"


async def open_everything(visit: Visit) -> None:
    """Open all that is folded on the page, and let the mouse pass over everything."""
    await visit.page.evaluate(
        """() => { for (const each of document.querySelectorAll("details")) each.open = true;
             for (const each of document.querySelectorAll("*"))
               each.dispatchEvent(new MouseEvent("mouseover", {bubbles: true})); }"""
    )


@pytest.mark.slow
async def test_no_text_becomes_markup_or_leaves_the_origin(browser: Browser, dsn: str) -> None:
    async with hostile_daemon(dsn) as at:
        scopes = [AccessScope.CHATS, AccessScope.OPERATE]
        _, secret = await at.tokens.create(owner_id=OWNER, scopes=scopes, name=SHORT)
        chats = await fill(at, bearer(secret))
        async with signed_in_with(browser, base_url(at), secret) as (visit, _):
            visit.guard.allow(r"status of (404|422) .*/(nothing|x)")
            for path in pages_of(chats):
                await visit.go(path)
                await open_everything(visit)
                await assert_inert(visit.page)
                visit.guard.check()
            shown = await visit.page.goto(f"{visit.origin}/chats/{chats['answered']}")
            assert shown is not None
            text = await visit.page.inner_text("#messages")
            assert "<script>alert('script')</script>" in text
            assert "{{ 7 * 7 }}" in text

            # Live, as it is streamed, and when the stored message takes the place of the stream.
            await visit.page.fill("#message", "more")
            await visit.page.keyboard.press("Enter")
            await visit.page.wait_for_selector("#messages article.assistant >> nth=1")
            await open_everything(visit)
            await assert_inert(visit.page)
            await visit.page.wait_for_selector("#status[data-status=waiting]")
            await assert_inert(visit.page)
            await visit.go(f"/sign-in?next={quote(SHORT)}")
            await assert_inert(visit.page)


async def test_an_injected_script_is_blocked_by_the_policy(browser: Browser, dsn: str) -> None:
    """If all else failed, the policy would hold: markup that a page should never have is put into one."""
    async with hostile_daemon(dsn) as at:
        _, secret = await at.tokens.create(owner_id="ann")
        async with signed_in_with(browser, base_url(at), secret) as (visit, _):
            await visit.go("/")
            assert not visit.guard.problems
            await visit.page.evaluate(
                """(payloads) => {
                  const script = document.createElement("script");
                  script.textContent = "document.title = 'owned'";
                  document.body.append(script);
                  for (const payload of payloads) {
                    const place = document.createElement("div");
                    place.innerHTML = payload;
                    document.body.append(place);
                  }
                }""",
                [each for each in PAYLOADS if "http-equiv" not in each],
            )
            await visit.page.wait_for_timeout(200)
            assert await visit.page.title() != "owned"
            refusals = [each for each in visit.guard.problems if "Content Security Policy" in each]
            for directive in ("script-src", "img-src", "style-src", "base-uri", "default-src"):
                assert any(directive in each for each in refusals), (directive, refusals)
            assert not [each for each in visit.guard.problems if each.startswith("dialog")]
            assert not [url for url in visit.guard.answered if "elsewhere" in url]
            visit.guard.allow("")
