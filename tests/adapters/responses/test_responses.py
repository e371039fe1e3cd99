"""Responses with OpenAI's clients, on a real daemon: made, followed, cut, resumed, stopped."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon
from support.node import run
from support.npm_packages import OPENAI_DIR, require_packages
from support.openai_clients import openai_options
from support.responses import (
    WEATHER,
    call_output,
    denial,
    event_response,
    text_of_messages,
)

EXAMPLE = Path(__file__).parents[3] / "examples" / "openai" / "responses.py"
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


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


async def resumed_until_cancelled(
    client: openai.AsyncOpenAI, resumed: Any, response_id: str, said: str
) -> AsyncIterator[Any]:
    """Yield deltas, and cancel the response once all of it was said, which it may be before."""
    if said == "Half of":
        await client.responses.cancel(response_id)
    async for event in resumed:
        if event.type == "response.output_text.delta":
            yield event
            said += event.delta
            if said == "Half of":
                await client.responses.cancel(response_id)


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
    async for event in resumed_until_cancelled(client, resumed, event_response(begun), said):
        said += event.delta
    assert said == "Half of"


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


async def test_a_function_is_called_and_its_output_answered(client: openai.AsyncOpenAI) -> None:
    asked = await client.responses.create(input="[[tool]]", tools=[WEATHER])  # type: ignore[list-item]
    assert asked.status == "completed"
    call = asked.output[-1]
    assert call.type == "function_call"
    assert (call.name, call.arguments, call.call_id) == ("weather", '{"city": "Bern"}', "call_w")
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        await client.responses.create(input=[call_output("other")], previous_response_id=asked.id)
    answers = [
        await client.responses.create(
            input=[call_output("call_w", "sunny")], previous_response_id=asked.id
        )
        for _ in range(2)
    ]
    assert [answer.output_text for answer in answers] == ["It is sunny."] * 2
    assert answers[0].id == answers[1].id != asked.id
    assert (await client.responses.retrieve(asked.id)).output == asked.output
    assert (await client.responses.retrieve(answers[0].id)).output == answers[0].output
    items = await client.responses.input_items.list(answers[0].id)
    assert [item.type for item in items.data] == ["function_call_output"]


async def test_an_approval_is_asked_and_answered(client: openai.AsyncOpenAI) -> None:
    asked = await client.responses.create(input="[[pay]]")
    request = asked.output[-1]
    assert request.type == "mcp_approval_request"
    assert (request.name, request.arguments) == ("pay", '{"amount": 5}')
    with pytest.raises(openai.BadRequestError, match="No approval request found"):
        await client.responses.create(input=[denial("mcpr_1")], previous_response_id=asked.id)
    answered = await client.responses.create(
        input=[denial(request.id)], previous_response_id=asked.id
    )
    assert answered.output_text.startswith("So: ")
    assert "too much" in answered.output_text
    assert (await client.responses.retrieve(asked.id)).output == asked.output


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


async def test_the_provider_of_the_ai_sdk(chatd: InProcessDaemon) -> None:
    require_packages(OPENAI_DIR)
    options = openai_options(chatd)
    arguments = (options["base_url"], options["api_key"])
    said = json.loads(
        await asyncio.to_thread(run, "node", "provider.mjs", *arguments, folder=OPENAI_DIR)
    )
    assert said == {"text": "Right whole", "answered": "It is sunny.", "steps": 2}


async def test_the_example_goes_on_where_it_was_cut(chatd: InProcessDaemon) -> None:
    options = openai_options(chatd)
    environment = {"CHATD_URL": options["base_url"], "CHATD_TOKEN": options["api_key"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        "[[think]]",
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    assert (process.returncode, said.decode()) == (0, "You said it.\n")
