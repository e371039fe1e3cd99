"""Limits per owner and per request. Each is a setting that its refusal names."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import pytest
from support.auth import authenticated_daemons, create_chat_as, get_as
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted
from support.requests import (
    assert_problem,
    document,
    fill_path,
    ids_of,
    is_stream,
    open_stream,
    operations,
    refused_stream,
)

from chatd.api.auth import stream_sessions
from chatd.api.auth.rate_limit import TokenBuckets

CHATS = "/api/v1/chats"
HANG = {"hang": [{"hang": True}]}


async def test_too_many_parts_or_labels_names_the_limit(dsn: str) -> None:
    part = {"type": "text", "text": "a"}
    async with running_daemon(dsn, limits={"max_content_parts": 3, "max_labels": 2}) as chatd:
        chat = await chatd.api.create()
        for method, path, _ in operations():
            schema = body_of(method, path)
            url = fill_path(path, chat["id"])
            if "content" in schema:
                answer = await chatd.api.http.request(method, url, json={"content": [part] * 4})
                problem = assert_problem(
                    answer, 422, "too_many_parts", "limits.max_content_parts", "3"
                )
                assert problem["errors"][0]["where"] == "body.content"
            if "labels" in schema:
                labels = {str(n): "" for n in range(3)}
                for more in ({}, {"archived": True}) if method == "patch" else ({},):
                    answer = await chatd.api.http.request(
                        method, url, json={"labels": labels} | more
                    )
                    problem = assert_problem(
                        answer, 422, "too_many_labels", "limits.max_labels", "2"
                    )
                    assert problem["errors"][0]["where"] == "body.labels"
        assert await chatd.api.chat(chat["id"]) == chat
        most = {"content": [part] * 3, "labels": {"a": "", "b": ""}}
        assert (await chatd.api.http.post(CHATS, json=most)).status_code == 201


def body_of(method: str, path: str) -> dict[str, Any]:
    """Return the fields of an operation's body."""
    operation = document()["paths"][path][method]
    if "requestBody" not in operation:
        return {}
    (content,) = operation["requestBody"]["content"].values()
    schema = content["schema"]
    name = schema["$ref"].rpartition("/")[2]
    return dict(document()["components"]["schemas"][name]["properties"])


async def test_limit_of_zero_is_unlimited(dsn: str) -> None:
    none = dict.fromkeys(
        (
            "max_content_parts",
            "max_chat_bytes",
            "max_owner_bytes",
            "max_labels",
            "max_active_chats",
            "max_streams",
            "max_searches",
            "max_requests",
            "requests_per_second",
        ),
        0,
    )
    unlimited = {
        "limits": none,
        "http": {"max_body_bytes": 0},
        "worker": {"max_queued_messages": 0},
    }
    async with running_daemon(dsn, scripted(**HANG), **unlimited) as chatd:
        parts = [{"type": "text", "text": "a"}] * 200
        parts += [{"type": "text", "text": "b" * 5 * 1024 * 1024}]
        labels = {str(n): "" for n in range(100)}
        chat = await chatd.api.create(labels=labels, content=parts)  # type: ignore[arg-type]
        busy = await chatd.api.create("[[hang]]")
        await chatd.api.wait_for_status(busy["id"], "running")
        for n in range(30):
            assert (await chatd.api.send(busy["id"], str(n)))["queued"]
        assert chat["labels"] == labels


@pytest.mark.parametrize(
    ("limit", "code"), [("max_chat_bytes", "chat_full"), ("max_owner_bytes", "storage_full")]
)
async def test_what_does_not_fit_is_refused_where_it_is_sent(
    limit: str, code: str, dsn: str
) -> None:
    large = "x" * 65_536
    provider = scripted([{"tool_call": {"name": "f", "id": "a"}, "calls": [1]}, {"text": "Done."}])
    async with running_daemon(dsn, provider, limits={limit: 65_536}) as chatd:
        tools = [{"name": "f", "parameters": {"type": "object"}}]
        chat = await chatd.api.create("go", tools=tools)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        url, [message, _] = f"{CHATS}/{chat['id']}", await chatd.api.messages(chat["id"])
        for method, path, body in (
            ("POST", CHATS, {"content": large}),
            ("POST", f"{url}/messages", {"content": large}),
            ("PATCH", f"{url}/messages/{message['id']}", {"content": large}),
            (
                "POST",
                f"{url}/tool-results",
                {"results": [{"tool_call_id": "a", "result": large}]},
            ),
        ):
            answer = await chatd.api.http.request(method, path, json=body)
            assert_problem(answer, 413, code, f"limits.{limit}")
        await chatd.api.submit_tool_results(chat["id"], {"a": "small"})
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_active_chat_limit_holds_across_replicas(dsn: str) -> None:
    async with authenticated_daemons(
        dsn, scripted(**HANG), scripted(**HANG), limits={"max_active_chats": 3}
    ) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        rest = [(await create_chat_as(at.chatd, ann))["id"] for _ in range(10)]

        async def create(chatd: InProcessDaemon) -> Any:
            return await chatd.api.http.post(CHATS, json={"content": "[[hang]]"}, headers=ann)

        async def send(chatd: InProcessDaemon, chat_id: str) -> Any:
            body = {"content": "[[hang]]"}
            path = f"{CHATS}/{chat_id}/messages"
            return await chatd.api.http.post(path, json=body, headers=ann)

        answers = await asyncio.gather(
            *(create(at.daemons[n % 2]) for n in range(20)),
            *(send(at.daemons[n % 2], chat_id) for n, chat_id in enumerate(rest)),
        )
        done = [answer for answer in answers if answer.status_code in {201, 202}]
        assert len(done) == 3
        for answer in answers:
            if answer not in done:
                assert_problem(answer, 429, "too_many_active_chats", "limits.max_active_chats")
        assert (await create_chat_as(at.chatd, ann))["status"] == "waiting", "it asks for nothing"
        assert (await create_chat_as(at.chatd, bob, content="hello"))["status"] == "pending"
        (first, *_) = done
        busy = first.json().get("chat", first.json())["id"]
        assert (await send(at.chatd, busy)).json()["queued"], "that one is in flight already"
        path = f"{CHATS}/{busy}"
        await at.chatd.api.http.post(f"{path}/interrupt", headers=ann)
        await at.chatd.api.http.delete(path, headers=ann)

        async def room() -> bool:
            return bool((await create(at.daemons[1])).status_code == 201)

        await eventually(room)


async def test_replay_is_not_refused_by_the_active_chat_limit(dsn: str) -> None:
    async with running_daemon(dsn, scripted(**HANG), limits={"max_active_chats": 1}) as chatd:
        keyed = {"idempotency-key": "once"}
        body = {"content": "[[hang]]"}
        first = await chatd.api.http.post(CHATS, json=body, headers=keyed)
        assert_problem(await chatd.api.http.post(CHATS, json=body), 429, "too_many_active_chats")
        again = await chatd.api.http.post(CHATS, json=body, headers=keyed)
        assert ids_of(again) == ids_of(first)


async def test_stream_limit_is_per_owner(dsn: str) -> None:
    """Every kind of stream counts, until it has ended, however that was."""
    streams = [path for _, path, operation in operations() if is_stream(operation)]
    async with authenticated_daemons(dsn, scripted(), limits={"max_streams": 2}) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        also_ann = await at.new_caller_headers("ann")
        chat = (await create_chat_as(at.chatd, ann))["id"]
        for path in streams:
            url = fill_path(path, chat)
            for _ in range(3 if "{chat_id}" in path else 0):
                assert_problem(await get_as(at.chatd, fill_path(path), bob), 404, "chat_not_found")
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    opening = open_stream(at.chatd, url, headers=ann)
                    assert (await stack.enter_async_context(opening)).status_code == 200
                answer = await refused_stream(at.chatd, url, headers=also_ann)
                assert_problem(answer, 429, "too_many_streams", "limits.max_streams", "2")
                assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200

            async def free(url: str = url) -> bool:
                async with open_stream(at.chatd, url, headers=ann) as stream:
                    return bool(stream.status_code == 200)

            await eventually(free)
        await eventually(lambda: not at.chatd.daemon.services.hub.subscriber_count)


async def test_resumed_stream_replaces_the_oldest_of_its_topic(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes back gets the place of its half-open connection, also at the limit."""
    async with (
        running_daemon(dsn, limits={"max_streams": 3}) as chatd,
        AsyncExitStack() as stack,
    ):
        here, there = [f"{CHATS}/{(await chatd.api.create())['id']}/stream" for _ in range(2)]

        async def opened(path: str, **headers: str) -> httpx2.Response:
            stream = open_stream(chatd, path, headers=headers)
            return await stack.enter_async_context(stream)

        other, oldest, newest = [await opened(path) for path in (there, here, here)]
        resume = {"last-event-id": "1.0.0"}
        young = await refused_stream(chatd, here, headers=resume)
        assert_problem(young, 429, "too_many_streams")
        monkeypatch.setattr(stream_sessions, "_MIN_AGE_SECONDS", 0.0)
        assert_problem(await refused_stream(chatd, here), 429, "too_many_streams")
        absent = await refused_stream(chatd, f"{CHATS}/stream", headers={"last-event-id": "1"})
        assert_problem(absent, 429, "too_many_streams")
        assert (await opened(here, **resume)).status_code == 200
        async for _ in oldest.aiter_bytes():
            pass  # until it ends
        streams = chatd.daemon.services.metrics.streams
        assert streams.ended.values[("replaced",)] == 1
        assert chatd.daemon.services.hub.subscriber_count == 3
        assert_problem(await refused_stream(chatd, here), 429, "too_many_streams")
        assert not other.is_closed
        assert not newest.is_closed


async def test_stream_limit_holds_for_concurrent_opens(dsn: str) -> None:
    async with running_daemon(dsn, limits={"max_streams": 5}) as chatd:
        path = f"{CHATS}/{(await chatd.api.create())['id']}/stream"
        async with AsyncExitStack() as stack:
            answers = []

            async def open_one() -> None:
                answers.append(await stack.enter_async_context(open_stream(chatd, path)))

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(open_one)
            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [200] * 5 + [429] * 15
            assert chatd.daemon.services.hub.subscriber_count == 5


async def test_request_rate_limit_is_per_owner(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with authenticated_daemons(dsn, scripted(), limits={"requests_per_second": 5}) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        with monkeypatch.context() as patched:
            take, noon = TokenBuckets.take, anyio.current_time()
            patched.setattr(TokenBuckets, "take", lambda rates, owner, _: take(rates, owner, noon))
            answers = await asyncio.gather(*(get_as(at.chatd, CHATS, ann) for _ in range(30)))
        refusals = [answer for answer in answers if answer.status_code != 200]
        assert len(refusals) == 25, "a bucket of five, and the clock stood still"
        for answer in refusals:
            assert_problem(answer, 429, "too_many_requests", "limits.requests_per_second")
            assert answer.headers["retry-after"] == "1"
        assert (await get_as(at.chatd, CHATS, bob)).status_code == 200
        for _ in range(20):
            assert (await at.chatd.api.http.get("/livez")).status_code == 200
            assert_problem(await at.chatd.api.http.get(CHATS), 401, "unauthorized")

        async def again() -> bool:
            return (await get_as(at.chatd, CHATS, ann)).status_code == 200

        await eventually(again)
