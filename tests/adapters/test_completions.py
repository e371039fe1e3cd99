"""Chat Completions: answers, failures and leaving, by OpenAI's own client for Python."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from support.completions import WEATHER, completion_daemon
from support.concurrency import gather_all
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.openai_clients import (
    assistant,
    complete,
    openai_client,
    openai_options,
    stream_chunks,
    streamed_text,
    user,
)
from support.shared_daemon import SharedDaemon
from support.trials import trials

from chatd.store.database import Database

PARALLEL = trials(40)
IMAGE = "data:image/gif;base64,R0lGODlhOw=="


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with completion_daemon(module_dsn) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    async with shared.as_new_owner() as daemon:
        yield daemon


@pytest.fixture
async def stored(module_dsn: str) -> AsyncIterator[Database]:
    database = Database(module_dsn, pool_size=1)
    await database.open()
    yield database
    await database.close()


async def assert_no_chat_is_left(database: Database) -> None:
    async def left() -> list[Any]:
        return await database.fetch("SELECT status FROM chats WHERE expires_at IS NOT NULL")

    async def none_is_left() -> bool:
        return not await left()

    await eventually(none_is_left)


async def read_into(said: list[str], stream: openai.AsyncStream[ChatCompletionChunk]) -> None:
    async for chunk in stream:
        text = chunk.choices[0].delta.content or ""
        said += [text]


async def test_answer_is_whole_and_of_the_clients_types(
    chatd: InProcessDaemon, stored: Database
) -> None:
    completion = await complete(
        chatd, {"role": "system", "content": "Be brief."}, user("a"), assistant("b"), user("hi")
    )
    (choice,) = completion.choices
    assert choice.message.content == "You said: hi"
    assert choice.message.model_extra == {"reasoning_content": "Let me think."}
    assert choice.finish_reason == "stop"
    assert completion.model == "one"
    assert completion.usage is not None
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    await assert_no_chat_is_left(stored)


async def test_stream_says_what_the_whole_answer_says(
    chatd: InProcessDaemon, stored: Database
) -> None:
    chunks = await stream_chunks(chatd, user("hi"), stream_options={"include_usage": True})
    assert streamed_text(chunks) == "You said: hi"
    reasoning = [
        (choice.delta.model_extra or {}).get("reasoning_content", "")
        for chunk in chunks
        for choice in chunk.choices
    ]
    assert "".join(reasoning) == "Let me think."
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == [
        "stop"
    ]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    assert len({chunk.id for chunk in chunks}) == 1
    await assert_no_chat_is_left(stored)


async def test_clients_own_helper_reads_the_stream(chatd: InProcessDaemon) -> None:
    async with (
        openai_client(chatd) as client,
        client.chat.completions.stream(
            model="one",
            messages=[{"role": "user", "content": "hi"}],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        kinds = [event.type async for event in stream]
        completion = await stream.get_final_completion()
    assert "content.done" in kinds
    assert completion.choices[0].message.content == "You said: hi"
    assert completion.usage is not None


def test_client_without_a_loop(shared: SharedDaemon) -> None:
    async def answer() -> ChatCompletion:
        async with shared.as_new_owner() as daemon:
            with openai.OpenAI(**openai_options(daemon), max_retries=0) as client:
                return await asyncio.to_thread(
                    client.chat.completions.create,
                    model="one",
                    messages=[{"role": "user", "content": "hi"}],
                )

    assert asyncio.run(answer()).choices[0].message.content == "You said: hi"


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_tool_of_the_client_goes_there_and_back(
    chatd: InProcessDaemon, stored: Database, *, streams: bool
) -> None:
    async with openai_client(chatd) as client:
        messages: list[Any] = [user("How is it? [[tool]]")]
        if streams:
            async with client.chat.completions.stream(
                model="one", messages=messages, tools=[WEATHER]
            ) as stream:
                completion = await stream.get_final_completion()
        else:
            completion = await complete(chatd, *messages, tools=[WEATHER])
        (choice,) = completion.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Let me look. "
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo"}')
        messages += [
            choice.message.model_dump(include={"role", "content", "tool_calls"}),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]
        if streams:
            text = streamed_text(await stream_chunks(chatd, *messages, tools=[WEATHER]))
        else:
            completion = await complete(chatd, *messages, tools=[WEATHER])
            text = completion.choices[0].message.content or ""
        assert text == "It is sunny."
    await assert_no_chat_is_left(stored)


@pytest.mark.parametrize(
    ("tag", "status", "code", "error_class"),
    [
        ("busy", 429, "rate_limit", openai.RateLimitError),
        ("down", 503, "overloaded", openai.InternalServerError),
        ("window", 400, "context_length_exceeded", openai.BadRequestError),
    ],
)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_failure_before_the_first_word_has_a_status(
    chatd: InProcessDaemon,
    tag: str,
    status: int,
    code: str,
    error_class: type[openai.APIStatusError],
    *,
    streams: bool,
) -> None:
    async with openai_client(chatd) as client:
        with pytest.raises(error_class) as raised:
            await client.chat.completions.create(
                model="one", messages=[{"role": "user", "content": f"[[{tag}]]"}], stream=streams
            )
    assert (raised.value.status_code, raised.value.code) == (status, code)


@pytest.mark.parametrize(
    ("tag", "code", "words"),
    [
        ("half", "invalid_request", "Half an answer"),
        ("restarted", "answer_restarted", "Wrong half"),
    ],
)
async def test_failure_after_the_first_word_is_raised(
    chatd: InProcessDaemon, stored: Database, tag: str, code: str, words: str
) -> None:
    said: list[str] = []
    async with openai_client(chatd) as client:
        stream = await client.chat.completions.create(
            model="one", messages=[{"role": "user", "content": f"[[{tag}]]"}], stream=True
        )
        with pytest.raises(openai.APIError) as raised:
            await read_into(said, stream)
    assert raised.value.code == code
    assert "".join(said) == words
    await assert_no_chat_is_left(stored)


@pytest.mark.parametrize(
    ("tag", "body", "text"),
    [
        ("restarted", {}, "Right whole"),
        ("early", {}, "At the second attempt"),
        ("early", {"stream": True}, "At the second attempt"),
        ("restarted", {"stream": True, "headers": {"x-chatd-voids": "buffer"}}, "Right whole"),
    ],
)
async def test_attempt_that_failed_is_not_seen(
    chatd: InProcessDaemon, tag: str, body: dict[str, Any], text: str
) -> None:
    if body.pop("stream", False):
        assert streamed_text(await stream_chunks(chatd, user(f"[[{tag}]]"), **body)) == text
    else:
        completion = await complete(chatd, user(f"[[{tag}]]"), **body)
        assert completion.choices[0].message.content == text


async def test_limit_of_the_answer_is_a_finish_reason(chatd: InProcessDaemon) -> None:
    completion = await complete(chatd, user("[[cut]]"))
    assert completion.choices[0].finish_reason == "length"


async def test_leaving_stops_the_turn_and_leaves_no_chat(
    chatd: InProcessDaemon, stored: Database
) -> None:
    async with openai_client(chatd) as client:
        stream = await client.chat.completions.create(
            model="one", messages=[{"role": "user", "content": "[[long]]"}], stream=True
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await assert_no_chat_is_left(stored)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_client_that_gives_up_before_the_first_word_leaves_no_chat(
    chatd: InProcessDaemon, stored: Database, *, streams: bool
) -> None:
    async with openai_client(chatd, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(
                model="one", messages=[{"role": "user", "content": "[[hang]]"}], stream=streams
            )
    await assert_no_chat_is_left(stored)


async def test_many_at_once_leave_no_chat(chatd: InProcessDaemon, stored: Database) -> None:
    completions = await gather_all(*(complete(chatd, user(str(n))) for n in range(PARALLEL)))
    texts = [completion.choices[0].message.content for completion in completions]
    assert texts == [f"You said: {n}" for n in range(PARALLEL)]
    await assert_no_chat_is_left(stored)


async def test_fields_are_refused_or_named(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(
                model="one", messages=[{"role": "user", "content": "hi"}], n=2
            )
        assert (raised.value.code, raised.value.param) == ("unsupported_parameter", "n")
        raw = await client.chat.completions.with_raw_response.create(
            model="one",
            messages=[{"role": "user", "content": "hi"}],
            temperature=0.5,
            max_tokens=10,
        )
        assert raw.headers["x-chatd-ignored"] == "max_tokens, temperature"
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model="one", messages=[])
        assert (raised.value.code, raised.value.param) == ("invalid_request", "messages")


async def test_picture_is_shown_to_the_model_or_refused_by_it(chatd: InProcessDaemon) -> None:
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
    ]
    completion = await complete(chatd, {"role": "user", "content": content})
    assert completion.choices[0].message.content == "You said: see"
    async with openai_client(chatd) as client:
        with pytest.raises(openai.BadRequestError, match="nothing is fetched"):
            await client.chat.completions.create(
                model="one",
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "https://e.example/a.png"}}
                        ],
                    }
                ],
            )


async def test_models_and_who_may_ask(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        assert [(m.id, m.owned_by) async for m in client.models.list()] == [
            ("one", "p"),
            ("two", "p"),
        ]
        assert (await client.models.retrieve("two")).id == "two"
        with pytest.raises(openai.NotFoundError) as raised:
            await client.models.retrieve("a/b")
        assert raised.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError) as raised:
            await client.chat.completions.create(
                model="three", messages=[{"role": "user", "content": "hi"}]
            )
        assert raised.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await client.post("/chat/other", cast_to=object)
    async with openai_client(chatd, api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.models.list()
        assert unknown.value.code == "invalid_api_key"
