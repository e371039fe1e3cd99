"""Isolation of owners, checked for every operation of the OpenAPI document."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx2
import pytest
from support.auth import (
    EVERY_SCOPE,
    AuthenticatedDaemons,
    Bearer,
    authenticated_daemons,
    create_chat_as,
    get_as,
)
from support.eventually import TIMEOUT_SECONDS, eventually
from support.factories import stored_rows
from support.providers import scripted
from support.requests import (
    VALID_BODIES,
    assert_problem,
    chat_operations,
    document,
    fill_path,
    is_stream,
    open_stream,
    operations,
    refused_stream,
)

from chatd.api.app import PUBLIC_PATHS
from chatd.domain.access_scope import AccessScope
from chatd.domain.cursor import Cursor
from chatd.store.reads import ChatReader

SECRET = "the cellar key is under the mat"
LISTS = [
    (path, operation)
    for method, path, operation in operations()
    if method == "get" and path.startswith("/api/") and "{" not in path
]


async def ask(
    at: AuthenticatedDaemons, who: Bearer, method: str, template: str, chat_id: str
) -> tuple[int, str]:
    """Return the status and text of a response. Of a stream, return the first event."""
    more: dict[str, Any] = {"headers": who}
    if (method, template) in VALID_BODIES:
        more["json"] = VALID_BODIES[method, template]
    operation = document()["paths"][template][method]
    path = fill_path(template, chat_id)
    if not is_stream(operation):
        answer = await at.chatd.api.http.request(method, path, **more)
        return answer.status_code, answer.text
    async with open_stream(at.chatd, path, **more) as stream:
        if stream.status_code != 200:
            return stream.status_code, (await stream.aread()).decode()
        lines = stream.aiter_lines()
        return 200, "\n".join([await anext(lines), await anext(lines)])


async def secret_chat(at: AuthenticatedDaemons, who: Bearer) -> str:
    """Create a chat with a history, a queue and a running turn, whose every text is the secret."""
    more = {"title": SECRET, "labels": {"why": SECRET}, "system_prompt": SECRET}
    chat = await create_chat_as(at.chatd, who, content=f"[[hang]] {SECRET}", **more)
    path = f"/api/v1/chats/{chat['id']}"

    async def running() -> bool:
        return bool((await get_as(at.chatd, path, who)).json()["status"] == "running")

    await eventually(running)
    sent = await at.chatd.api.http.post(f"{path}/messages", json={"content": SECRET}, headers=who)
    assert sent.json()["queued"]
    return str(chat["id"])


async def test_other_owners_chats_are_404(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(hang=[{"hang": True}])) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        boss = await at.new_caller_headers("boss", scopes=EVERY_SCOPE)
        chat_id = await secret_chat(at, ann)
        chat = await ChatReader(at.database).chat(UUID(chat_id), owner_id="ann")
        before = await stored_rows(at.database, chat)
        assert len(chat_operations()) >= 6
        for method, template in chat_operations():
            operation = document()["paths"][template][method]
            assert "404" in operation["responses"]
            for who in (bob, boss | {"x-chatd-owner": "bob"}):
                status, text = await ask(at, who, method, template, chat_id)
                assert status == 404, (method, template, text)
                assert SECRET not in text
                nobody = str(uuid4())
                assert (await ask(at, who, method, template, nobody)) == (
                    404,
                    text.replace(chat_id, nobody),
                ), "another owner's chat looks like one that does not exist"
                if is_stream(operation):
                    resumed = who | {"last-event-id": str(Cursor(chat.version, chat.epoch))}
                    assert (await ask(at, resumed, method, template, chat_id)) == (status, text)
        after = await stored_rows(at.database, chat)
        assert after[1:] == before[1:], "a refused request changed the chat"


async def test_lists_and_streams_have_own_chats_only(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(hang=[{"hang": True}])) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        chat_id = await secret_chat(at, ann)
        assert LISTS
        for path, operation in LISTS:
            if is_stream(operation):
                await receives_own_chats_only(at, path, ann, bob)
                continue
            text = (await get_as(at.chatd, path, bob)).text
            assert chat_id not in text
            assert SECRET not in text
        mine = (await get_as(at.chatd, "/api/v1/chats", ann)).text
        assert chat_id in mine


async def receives_own_chats_only(
    at: AuthenticatedDaemons, path: str, ann: Bearer, bob: Bearer
) -> None:
    """Check that Bob receives only his own chat while both owners create one."""
    received = ""
    async with open_stream(at.chatd, path, headers=bob) as stream:
        lines = stream.aiter_lines()
        received += await anext(lines)
        hers = (await create_chat_as(at.chatd, ann, title=SECRET))["id"]
        his = (await create_chat_as(at.chatd, bob))["id"]
        with anyio.fail_after(TIMEOUT_SECONDS):
            while his not in received:
                received += await anext(lines)
    assert hers not in received
    assert SECRET not in received


async def test_acting_for_an_owner_is_being_them(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(hang=[{"hang": True}])) as at:
        ann = await at.new_caller_headers("ann")
        backend = await at.new_caller_headers("backend", scopes=[AccessScope.ACT_FOR])
        for_ann = backend | {"x-chatd-owner": "ann"}
        for method, template in chat_operations():
            chat_id = await secret_chat(at, ann)
            status, text = await ask(at, for_ann, method, template, chat_id)
            assert status not in {401, 403}, (method, template)
            assert "chat_not_found" not in text, (method, template)
        hers = (await get_as(at.chatd, "/api/v1/chats", ann)).json()
        assert (await get_as(at.chatd, "/api/v1/chats", for_ann)).json() == hers
        assert (await create_chat_as(at.chatd, for_ann))["owner_id"] == "ann"


async def test_acting_for_an_owner_counts_against_their_limits(dsn: str) -> None:
    limits = {"max_streams": 1, "requests_per_second": 3}
    async with authenticated_daemons(dsn, scripted(), limits=limits) as at:
        backend = await at.new_caller_headers("backend", scopes=[AccessScope.ACT_FOR])
        for_ann, for_bob, for_cat, for_dan = (
            backend | {"x-chatd-owner": name} for name in ("ann", "bob", "cat", "dan")
        )
        ann = await at.new_caller_headers("ann")
        stream = "/api/v1/chats/stream"
        async with open_stream(at.chatd, stream, headers=for_ann) as hers:
            assert hers.status_code == 200
            refused = await refused_stream(at.chatd, stream, headers=ann)
            assert_problem(refused, 429, "too_many_streams")
            async with open_stream(at.chatd, stream, headers=for_bob) as his:
                assert his.status_code == 200

        async def until_limited() -> httpx2.Response | None:
            answers = await asyncio.gather(
                *(get_as(at.chatd, "/api/v1/models", for_cat) for _ in range(30))
            )
            return next((one for one in answers if one.status_code == 429), None)

        limited = await eventually(until_limited)
        assert_problem(limited, 429, "too_many_requests")
        assert (await get_as(at.chatd, "/api/v1/models", for_dan)).status_code == 200


async def test_acting_for_another_owner_needs_a_scope(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = await at.new_caller_headers("ann", scopes=EVERY_SCOPE - {AccessScope.ACT_FOR})
        for method, template, _ in operations():
            if template in PUBLIC_PATHS:
                continue
            headers = ann | {"x-chatd-owner": "bob"}
            more: dict[str, Any] = {"headers": headers}
            if (method, template) in VALID_BODIES:
                more["json"] = VALID_BODIES[method, template]
            answer = await at.chatd.api.http.request(method, fill_path(template), **more)
            assert_problem(answer, 403, "insufficient_scope", "act-for")
        assert (await create_chat_as(at.chatd, ann | {"x-chatd-owner": "ann"}))["owner_id"] == "ann"


async def test_naming_oneself_adds_no_scope(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        scraper = await at.new_caller_headers("ann", scopes=[AccessScope.METRICS])
        answer = await get_as(at.chatd, "/api/v1/chats", scraper | {"x-chatd-owner": "ann"})
        assert_problem(answer, 403, "insufficient_scope", "chats")


@pytest.mark.parametrize("value", [b"", b"\xff", b"a\xc3", 256 * b"a"])
async def test_invalid_owner_header_is_refused(dsn: str, value: bytes) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        boss = await at.new_caller_headers("boss", scopes=EVERY_SCOPE)
        answer = await get_as(at.chatd, "/api/v1/chats", boss | {"x-chatd-owner": value})  # type: ignore[dict-item]
        assert_problem(answer, 422, "invalid_request", "x-chatd-owner")


async def test_owner_header_is_utf_8(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        boss = await at.new_caller_headers("boss", scopes=EVERY_SCOPE)
        for_her = boss | {"x-chatd-owner": "Zoë".encode()}  # type: ignore[dict-item]
        chat = await create_chat_as(at.chatd, for_her, title="hers")
        assert chat["owner_id"] == "Zoë"
        own = await get_as(at.chatd, "/api/v1/chats", await at.new_caller_headers("Zoë"))
        assert own.json()["items"] == [chat]
