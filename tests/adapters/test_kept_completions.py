"""Chat Completions that continue a chat: by the names of clients, repeated, changed and stopped."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import openai
import pytest
from support.completions import WEATHER, completion_daemon
from support.concurrency import gather_all
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.openai_clients import assistant, complete, openai_client, stream_chunks, user
from support.shared_daemon import SharedDaemon

CHAT = {"X-Chatd-Chat": "my chat"}
TITLE_TASK = user("### Task:\nGenerate a concise title.\nUSER: hi ASSISTANT: You said: hi")


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with completion_daemon(module_dsn) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    async with shared.as_new_owner() as daemon:
        yield daemon


async def post(chatd: InProcessDaemon, *messages: Any, **more: Any) -> Any:
    headers = more.pop("headers", CHAT)
    answer = await chatd.api.http.post(
        "/v1/chat/completions",
        json={"model": "one", "messages": messages, **more},
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    return answer


def text_of(answer: Any) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


async def history(chatd: InProcessDaemon, chat_id: str) -> list[tuple[str, str]]:
    answer = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/messages")
    assert answer.status_code == 200, answer.text
    return [
        (message["role"], "".join(part.get("text", "") for part in message["content"]))
        for message in answer.json()["items"]
    ]


def spoken(chatd_history: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(role, text.removeprefix("Let me think.")) for role, text in chatd_history]


async def chats(chatd: InProcessDaemon) -> list[dict[str, Any]]:
    answer = await chatd.api.http.get("/api/v1/chats")
    return list(answer.json()["items"])


@pytest.mark.parametrize(
    "naming",
    [
        {"headers": CHAT},
        {"headers": {"X-OpenWebUI-Chat-Id": "my chat", "X-OpenWebUI-Task": ""}},
        {"headers": {"X-Conversation-Id": "my chat"}},
        {"headers": {}, "metadata": {"chat_id": "my chat", "team": "a"}},
        {"headers": CHAT, "metadata": {"chat_id": "my chat"}},
    ],
    ids=["chatd", "openwebui", "librechat", "metadata", "both"],
)
async def test_named_chat_is_continued(chatd: InProcessDaemon, naming: dict[str, Any]) -> None:
    first = await post(chatd, user("hi"), **naming)
    second = await post(chatd, user("hi"), assistant(text_of(first)), user("more"), **naming)
    (chat,) = await chats(chatd)
    assert first.headers["x-chatd-chat"] == second.headers["x-chatd-chat"] == chat["id"]
    assert "x-chatd-detached" not in second.headers
    assert chat["labels"] == ({"team": "a"} if "team" in str(naming) else {})
    assert spoken(await history(chatd, chat["id"])) == [
        ("user", "hi"),
        ("assistant", "You said: hi"),
        ("user", "more"),
        ("assistant", "You said: more"),
    ]


async def test_chat_of_its_uuid_is_made_and_read_by_the_native_api(chatd: InProcessDaemon) -> None:
    made = (await chatd.api.http.post("/api/v1/chats", json={"content": "hi"})).json()
    await chatd.api.wait_for_status(made["id"], "waiting")
    answer = await post(
        chatd,
        user("hi"),
        assistant("You said: hi"),
        user("more"),
        headers={"X-Chatd-Chat": made["id"]},
    )
    assert answer.headers["x-chatd-chat"] == made["id"]
    assert len(await history(chatd, made["id"])) == 4


async def test_id_that_is_a_hash_is_not_chosen(chatd: InProcessDaemon) -> None:
    answer = await chatd.api.http.post(
        "/v1/chat/completions",
        json={"messages": [user("hi")]},
        headers={"X-Chatd-Chat": str(uuid5(NAMESPACE_DNS, "somebody's"))},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


async def test_two_names_are_refused(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(
                model="one",
                messages=[{"role": "user", "content": "hi"}],
                metadata={"chat_id": "another"},
                extra_headers=CHAT,
            )
    assert raised.value.code == "conflicting_parameters"
    assert await chats(chatd) == []


async def test_chat_of_somebody_else_is_not_found(
    shared: SharedDaemon, chatd: InProcessDaemon
) -> None:
    made = (await chatd.api.http.post("/api/v1/chats", json={"content": "hi"})).json()
    async with shared.as_new_owner() as other, openai_client(other) as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(
                model="one",
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"X-Chatd-Chat": made["id"]},
            )


async def test_deleted_chat_is_gone(chatd: InProcessDaemon) -> None:
    chat_id = (await post(chatd, user("hi"))).headers["x-chatd-chat"]
    await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
    answer = await chatd.api.http.post(
        "/v1/chat/completions", json={"messages": [user("hi")]}, headers=CHAT
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "chat_gone")


@pytest.mark.parametrize("headers", [CHAT, {"Idempotency-Key": "one"}], ids=["chat", "key"])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "known"])
async def test_twenty_of_one_request_give_one_turn(
    chatd: InProcessDaemon, headers: dict[str, str], *, begun: bool
) -> None:
    messages = [user("hi")]
    if begun and headers is CHAT:
        answer = await post(chatd, *messages)
        messages += [assistant(text_of(answer)), user("more")]
    answers = await gather_all(
        *(
            stream_chunks(chatd, *messages, headers=headers)
            if number % 2
            else complete(chatd, *messages, headers=headers)
            for number in range(20)
        )
    )
    assert len({answer[0].id if isinstance(answer, list) else answer.id for answer in answers}) == 1
    again = await post(chatd, *messages, headers=headers)
    assert text_of(again) == f"You said: {messages[-1]['content']}"
    chat_id = again.json()["id"].removeprefix("chatcmpl-")[:32]
    assert len(await history(chatd, chat_id)) == len(messages) + 1


async def test_key_of_another_request_is_refused(chatd: InProcessDaemon) -> None:
    key = {"Idempotency-Key": "two"}
    await post(chatd, user("hi"), headers=key)
    answer = await chatd.api.http.post(
        "/v1/chat/completions", json={"messages": [user("other")]}, headers=key
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_key_reused")


@pytest.mark.parametrize(
    "changed",
    [
        [user("ho"), assistant("You said: hi"), user("more")],
        [user("hi"), assistant("Something else"), user("more")],
        [user("more")],
        [TITLE_TASK],
        [{"role": "system", "content": "Be long."}, user("hi")],
    ],
    ids=["edited", "branched", "trimmed", "task", "prompted"],
)
async def test_another_history_is_answered_apart(chatd: InProcessDaemon, changed: Any) -> None:
    chat_id = (await post(chatd, user("hi"))).headers["x-chatd-chat"]
    apart = await post(chatd, *changed)
    assert apart.headers["x-chatd-detached"] == "1"
    assert "x-chatd-chat" not in apart.headers
    assert text_of(apart).startswith("You said: ")
    assert spoken(await history(chatd, chat_id)) == [("user", "hi"), ("assistant", "You said: hi")]
    assert len(await chats(chatd)) == 1


async def test_task_of_open_webui_is_a_request_of_its_own(chatd: InProcessDaemon) -> None:
    names = {"X-OpenWebUI-Chat-Id": "c1", "X-OpenWebUI-Task": "title_generation"}
    answer = await post(chatd, user("hi"), headers=names)
    assert "x-chatd-chat" not in answer.headers
    unset = {"X-OpenWebUI-Chat-Id": "{{CHAT_ID}}", "X-Conversation-Id": "new"}
    await post(chatd, user("hi"), headers=unset)
    assert await chats(chatd) == []


async def test_another_answer_is_made_for_another_id(chatd: InProcessDaemon) -> None:
    def names(answer_id: str) -> dict[str, str]:
        return {"X-OpenWebUI-Chat-Id": "c2", "X-OpenWebUI-Message-Id": answer_id}

    first = await post(chatd, user("hi"), headers=names("a1"))
    chat_id = first.headers["x-chatd-chat"]

    async def turns() -> int:
        return 1 + len(await chatd.journal(chat_id, "edit"))

    await post(chatd, user("hi"), headers=names("a1"))
    assert await turns() == 1
    for _ in range(2):
        await post(chatd, user("hi"), headers=names("a2"))
        assert await turns() == 2
    assert len(await history(chatd, chat_id)) == 2


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_tool_of_the_client_in_a_kept_chat(chatd: InProcessDaemon, *, streams: bool) -> None:
    asked = user("How is it? [[tool]]")
    first = (await post(chatd, asked, tools=[WEATHER])).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    result = {
        "role": "tool",
        "tool_call_id": first["message"]["tool_calls"][0]["id"],
        "content": "sunny",
    }
    messages = [asked, first["message"], result]
    for _ in range(2):  # the second one attaches
        if streams:
            chunks = await stream_chunks(chatd, *messages, tools=[WEATHER], headers=CHAT)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert not any(chunk.choices[0].delta.tool_calls for chunk in chunks)
        else:
            text = text_of(await post(chatd, *messages, tools=[WEATHER]))
        assert text == "It is sunny."
    (chat,) = await chats(chatd)
    assert [role for role, _ in await history(chatd, chat["id"])] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    last = await post(chatd, *messages, assistant("It is sunny."), user("thanks"))
    assert "x-chatd-detached" not in last.headers


async def test_message_instead_of_results_closes_the_calls(chatd: InProcessDaemon) -> None:
    asked = user("How is it? [[tool]]")
    first = (await post(chatd, asked, tools=[WEATHER])).json()["choices"][0]
    answer = await post(chatd, asked, first["message"], user("never mind"))
    assert "x-chatd-detached" not in answer.headers
    assert text_of(answer) == "You said: never mind"


async def begun_answer(client: openai.AsyncOpenAI) -> tuple[Any, str]:
    """Return the stream of a long answer of the kept chat, and its first words."""
    stream = await client.chat.completions.create(
        model="one",
        messages=[{"role": "user", "content": "[[long]]"}],
        stream=True,
        extra_headers=CHAT,
    )
    async for chunk in stream:
        if said := chunk.choices[0].delta.content:
            return stream, said
    raise AssertionError("the answer has no words")


async def test_client_that_left_gets_the_whole_answer_later(chatd: InProcessDaemon) -> None:
    """The turn stops with the client. The same request again has it answered anew, and not half."""
    async with openai_client(chatd) as client:
        stream, said = await begun_answer(client)
        await stream.close()
    (chat,) = await chats(chatd)
    await chatd.api.wait_for_status(chat["id"], "waiting")
    (_, half) = await history(chatd, chat["id"])
    assert half[1].startswith(said)
    other = await post(chatd, user("[[long]]"), assistant(said), user("hi"))
    assert "x-chatd-detached" not in other.headers
    assert text_of(other) == "You said: hi"


async def test_interrupt_by_another_client_ends_the_answer(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        stream = await client.chat.completions.create(
            model="one",
            messages=[{"role": "user", "content": "[[long]]"}],
            stream=True,
            extra_headers=CHAT,
        )
        said, reason = "", None
        async for chunk in stream:
            (choice,) = chunk.choices
            if choice.delta.content and not said:
                (chat,) = await chats(chatd)
                await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/interrupt")
            said += choice.delta.content or ""
            reason = choice.finish_reason or reason
    assert reason == "stop"
    assert (await history(chatd, chat["id"]))[-1] == ("assistant", said)


async def test_message_to_a_busy_chat_waits_for_its_turn(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        stream, _ = await begun_answer(client)
        (chat,) = await chats(chatd)

        async def is_queued() -> bool:
            answer = await chatd.api.http.get(f"/api/v1/chats/{chat['id']}/queue")
            return bool(answer.json()["items"])

        async def stop_once_queued() -> None:
            await eventually(is_queued)
            await stream.close()

        waiting, _ = await gather_all(
            stream_chunks(chatd, user("[[long]]"), user("next"), headers=CHAT),
            stop_once_queued(),
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in waiting)
    assert text == "You said: next"


async def test_failed_turn_is_tried_again_by_the_same_request(chatd: InProcessDaemon) -> None:
    async with openai_client(chatd) as client:
        for _ in range(2):
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(
                    model="one",
                    messages=[{"role": "user", "content": "[[busy]]"}],
                    extra_headers=CHAT,
                )
    (chat,) = await chats(chatd)
    assert len(await chatd.journal(chat["id"], "retry")) == 1
    assert await history(chatd, chat["id"]) == [("user", "[[busy]]")]
    answer = await post(chatd, user("[[busy]]"), assistant(""), user("hi"))
    assert text_of(answer) == "You said: hi"
    assert json.dumps(await history(chatd, chat["id"])).count("busy") == 1


async def test_retries_of_the_client_make_one_message(chatd: InProcessDaemon) -> None:
    """The client gives up twice, and repeats the request by itself."""
    async with openai_client(chatd, timeout=0.4, max_retries=2) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(
                model="one",
                messages=[{"role": "user", "content": "[[hang]]"}],
                extra_headers=CHAT,
            )
    (chat,) = await chats(chatd)
    assert [role for role, _ in await history(chatd, chat["id"])] == ["user"]
    assert len(await chatd.journal(chat["id"], "edit")) == 2
