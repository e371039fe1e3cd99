"""Streams of one turn, through a real daemon: opened with their transition, left, cut and resumed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx2
import pytest
from support import probe_adapter
from support.auth import authenticated_daemons
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon
from support.probe_adapter import END
from support.providers import ECHO_SCRIPT, scripted
from support.shared_daemon import SharedDaemon, shared_daemon


def provider() -> Any:
    return scripted(
        ECHO_SCRIPT,
        long=[{"text": "half "}, {"hang": True}],
        tools=[
            {"text": "x" * 600_000, "calls": [1, 2, 3]},
            {"tool_call": {"name": "none"}, "calls": [1, 2, 3]},
            {"text": "done", "calls": [4]},
        ],
        fails=[{"text": "half"}, {"error": {"status": 400, "message": "No."}}],
    )


@pytest.fixture(scope="module", autouse=True)
def _probe() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "chatd.daemon.wiring.api.build_adapters", lambda config: [probe_adapter.build(config)]
        )
        yield


@pytest.fixture(scope="module")
def shared(module_dsn: str, _probe: None) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn, provider()) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    """Yield the module's daemon, with a client that acts for an owner of this test's own."""
    async with shared.as_new_owner() as daemon:
        yield daemon


def ended_streams(chatd: InProcessDaemon, reason: str) -> float:
    return chatd.daemon.services.metrics.streams.ended.values[reason,]


async def post(chatd: InProcessDaemon, name: str, text: str, **more: Any) -> httpx2.Response:
    return await chatd.api.http.post(f"/probe/{name}", json={"text": text, **more})


class Reader:
    """A client that reads a stream line by line."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.lines: list[str] = []
        self._source = answer.aiter_lines()

    async def until(self, last: str) -> list[str]:
        """Read up to a line, and return all lines so far."""
        with anyio.fail_after(TIMEOUT_SECONDS):
            while last not in self.lines:
                line = await anext(self._source)
                self.lines += [line] if line and not line.startswith(":") else []
        return self.lines


FINISHED = ["TurnBegan", "StepBegan", "PartBegan", "PartEnded", "StepEnded", "TurnFinished", END]


def texts(lines: list[str]) -> str:
    return "".join(line[1:] for line in lines if line.startswith("+"))


def without_texts(lines: list[str]) -> list[str]:
    return [line for line in lines if line and line[0] not in ":+"]


async def test_turn_is_streamed_and_ends(chatd: InProcessDaemon) -> None:
    before = ended_streams(chatd, "turn_ended")
    answer = await post(chatd, "main", "hi")
    assert answer.status_code == 200
    assert without_texts(answer.text.splitlines()) == FINISHED
    assert texts(answer.text.splitlines()) == "You said: hi"
    whole = await post(chatd, "other", "hi", whole=True)
    assert without_texts(whole.text.splitlines()) == FINISHED
    assert texts(whole.text.splitlines()) == "You said: hi"
    again = await chatd.api.http.get("/probe/main")
    assert without_texts(again.text.splitlines()) == FINISHED
    assert texts(again.text.splitlines()) == "You said: hi"
    await eventually(lambda: ended_streams(chatd, "turn_ended") == before + 3)


async def test_failed_turn_says_why(chatd: InProcessDaemon) -> None:
    answer = await post(chatd, "main", "[[fails]]")
    assert without_texts(answer.text.splitlines())[-2:] == ["TurnFailed", END]


async def test_repetitions_make_one_turn(chatd: InProcessDaemon) -> None:
    answers = await asyncio.gather(*(post(chatd, "main", "hi") for _ in range(20)))
    assert {texts(answer.text.splitlines()) for answer in answers} == {"You said: hi"}
    (chat,) = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
    assert await chatd.api.texts(chat["id"], "user") == ["hi"]
    assert await chatd.api.texts(chat["id"]) == ["You said: hi"]


async def chat_id(chatd: InProcessDaemon) -> str:
    return str((await chatd.api.http.get("/api/v1/chats")).json()["items"][0]["id"])


async def test_leaving_is_not_stopping(chatd: InProcessDaemon) -> None:
    before = ended_streams(chatd, "client_disconnected")
    async with chatd.api.http.stream("POST", "/probe/main", json={"text": "[[long]]"}) as answer:
        await Reader(answer).until("+half ")
    await eventually(lambda: ended_streams(chatd, "client_disconnected") > before)
    assert (await chatd.api.chat(await chat_id(chatd)))["status"] == "running"
    async with chatd.api.http.stream("GET", "/probe/main") as answer:
        reader = Reader(answer)
        await reader.until("+half ")
        stopped = await chatd.api.http.delete("/probe/main")
        assert stopped.status_code == 200
        lines = await reader.until(END)
    assert without_texts(lines)[-3:] == ["StepEnded", "TurnInterrupted", END]


@pytest.mark.parametrize("whole", [False, True])
async def test_leaving_is_stopping_where_there_is_no_way_back(
    chatd: InProcessDaemon, whole: bool
) -> None:
    body = {"text": "[[long]]", "leaving_stops": True, "whole": whole}
    with anyio.move_on_after(TIMEOUT_SECONDS) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_leave_when_running, chatd, group.cancel_scope)
            await post(chatd, "main", **body)
    assert not scope.cancelled_caught
    chat = await chatd.api.wait_for_status(await chat_id(chatd), "waiting")
    assert await chatd.api.texts(chat["id"]) == ["half "]
    assert [entry["transition"] for entry in await chatd.journal(chat["id"], "interrupt")]


async def _leave_when_running(chatd: InProcessDaemon, scope: anyio.CancelScope) -> None:
    async def streams() -> bool:
        chats = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
        if not chats or chats[0]["status"] != "running":
            return False
        preview = chatd.daemon.services.hub._topics
        return any(topic.preview and topic.preview.parts for topic in preview.values())

    await eventually(streams)
    scope.cancel()


async def test_queued_message_is_found_when_it_is_answered(chatd: InProcessDaemon) -> None:
    async with chatd.api.http.stream("POST", "/probe/main", json={"text": "[[long]]"}) as answer:
        await Reader(answer).until("+half ")
        body = {"text": "next", "key": "k2"}
        async with chatd.api.http.stream("POST", "/probe/main", json=body) as queued:
            reader = Reader(queued)
            await reader.until("queued 1")
            await chatd.api.http.delete("/probe/main")
            lines = await reader.until(END)
    assert without_texts(lines) == ["queued 1", *FINISHED]
    assert texts(lines) == "You said: next"


async def test_drain_cuts_the_connection(dsn: str) -> None:
    """A clean end would pass for the end of the answer."""
    async with (
        running_daemon(dsn, provider()) as chatd,
        chatd.api.http.stream("POST", "/probe/main", json={"text": "[[long]]"}) as answer,
    ):
        reader = Reader(answer)
        await reader.until("+half ")
        chatd.daemon.stop()
        with pytest.raises(httpx2.RemoteProtocolError):
            await reader.until(END)
    assert END not in reader.lines
    assert not chatd.logged("http.unexpected")


async def test_revoked_token_cuts_the_stream_and_limits_count(dsn: str) -> None:
    limits = {"max_streams": 1}
    async with authenticated_daemons(dsn, provider(), limits=limits) as daemons:
        http = daemons.chatd.api.http
        assert (await http.get("/probe/main")).status_code == 401
        token, headers = await daemons.create_token("ann")
        async with http.stream(
            "POST", "/probe/main", json={"text": "[[long]]"}, headers=headers
        ) as answer:
            reader = Reader(answer)
            await reader.until("+half ")
            refused = await http.post("/probe/two", json={"text": "hi"}, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert refused.text.startswith("too_many_streams: ")
            chats = await http.get("/api/v1/chats", headers=headers)
            assert len(chats.json()["items"]) == 1, "nothing was stored"
            await daemons.tokens.revoke(token.id)
            with pytest.raises(httpx2.RemoteProtocolError):
                await reader.until(END)


async def test_chat_of_a_request_that_keeps_none_is_deleted(chatd: InProcessDaemon) -> None:
    answer = await post(chatd, "main", "hi", deletes_chat=True)
    assert texts(answer.text.splitlines()) == "You said: hi"
    await eventually(lambda: _has_no_chats(chatd))
    body = {"text": "[[long]]", "deletes_chat": True}
    async with chatd.api.http.stream("POST", "/probe/other", json=body) as answer:
        reader = Reader(answer)
        await reader.until("+half ")
        assert not await _has_no_chats(chatd)
    await eventually(lambda: _has_no_chats(chatd))


async def _has_no_chats(chatd: InProcessDaemon) -> bool:
    return not (await chatd.api.http.get("/api/v1/chats")).json()["items"]


async def test_long_turn_is_read_page_by_page(chatd: InProcessDaemon) -> None:
    """Its steps have more bytes together than a snapshot holds."""
    answer = await post(chatd, "main", "[[tools]]")
    lines = answer.text.splitlines()
    assert without_texts(lines)[-3:] == ["StepEnded", "TurnFinished", END]
    again = await chatd.api.http.get("/probe/main")
    assert without_texts(again.text.splitlines()) == without_texts(lines)
    assert len(texts(again.text.splitlines())) == 3 * (600_000 + len("{}")) + len("done")
