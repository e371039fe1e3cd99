"""Responses with the client for Python, on a real daemon: made, followed, cut, resumed, stopped."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import openresponses_types
import pytest
from adapters.responses.turns import check_strictly
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.node import run
from support.npm_packages import OPENAI_DIR, require_packages
from support.openai_clients import openai_client, openai_options
from support.providers import ECHO_SCRIPT, scripted
from support.shared_daemon import SharedDaemon, shared_daemon

STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)


def provider() -> Any:
    return scripted(
        ECHO_SCRIPT,
        think=[{"reasoning": "Hm, well.", "chunks": 3}, {"text": "You said it.", "chunks": 5}],
        hang=[{"text": "Half of", "chunks": 3}, {"hang": True}],
        tool=[
            {"text": "I look. ", "calls": [1]},
            {
                "tool_call": {"name": "weather", "id": "call_w", "args": {"city": "Bern"}},
                "calls": [1],
            },
            {"text": "It is {result}.", "calls": [2]},
        ],
        again=[
            {"text": "Wrong half", "attempts": [1], "chunks": 3},
            {"error": {"status": 503}, "attempts": [1]},
            {"text": "Right whole", "chunks": 3},
        ],
        pay=[
            {"tool_call": {"name": "pay", "args": {"amount": 5}}, "calls": [1]},
            {"text": "So: {result}", "calls": [2]},
        ],
        fails=[{"text": "Half"}, {"error": {"status": 400, "message": "No."}}],
        long=[{"text": "Half"}, {"finish": {"reason": "length"}}],
    )


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(
        module_dsn,
        provider(),
        adapters={"enabled": ["responses"]},
        http_tools={
            "pay": {
                "description": "Pay.",
                "url": "http://127.0.0.1:9/pay",
                "permission": "ask",
                "parameters": {"type": "object", "properties": {"amount": {"type": "integer"}}},
            }
        },
    ) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    """Yield the module's daemon, with a client that acts for an owner of this test's own."""
    async with shared.as_new_owner() as daemon:
        yield daemon


@pytest.fixture
async def client(chatd: InProcessDaemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_client(chatd) as client:
        yield client


async def text_of_messages(chatd: InProcessDaemon, response: Response) -> list[str]:
    """Return the texts of the answers as the native API has them."""
    assert response.conversation is not None
    chat_id = response.conversation.id.removeprefix("conv_")
    answer = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/messages")
    assert answer.status_code == 200, answer.text
    return [
        part["text"]
        for message in answer.json()["items"]
        if message["role"] == "assistant"
        for part in message["content"]
        if part["type"] == "text"
    ]


async def test_a_response_is_what_is_stored(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    response = await client.responses.create(
        input="Hi", instructions="Be brief.", metadata={"topic": "greetings"}
    )
    Response.model_validate(response.model_dump(), strict=True)
    assert (response.status, response.output_text) == ("completed", "You said: Hi")
    assert await text_of_messages(chatd, response) == ["You said: Hi"]
    again = await client.responses.retrieve(response.id)
    assert again.output == response.output
    assert again.metadata == {"topic": "greetings"}
    assert again.usage == response.usage


async def test_a_stream_is_the_response(chatd: InProcessDaemon, client: openai.AsyncOpenAI) -> None:
    events = [e async for e in await client.responses.create(input="[[think]]", stream=True)]
    for event in events:
        STREAM_EVENT.validate_python(event.model_dump(), strict=True)
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["reasoning", "message"]
    replayed = [e async for e in await client.responses.retrieve(last.response.id, stream=True)]
    numbers = {e.sequence_number: e.type for e in events}
    assert all(numbers[e.sequence_number] == e.type for e in replayed)
    assert (await client.responses.retrieve(last.response.id)).output == last.response.output


async def test_a_response_is_followed_by_the_helper(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(input="[[again]]", model="one") as stream:
        types = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "Right whole"
    assert types.count("response.in_progress") == 1


async def test_each_cut_is_resumed_after_its_last_event(client: openai.AsyncOpenAI) -> None:
    events = [e async for e in await client.responses.create(input="[[again]]", stream=True)]
    response = events[-1].response
    for cut in range(1, len(events)):
        after = events[cut - 1].sequence_number
        rest = [
            e
            async for e in await client.responses.retrieve(
                response.id, stream=True, starting_after=after
            )
        ]
        texts: dict[str, str] = {}
        for event in [*events[:cut], *rest]:
            if event.type == "response.output_text.delta":
                texts[event.item_id] = texts.get(event.item_id, "") + event.delta
        assert texts[response.output[0].id] == "Right whole"
        assert all(event.sequence_number > after for event in rest)


async def test_a_background_response_is_polled(client: openai.AsyncOpenAI) -> None:
    response = await client.responses.create(input="Hi", background=True)
    assert response.status in {"queued", "in_progress", "completed"}
    assert response.background is True

    async def done() -> bool:
        return (await client.responses.retrieve(response.id)).status == "completed"

    await eventually(done)
    assert (await client.responses.retrieve(response.id)).output_text == "You said: Hi"


async def test_a_running_response_is_cancelled(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    stream = await client.responses.create(input="[[hang]]", stream=True, background=True)
    events = []
    async for event in stream:
        events.append(event)
        said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        if event.type == "response.output_text.delta" and said == "Half of":
            cancelled = await client.responses.cancel(event_response(events))
            assert cancelled.status == "cancelled"
    last = events[-1]
    assert last.type == "response.incomplete"
    assert (last.response.status, last.response.output[0].status) == ("cancelled", "incomplete")
    again = await client.responses.retrieve(last.response.id)
    assert (again.status, again.output_text) == ("cancelled", "Half of")
    assert (await client.responses.cancel(last.response.id)).status == "cancelled"


def event_response(events: list[Any]) -> str:
    return str(events[0].response.id)


async def test_a_busy_conversation_queues_its_responses(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(input="[[hang]]", background=True)
    assert first.conversation is not None
    second = await client.responses.create(
        input="Hi", conversation=first.conversation.id, background=True
    )
    third = await client.responses.create(
        input="Ho", previous_response_id=second.id, background=True
    )
    assert (second.status, third.status) == ("queued", "queued")
    assert (await client.responses.cancel(third.id)).status == "cancelled"
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(third.id)
    stream = await client.responses.retrieve(second.id, stream=True)
    types = []
    async for event in stream:
        types.append(event.type)
        if event.type == "response.queued":
            await client.responses.cancel(first.id)
    assert types[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert (await client.responses.retrieve(second.id)).output_text == "You said: Hi"


async def test_a_function_is_called_and_its_output_answered(client: openai.AsyncOpenAI) -> None:
    asked = await client.responses.create(input="[[tool]]", tools=[WEATHER])  # type: ignore[list-item]
    assert asked.status == "completed"
    call = asked.output[-1]
    assert call.type == "function_call"
    assert (call.name, call.arguments, call.call_id) == ("weather", '{"city": "Bern"}', "call_w")
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        await client.responses.create(input=[output("other")], previous_response_id=asked.id)
    answers = [
        await client.responses.create(
            input=[output("call_w", "sunny")], previous_response_id=asked.id
        )
        for _ in range(2)
    ]
    assert [answer.output_text for answer in answers] == ["It is sunny."] * 2
    assert answers[0].id == answers[1].id != asked.id
    assert (await client.responses.retrieve(asked.id)).output == asked.output
    assert (await client.responses.retrieve(answers[0].id)).output == answers[0].output
    items = await client.responses.input_items.list(answers[0].id)
    assert [item.type for item in items.data] == ["function_call_output"]


def output(call_id: str, text: str = "") -> Any:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def test_an_earlier_response_is_forked(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    first = await client.responses.create(input="One")
    second = await client.responses.create(input="Two", previous_response_id=first.id)
    assert second.conversation == first.conversation
    fork = await client.responses.create(input="Three", previous_response_id=first.id)
    assert fork.conversation != first.conversation
    assert await text_of_messages(chatd, fork) == ["You said: One", "You said: Three"]
    assert await text_of_messages(chatd, first) == ["You said: One", "You said: Two"]


async def test_what_is_another_owners_is_unknown(
    shared: SharedDaemon, client: openai.AsyncOpenAI
) -> None:
    response = await client.responses.create(input="Hi")
    assert response.conversation is not None
    async with shared.as_new_owner() as other, openai_client(other) as stranger:
        for response_id in (response.id, response.id[:-1] + "0", "resp_1"):
            with pytest.raises(openai.NotFoundError, match=f"'{response_id}' not found"):
                await stranger.responses.retrieve(response_id)
            with pytest.raises(openai.BadRequestError) as refused:
                await stranger.responses.create(input="Hi", previous_response_id=response_id)
            assert refused.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.create(input="Hi", conversation=response.conversation.id)
        with pytest.raises(openai.NotFoundError):
            await stranger.conversations.items.list(response.conversation.id)


async def test_a_response_of_its_own_is_deleted(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(input="One")
    second = await client.responses.create(input="Two", previous_response_id=first.id)
    with pytest.raises(openai.ConflictError):
        await client.responses.delete(second.id)
    alone = await client.responses.create(input="Hi")
    await client.responses.delete(alone.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(alone.id)


@pytest.mark.parametrize(("name", "status"), [("fails", "failed"), ("long", "incomplete")])
async def test_each_end_is_that_of_the_history(
    client: openai.AsyncOpenAI, name: str, status: str
) -> None:
    events = [e async for e in await client.responses.create(input=f"[[{name}]]", stream=True)]
    last = events[-1]
    assert last.type == f"response.{status}"
    again = await client.responses.retrieve(last.response.id)
    assert (again.status, again.output) == (status, last.response.output)
    replayed = [e async for e in await client.responses.retrieve(again.id, stream=True)]
    assert replayed[-1].sequence_number == last.sequence_number


async def test_one_key_makes_one_response(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    same = {"Idempotency-Key": "once"}
    responses = await asyncio.gather(
        *(client.responses.create(input="Hi", extra_headers=same) for _ in range(20))
    )
    assert len({response.id for response in responses}) == 1
    assert {response.output_text for response in responses} == {"You said: Hi"}
    chats = await chatd.api.http.get("/api/v1/chats")
    assert len(chats.json()["items"]) == 1


async def test_a_conversation_has_items(client: openai.AsyncOpenAI) -> None:
    conversation = await client.conversations.create(
        items=[
            {"type": "message", "role": "system", "content": "Be brief."},
            {"type": "message", "role": "user", "content": "One"},
            {"type": "message", "role": "assistant", "content": "Said."},
        ],
        metadata={"topic": "numbers"},
    )
    response = await client.responses.create(input="Two", conversation=conversation.id)
    added = await client.conversations.items.create(
        conversation.id,
        items=[{"type": "message", "role": "user", "content": "Three"}],
    )
    assert [item.content[0].text for item in added.data] == ["Three"]  # type: ignore[union-attr]
    listed = [
        item
        async for item in client.conversations.items.list(conversation.id, order="asc", limit=2)
    ]
    texts = [item.content[0].text for item in listed]  # type: ignore[union-attr]
    assert texts == ["Be brief.", "One", "Said.", "Two", "You said: Two", "Three"]
    backwards = [
        item.id async for item in client.conversations.items.list(conversation.id, limit=2)
    ]
    assert backwards == [item.id for item in reversed(listed)]
    assert response.output[0].id in backwards
    item = await client.conversations.items.retrieve(
        response.output[0].id, conversation_id=conversation.id
    )
    assert item == listed[4]
    with pytest.raises(openai.ConflictError):
        await client.conversations.items.delete(item.id, conversation_id=conversation.id)
    updated = await client.conversations.update(conversation.id, metadata={"topic": "words"})
    assert updated.metadata == {"topic": "words"}
    deleted = await client.conversations.delete(conversation.id)
    assert deleted.deleted
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(conversation.id)


async def test_items_are_referred_to_by_their_ids(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    first = await client.responses.create(input="One")
    asked = (await client.responses.input_items.list(first.id)).data[0]
    references: Any = [
        {"type": "item_reference", "id": asked.id},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": [{"type": "input_text", "text": "Two"}]},
    ]
    second = await client.responses.create(input=references)
    assert second.conversation != first.conversation
    assert await text_of_messages(chatd, second) == ["You said: One", "You said: Two"]
    with pytest.raises(openai.NotFoundError, match="Item with id 'msg_1' not found"):
        await client.responses.create(input=[{"type": "item_reference", "id": "msg_1"}])


@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_the_clients_for_node(chatd: InProcessDaemon, package: str) -> None:
    require_packages(OPENAI_DIR)
    options = openai_options(chatd)
    arguments = (package, options["base_url"], options["api_key"])
    said = json.loads(
        await asyncio.to_thread(run, "node", "responses.mjs", *arguments, folder=OPENAI_DIR)
    )
    assert said.pop("types")[-1] == "response.completed"
    assert said == {
        "streamed": "Right whole",
        "resumed": "Right whole",
        "answered": "It is sunny.",
        "background": "You said: Hi",
        "missing": "NotFoundError",
    }


async def test_a_running_stream_that_was_cut_goes_on(client: openai.AsyncOpenAI) -> None:
    stream = await client.responses.create(input="[[hang]]", stream=True)
    begun: list[Any] = []
    async for event in stream:
        begun.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    resumed = await client.responses.retrieve(
        event_response(begun), stream=True, starting_after=begun[-1].sequence_number
    )
    said = begun[-1].delta
    async for event in resumed:
        said += event.delta if event.type == "response.output_text.delta" else ""
        if said == "Half of":
            said += "."
            await client.responses.cancel(event_response(begun))
    assert said == "Half of."


async def test_a_response_that_is_not_kept_stops_with_its_client(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    stream = await client.responses.create(input="[[hang]]", stream=True, store=False)
    response_id = ""
    async for event in stream:
        response_id = response_id or event_response([event])
        if event.type == "response.output_text.delta":
            break
    await stream.close()

    async def stopped() -> bool:
        return (await client.responses.retrieve(response_id)).status == "cancelled"

    await eventually(stopped)
    assert (await chatd.api.http.get("/api/v1/chats")).json()["items"] == []


async def test_instructions_and_tools_may_change(
    chatd: InProcessDaemon, client: openai.AsyncOpenAI
) -> None:
    first = await client.responses.create(input="One", instructions="Be brief.")
    assert first.conversation is not None
    for number, instructions in enumerate(("Be brief.", "Be long.", "Be long.")):
        await client.responses.create(
            input=f"{number}", conversation=first.conversation.id, instructions=instructions
        )
    items = [
        item async for item in client.conversations.items.list(first.conversation.id, order="asc")
    ]
    prompts = [item.content[0].text for item in items if getattr(item, "role", "") == "system"]  # type: ignore[union-attr]
    assert prompts == ["Be brief.", "Be long."]
    asked = await client.responses.create(
        input="[[tool]]", conversation=first.conversation.id, tools=[WEATHER]
    )
    assert asked.output[-1].type == "function_call"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("text", {"format": {"type": "json_object"}}, "text.format"),
        ("tools", [{"type": "web_search"}], "tools.0.type"),
        ("tool_choice", "required", "tool_choice"),
        ("input", [{"type": "computer_call_output"}], "input.0.type"),
        ("input", " ", "input"),
        ("conversation", "conv_1", None),
    ],
)
async def test_each_refusal_names_its_field(
    client: openai.AsyncOpenAI, field: str, value: Any, param: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await client.responses.create(**{"input": "Hi", field: value})
    assert refused.value.status_code == (404 if param is None else 400)
    assert refused.value.param == param


async def test_fields_that_change_nothing_are_named(client: openai.AsyncOpenAI) -> None:
    raw = await client.responses.with_raw_response.create(input="Hi", temperature=0, top_p=1)
    assert raw.headers["x-chatd-ignored"] == "temperature, top_p"


OPEN_RESPONSES: dict[str, dict[str, Any]] = {
    "basic": {"input": [{"type": "message", "role": "user", "content": "Say hi."}]},
    "streaming": {"input": [{"role": "user", "content": "Count."}], "stream": True},
    "system prompt": {
        "input": [
            {"type": "message", "role": "system", "content": "You are a pirate."},
            {"type": "message", "role": "user", "content": "Hello."},
        ]
    },
    "tool calling": {"input": [{"role": "user", "content": "[[tool]]"}], "tools": [WEATHER]},
    "tool calling, streamed": {"input": "[[tool]]", "tools": [WEATHER], "stream": True},
    "image input": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                ],
            }
        ]
    },
    "multi turn": {
        "input": [
            {"type": "message", "role": "user", "content": "I am Ann."},
            {"type": "message", "role": "assistant", "content": "Hello Ann."},
            {"type": "message", "role": "user", "content": "Who am I?"},
        ]
    },
}
"""The requests that an implementation of Open Responses must answer."""


@pytest.mark.parametrize("name", OPEN_RESPONSES)
async def test_open_responses(chatd: InProcessDaemon, name: str) -> None:
    body = {"model": "one", **OPEN_RESPONSES[name]}
    answer = await chatd.api.http.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        response = answer.json()
    else:
        events = [
            json.loads(line.removeprefix("data: "))
            for line in answer.text.splitlines()
            if line.startswith("data: ")
        ]
        for event in events:
            check_strictly(event)
        response = events[-1]["response"]
    openresponses_types.ResponseResource.model_validate(response)
    assert response["status"] == "completed"
    assert response["output"]
    if "tool" in name:
        assert response["output"][-1]["type"] == "function_call"


async def test_an_approval_is_asked_and_answered(client: openai.AsyncOpenAI) -> None:
    asked = await client.responses.create(input="[[pay]]")
    request = asked.output[-1]
    assert request.type == "mcp_approval_request"
    assert (request.name, request.arguments) == ("pay", '{"amount": 5}')
    with pytest.raises(openai.BadRequestError, match="No approval request found"):
        await client.responses.create(input=[approval("mcpr_1")], previous_response_id=asked.id)
    answered = await client.responses.create(
        input=[approval(request.id)], previous_response_id=asked.id
    )
    assert answered.output_text.startswith("So: ")
    assert "too much" in answered.output_text
    assert (await client.responses.retrieve(asked.id)).output == asked.output


def approval(request_id: str) -> Any:
    return {
        "type": "mcp_approval_response",
        "approval_request_id": request_id,
        "approve": False,
        "reason": "too much",
    }
