"""Conversations with OpenAI's client, on a real daemon: their responses, their items, and refusals."""

import json
from typing import Any

import openai
import openresponses_types
import pytest
from adapters.responses.turns import check_strictly
from support.in_process import InProcessDaemon
from support.openai_clients import openai_client
from support.responses import (
    WEATHER,
    text_of_messages,
)
from support.shared_daemon import SharedDaemon

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)


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
