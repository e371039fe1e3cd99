"""Messages of any role that a caller stores: the history of a new chat, and more of an idle one's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from support.files import file_input
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, last_user_text, text_delta
from support.requests import assert_problem

from chatd.llm.provider import Delta, ModelRequest

CALL = {"type": "tool-call", "tool_call_id": "a", "tool_name": "sky", "args": "{}"}
RESULT = {"type": "tool-result", "tool_call_id": "a", "tool_name": "sky", "result": "blue"}
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is up?"},
    {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]},
    {"role": "tool", "content": [RESULT]},
    {"role": "assistant", "content": "The blue sky."},
]
TOOL = {"name": "sky", "parameters": {"type": "object", "properties": {}}}


async def test_model_is_shown_a_history_that_was_given(dsn: str) -> None:
    provider = FunctionProvider(answer)
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("Why?", messages=HISTORY)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        stored = await chatd.api.messages(chat["id"])
        assert [message["role"] for message in stored] == [
            *(message["role"] for message in HISTORY),
            "user",
            "assistant",
        ]
        assert stored[3]["content"] == [{**RESULT, "is_error": False}]
        (request,) = provider.requests
        assert [message.role for message in request.messages] == [m["role"] for m in stored[:-1]]
        assert chat["title"] == "What is up?"
        more = [{"role": "assistant", "content": "Also clouds."}]
        path = f"/api/v1/chats/{chat['id']}"
        appended = await chatd.api.http.post(f"{path}/append", json={"messages": more})
        assert appended.status_code == 201, appended.text
        assert appended.json()["chat"]["status"] == "waiting"
        assert [m["content"][0]["text"] for m in appended.json()["messages"]] == ["Also clouds."]
        await chatd.api.send(chat["id"], "Where?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(provider.requests) == 2, "nothing was answered for the appended message"
        assert [m.role for m in provider.requests[1].messages][-3:] == [
            "assistant",
            "assistant",
            "user",
        ]


@pytest.mark.parametrize(
    ("messages", "word"),
    [
        (HISTORY[:3], "tool calls without results"),
        ([HISTORY[3]], "one result of each tool call"),
        ([HISTORY[2], HISTORY[4]], "one result of each tool call"),
        ([HISTORY[2], {"role": "tool", "content": [RESULT, RESULT]}], "one result"),
        ([HISTORY[2] | {"content": [CALL, CALL]}, HISTORY[3]], "Message"),
        ([{"role": "assistant", "content": [CALL | {"args": "no"}]}], "JSON object"),
        ([{"role": "user", "content": [CALL]}], "body.messages.0"),
        ([{"role": "user", "content": " "}], "white space"),
        ([{"role": "developer", "content": "x"}], "body.messages.0"),
        ([{"role": "user", "content": [{"type": "text", "text": "x", "client": "y"}]}], "client"),
        ([HISTORY[0]] * 1001, "1000 items"),
        ([], "body.messages"),
    ],
)
async def test_history_that_no_model_takes_is_refused(
    chatd: InProcessDaemon, messages: list[Any], word: str
) -> None:
    http = chatd.api.http
    chat = await chatd.api.create()
    bodies = [(f"/api/v1/chats/{chat['id']}/append", {"messages": messages})]
    if messages:
        bodies.append(("/api/v1/chats", {"messages": messages}))
    for path, body in bodies:
        assert_problem(await http.post(path, json=body), 422, "invalid_request", word)
    assert await chatd.api.messages(chat["id"]) == []


async def test_files_and_parts_are_checked_as_those_of_messages(dsn: str) -> None:
    provider = FunctionProvider(answer, refuse_file=lambda part: "a file")
    async with running_daemon(dsn, provider, limits={"max_content_parts": 2}) as chatd:
        chat = await chatd.api.create()
        text = {"type": "text", "text": "x"}
        unknown = {"type": "file", "file_id": str(uuid4())}
        for role, content, status, code in (
            ("user", [text] * 3, 422, "too_many_parts"),
            ("assistant", [text] * 3, 422, "too_many_parts"),
            ("user", [file_input("image/png", b"x")], 422, "unsupported_file"),
            ("user", [unknown], 404, "file_not_found"),
        ):
            body = {"messages": [{"role": role, "content": content}]}
            for path in (f"/api/v1/chats/{chat['id']}/append", "/api/v1/chats"):
                assert_problem(await chatd.api.http.post(path, json=body), status, code)


@pytest.mark.parametrize(
    ("limit", "code"), [("max_chat_bytes", "chat_full"), ("max_owner_bytes", "storage_full")]
)
async def test_what_is_given_counts_as_stored(dsn: str, limit: str, code: str) -> None:
    async with running_daemon(dsn, limits={limit: 100_000}) as chatd:
        chat = await chatd.api.create()
        noise = "".join(str(uuid4()) for _ in range(6_000))
        body = {"messages": [{"role": "assistant", "content": noise}]}
        for path in (f"/api/v1/chats/{chat['id']}/append", "/api/v1/chats"):
            assert_problem(await chatd.api.http.post(path, json=body), 413, code)


async def answer(request: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("It is blue.")
    yield finished()


async def test_turn_has_the_tools_that_were_sent_last(dsn: str) -> None:
    """Also one that begins from the queue of a chat, under the same lease, and later ones."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait_and_answer(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "0":
            begun.set()
            await go.wait()
        yield text_delta("It is blue.")
        yield finished()

    provider = FunctionProvider(wait_and_answer)
    async with running_daemon(dsn, provider, turn={"max_tools": 2}) as chatd:
        chat = await chatd.api.create("0", tools=[TOOL])
        await begun.wait()
        others = [TOOL | {"name": "sea"}]
        assert (await chatd.api.send(chat["id"], "1", tools=others))["queued"]
        go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        for text, more in (("2", {}), ("3", {"tools": others}), ("4", {"tools": []}), ("5", {})):
            await chatd.api.send(chat["id"], text, **more)
            await chatd.api.wait_for_status(chat["id"], "waiting")
        names = [[tool.name for tool in request.tools] for request in provider.requests]
        assert names == [["sky"], ["sea"], ["sea"], ["sea"], [], []]
        assert len(await chatd.journal(chat["id"], "claim")) == 5, "one lease for both"
        claimed = chatd.daemon.services.metrics.turns.claims_on_send.values[()]
        assert claimed == 4, "tools that it has already are no reason to wait for a claim"
        many = [TOOL | {"name": f"t{n}"} for n in range(3)]
        path = f"/api/v1/chats/{chat['id']}/messages"
        refused = await chatd.api.http.post(path, json={"content": "x", "tools": many})
        assert_problem(refused, 422, "too_many_tools", "turn.max_tools")
