"""Client tools of a chat and the submission of their results."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta
from support.requests import assert_problem

from chatd.domain.message import Role
from chatd.llm.provider import Delta, ModelRequest

TOOL = {"name": "weather", "parameters": {"type": "object"}}


async def _act(request: ModelRequest) -> AsyncIterator[Delta]:
    if request.messages[-1].role is Role.USER:
        yield tool_call_delta("weather", "c1")
        yield tool_call_delta("weather", "c2", index=1)
        yield finished("tool_call")
    else:
        yield text_delta("well then")
        yield finished()


async def waiting(chatd: InProcessDaemon) -> str:
    """Create a chat that waits for results of ``c1`` and ``c2``."""
    chat = await chatd.api.create("go", tools=[TOOL])
    return str((await chatd.api.wait_for_status(chat["id"], "requires_action"))["id"])


def results(*ids: str, **more: Any) -> dict[str, Any]:
    return {"results": [{"tool_call_id": one, "result": one} | more for one in ids]}


async def test_invalid_results_are_named(dsn: str) -> None:
    async with running_daemon(dsn, FunctionProvider(_act)) as chatd:
        chat_id = await waiting(chatd)
        path = f"/api/v1/chats/{chat_id}/tool-results"
        for ids, code, named in [
            (["c1"], "tool_results_missing", "c2"),
            (["c1", "c2", "c3"], "tool_call_unknown", "c3"),
            (["c1", "c2", "c1"], "tool_call_unknown", "c1"),
            (["\x00"], "tool_call_unknown", "\N{REPLACEMENT CHARACTER}"),
        ]:
            body = results(*ids)
            assert_problem(await chatd.api.http.post(path, json=body), 422, code, named)
        assert (await chatd.api.chat(chat_id))["status"] == "requires_action"
        answer = await chatd.api.http.post(path, json=results("c2", "c1", is_error=True))
        assert answer.status_code == 200, answer.text
        assert_problem(
            await chatd.api.http.post(path, json=results("c1", "c2")), 409, "no_action_required"
        )
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert_problem(
            await chatd.api.http.post(path, json=results("c1", "c2")), 409, "no_action_required"
        )
        elsewhere = f"/api/v1/chats/{uuid4()}/tool-results"
        assert_problem(
            await chatd.api.http.post(elsewhere, json=results("c1")), 404, "chat_not_found"
        )


async def test_twenty_concurrent_submissions_have_one_effect(dsn: str) -> None:
    async with running_daemon(dsn, FunctionProvider(_act)) as chatd:
        chat_id = await waiting(chatd)
        path = f"/api/v1/chats/{chat_id}/tool-results"
        asks = [chatd.api.http.post(path, json=results("c1", "c2")) for _ in range(20)]
        answers = await asyncio.gather(*asks)
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert len(await chatd.journal(chat_id, "submit_tool_results")) == 1


async def test_repeated_submission_with_key_replays_the_response(dsn: str) -> None:
    async with running_daemon(dsn, FunctionProvider(_act)) as chatd:
        chat_id = await waiting(chatd)
        path, keyed = f"/api/v1/chats/{chat_id}/tool-results", {"Idempotency-Key": "k1"}
        asks = [
            chatd.api.http.post(path, json=results("c1", "c2"), headers=keyed) for _ in range(20)
        ]
        answers = await asyncio.gather(*asks)
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["id"] for answer in answers} == {chat_id}
        await chatd.api.wait_for_status(chat_id, "waiting")
        later = await chatd.api.http.post(path, json=results("c1", "c2"), headers=keyed)
        assert (later.status_code, later.json()) == (200, await chatd.api.chat(chat_id))
        assert len(await chatd.journal(chat_id, "submit_tool_results")) == 1


async def test_any_json_is_a_result_and_unstorable_text_is_replaced(dsn: str) -> None:
    async with running_daemon(dsn, FunctionProvider(_act)) as chatd:
        for spelt, kept in {
            "null": None,
            "[1, true, {}]": [1, True, {}],
            r'"a\u0000\ud800b"': "a\ufffd\ufffdb",
            r'{"k\u0000": [-1.5]}': {"k\ufffd": [-1.5]},
            "[" * 63 + "]" * 63: None,
        }.items():
            chat_id = await waiting(chatd)
            each = ", ".join(
                f'{{"tool_call_id": "{one}", "result": {spelt}}}' for one in ("c1", "c2")
            )
            answer = await chatd.api.http.post(
                f"/api/v1/chats/{chat_id}/tool-results",
                content=f'{{"results": [{each}]}}',
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 200, (spelt, answer.text)
            message = (await chatd.api.messages(chat_id))[2]
            if not spelt.startswith("[["):
                assert [part["result"] for part in message["content"]] == [kept] * 2


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"properties": {"a": value}}
    return {"type": "object", **value}


@pytest.mark.parametrize(
    ("tools", "where"),
    [
        ([{"name": "", "parameters": {"type": "object"}}], "tools.0.name"),
        ([{"name": "a b", "parameters": {"type": "object"}}], "tools.0.name"),
        ([{"name": "a\n", "parameters": {"type": "object"}}], "tools.0.name"),
        ([{"name": "a" * 65, "parameters": {"type": "object"}}], "tools.0.name"),
        ([{"name": "a\x00", "parameters": {"type": "object"}}], "tools.0.name"),
        ([TOOL, TOOL], "two tools are named weather"),
        ([{"name": "a"}], "tools.0.parameters"),
        ([{"name": "a", "parameters": []}], "tools.0.parameters"),
        ([{"name": "a", "parameters": {}}], "type: must be"),
        ([{"name": "a", "parameters": {"type": "string"}}], "type: must be"),
        ([TOOL | {"x": 1}], "tools.0.x"),
        ([TOOL | {"description": None}], "tools.0.description"),
        (
            [TOOL | {"parameters": {"type": "object", "properties": {"a": {"type": "strnig"}}}}],
            "properties.a.type: must be of array, boolean",
        ),
        (
            [TOOL | {"parameters": {"type": "object", "properties": []}}],
            "properties: must be an object",
        ),
        (
            [TOOL | {"parameters": {"type": "object", "required": "a"}}],
            "required: must be a list",
        ),
        (
            [TOOL | {"parameters": {"type": "object", "properties": {"a": {"anyOf": [1]}}}}],
            "properties.a.anyOf.0: must be a schema",
        ),
        ([TOOL | {"parameters": nested(40)}], "nested more than 64 deep"),
    ],
)
async def test_invalid_tool_is_refused_with_its_place(
    chatd: InProcessDaemon, tools: list[Any], where: str
) -> None:
    answer = await chatd.api.http.post("/api/v1/chats", json={"tools": tools})
    assert_problem(answer, 422, "invalid_request", where)


async def test_too_many_tools_names_the_limit(dsn: str) -> None:
    async with running_daemon(dsn, turn={"max_tools": 2}) as chatd:
        tools = [TOOL | {"name": f"t{n}"} for n in range(3)]
        await chatd.api.create(tools=tools[:2])
        answer = await chatd.api.http.post("/api/v1/chats", json={"tools": tools})
        assert_problem(answer, 422, "too_many_tools", "turn.max_tools")
        answer = await chatd.api.http.post(
            f"/api/v1/chats/{uuid4()}/tool-results", json={"results": []}
        )
        assert_problem(answer, 422, "invalid_request", "body.results")


async def test_tool_schema_is_stored_unchanged(dsn: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None], "x-vendor": [1.5]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/c"}, "minItems": 1},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"c": {"oneOf": [True, {"not": {"type": "null"}}]}},
    }
    provider = FunctionProvider(_act)
    async with running_daemon(dsn, provider) as chatd:
        tool = {"name": "weather", "description": "a \x00 b", "parameters": schema}
        chat = await chatd.api.create("go", tools=[tool])
        await chatd.api.wait_for_status(chat["id"], "requires_action")
    (spec,) = provider.requests[0].tools
    assert spec.parameters == schema
    assert spec.description == "a \N{REPLACEMENT CHARACTER} b"
