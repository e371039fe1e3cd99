"""Authentication by access tokens: acceptance, rejection, revocation, and its cost in statements."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import anyio
import pytest
from support.auth import (
    EVERY_SCOPE,
    AuthenticatedDaemons,
    Bearer,
    authenticated_daemons,
    bearer,
    create_chat_as,
    get_as,
    last_accepted_at,
)
from support.eventually import TIMEOUT_SECONDS, eventually
from support.providers import scripted
from support.requests import assert_problem, document, fill_path, is_stream, open_stream, operations
from support.scheduling_delay import measure_scheduling_delay

from chatd.api.app import PUBLIC_PATHS
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.tokens import hash_token

CHATS = "/api/v1/chats"
STREAMS = [path for method, path, operation in operations() if is_stream(operation)]


async def test_missing_or_wrong_token_gets_401(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = (await at.new_caller_headers("ann"))["authorization"].removeprefix("Bearer ")
        wrong = [
            None,
            "",
            "Bearer",
            ann,
            f"Basic {ann}",
            f"Bearer {ann[:-1]}",
            f"Bearer {ann}x",
            f"Bearer {ann.removeprefix('chatd_')}",
            f"Bearer {ann.upper()}",
            "Bearer chatd_" + "A" * 43,
            "Bearer \xe4",
        ]
        for authorization in wrong:
            headers = (
                {} if authorization is None else {"authorization": authorization.encode("latin-1")}
            )
            answer = await at.chatd.api.http.get(CHATS, headers=headers)
            assert_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert ann not in answer.text
        twice = [("authorization", f"Bearer {ann}")] * 2
        assert_problem(await at.chatd.api.http.get(CHATS, headers=twice), 401, "unauthorized")
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = await get_as(at.chatd, CHATS, {"authorization": f"{scheme} {ann}"})
            assert answer.status_code == 200


async def test_every_path_but_the_public_ones_needs_a_token(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        http = at.chatd.api.http
        for method, path, operation in operations():
            answer = await http.request(method, fill_path(path))
            if path not in PUBLIC_PATHS:
                assert_problem(answer, 401, "unauthorized")
                assert operation["security"]
            else:
                assert answer.status_code == 200, path
                assert "security" not in operation
        for path in ("/openapi.json", "/docs"):
            assert (await http.get(path)).status_code == 200
        for path in ("/nope", "/api/v1", "/api/v1/chats/", "//api/v1/chats", "/livez/"):
            assert_problem(await http.get(path), 401, "unauthorized")
        body = {"content": "a" * (5 * 1024 * 1024)}
        assert_problem(await http.post(CHATS, json=body), 401, "unauthorized")
        answer = await http.post(CHATS, content=b"{", headers={"content-type": "application/json"})
        assert_problem(answer, 401, "unauthorized")
    assert document()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def open_all(
    at: AuthenticatedDaemons, n: int, headers: Bearer, stack: Any
) -> list["asyncio.Task[None]"]:
    """Open every kind of stream of one daemon. Return a task for each that ending_streams with it."""
    chat = await create_chat_as(at.daemons[n], headers)
    before = sum(one.daemon.services.hub.subscriber_count for one in at.daemons)
    answers = [
        await stack.enter_async_context(
            open_stream(at.daemons[n], fill_path(path, chat["id"]), headers=headers)
        )
        for path in STREAMS
    ]
    tasks = []
    for answer in answers:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("event: ")
        tasks.append(asyncio.create_task(drained(lines)))
    assert sum(one.daemon.services.hub.subscriber_count for one in at.daemons) > before
    return tasks


async def drained(lines: Any) -> None:
    async for _ in lines:
        pass


async def test_revoked_token_ends_requests_and_streams_within_a_second(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(), scripted()) as at, AsyncExitStack() as stack:
        token, ann = await at.create_token("ann")
        other = await at.new_caller_headers("ann")
        ending_streams = [task for n in (0, 1) for task in await open_all(at, n, ann, stack)]
        open_streams = [task for n in (0, 1) for task in await open_all(at, n, other, stack)]
        async with measure_scheduling_delay() as delay:
            await at.tokens.revoke(token.id)
            revoked_at = anyio.current_time()

            async def all_ended() -> float:
                await asyncio.wait(ending_streams, timeout=TIMEOUT_SECONDS)
                return anyio.current_time()

            ended_at, *let_in_at = await asyncio.gather(
                all_ended(), *(last_accepted_at(one.api.http, CHATS, ann) for one in at.daemons)
            )
        assert max(let_in_at) < revoked_at + 1
        assert all(task.done() for task in ending_streams)
        assert ended_at < revoked_at + 1 + delay.total, (ended_at - revoked_at, delay)
        for one in at.daemons:
            assert_problem(await get_as(one, CHATS, ann), 401, "unauthorized")
            assert (await get_as(one, CHATS, other)).status_code == 200
        assert not any(task.done() for task in open_streams), "another token of the same owner"
        for task in open_streams:
            task.cancel()
        await asyncio.wait(open_streams)


async def test_expired_token_ends_requests_and_streams(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at, AsyncExitStack() as stack:
        token, ann = await at.create_token("ann", expires=timedelta(hours=1))
        ending_streams = await open_all(at, 0, ann, stack)
        assert not any(task.done() for task in ending_streams)
        await at.database.fetch(
            "UPDATE api_tokens SET expires_at = clock_timestamp() + interval '1 s' WHERE id = $1",
            token.id,
        )
        await eventually(lambda: all(task.done() for task in ending_streams))
        assert_problem(await get_as(at.chatd, CHATS, ann), 401, "unauthorized")
        assert_problem(await get_as(at.chatd, CHATS, ann), 401, "unauthorized")
        (row,) = await at.tokens.list()
        assert row.state == "expired"


async def test_cached_token_costs_no_round_trip_and_records_its_use(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.api.auth.tokens._LAST_USED_INTERVAL_SECONDS", 600.0)
    async with authenticated_daemons(
        dsn, scripted(), worker={"enabled": False, "poll_seconds": 600}
    ) as at:
        ann = await at.new_caller_headers("ann")
        counted = at.chatd.daemon.services.database
        assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200
        (used,) = await at.tokens.list()
        assert used.last_used_at is not None
        before = counted.statement_count
        for _ in range(200):
            assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200
        assert counted.statement_count - before < 100, (
            "two validations a second, and the statements of the actors"
        )
        (still,) = await at.tokens.list()
        assert still.last_used_at == used.last_used_at, "not recorded again within the interval"


async def test_unknown_tokens_are_looked_up_in_batches(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = await at.new_caller_headers("ann")
        authenticator: Any = at.chatd.daemon.actors.auth.authenticator
        check, at_once, calls = authenticator._tokens.validate, [], 0
        asking = 0

        secrets = [f"chatd_{n:043}" for n in range(300)]
        unknown = {hash_token(secret) for secret in secrets}

        async def counted(digests: Collection[bytes], **more: Any) -> Any:
            nonlocal asking, calls
            asking, calls = asking + 1, calls + (not unknown.isdisjoint(digests))
            at_once.append(asking)
            try:
                return await check(digests, **more)
            finally:
                asking -= 1

        monkeypatch.setattr(authenticator._tokens, "validate", counted)
        unknown_headers = [bearer(secret) for secret in secrets]
        statuses = {}

        async def request(headers: Bearer) -> None:
            answer = await get_as(at.chatd, CHATS, headers)
            statuses[headers["authorization"]] = answer.status_code

        async with anyio.create_task_group() as group:
            for headers in [*unknown_headers, ann]:
                group.start_soon(request, headers)
        assert statuses.pop(ann["authorization"]) == 200
        assert set(statuses.values()) == {401}
        assert max(at_once) <= 2, "one for unknown tokens, one for cached ones"
        assert 0 < calls < 100
        calls = 0
        for headers in unknown_headers:
            assert_problem(await get_as(at.chatd, CHATS, headers), 401, "unauthorized")
        assert calls == 0, "a rejected token is not looked up again"


async def test_unavailable_database_keeps_streams_and_refuses_unknown_tokens(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with authenticated_daemons(dsn, scripted()) as at, AsyncExitStack() as stack:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        open_streams = await open_all(at, 0, ann, stack)
        authenticator: Any = at.chatd.daemon.actors.auth.authenticator
        tried = 0

        async def unavailable(*_args: Any, **_more: Any) -> Any:
            nonlocal tried
            tried += 1
            raise DatabaseUnavailable

        monkeypatch.setattr(authenticator._tokens, "validate", unavailable)
        await eventually(lambda: tried >= 2)
        answers = await asyncio.gather(*(get_as(at.chatd, CHATS, who) for who in [bob] * 20))
        for answer in answers:
            assert_problem(answer, 503, "database_unavailable")
            assert answer.headers["retry-after"] == "1"

        async def stale() -> bool:
            return (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 503

        await eventually(stale)
        assert not any(task.done() for task in open_streams)
        monkeypatch.undo()

        async def back() -> bool:
            return (await get_as(at.chatd, CHATS, bob)).status_code == 200

        await eventually(back)
        assert (await get_as(at.chatd, CHATS, ann)).status_code == 200
        assert not any(task.done() for task in open_streams)
        for task in open_streams:
            task.cancel()
        await asyncio.wait(open_streams)


async def test_changed_token_changes_its_identity(dsn: str) -> None:
    """An operator takes a scope away by SQL. The next requests have the new identity."""
    async with authenticated_daemons(dsn, scripted()) as at:
        token, boss = await at.create_token("boss", scopes=EVERY_SCOPE)
        ann = await create_chat_as(at.chatd, await at.new_caller_headers("ann"))
        path = f"{CHATS}/{ann['id']}"
        assert (await get_as(at.chatd, path, boss)).status_code == 200
        await at.database.fetch("UPDATE api_tokens SET scopes = '{chats}' WHERE id = $1", token.id)

        async def demoted() -> bool:
            return (await get_as(at.chatd, path, boss)).status_code == 404

        await eventually(demoted)
