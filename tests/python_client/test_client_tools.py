"""Helper that runs a client's own tools, against a daemon."""

import asyncio
import re
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.client_tools import provider_of_rounds, results_of_all_calls
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from typing_extensions import override

from chatd.client import Chat, Client, ClientTools, ToolCall, ToolResultInput, Transcript, text_of


@asynccontextmanager
async def calling(
    dsn: str, *rounds: Sequence[tuple[str, str]]
) -> AsyncIterator[tuple[InProcessDaemon, Client]]:
    """Run a daemon whose model calls tools, and a client of it."""
    async with (
        running_daemon(dsn, provider_of_rounds(*rounds)) as chatd,
        Client(str(chatd.api.http.base_url)) as client,
    ):
        yield chatd, client


async def echo(call: ToolCall) -> object:
    return call.args


def echoing(**more: Any) -> ClientTools:
    tools = ClientTools(**more)
    tools.add("echo", echo, description="Repeat.", parameters={"type": "object"})
    return tools


async def test_functions_answer_the_calls_of_every_round(dsn: str) -> None:
    async with calling(dsn, [("echo", '{"a": 1}'), ("echo", "")], [("echo", '{"b": 2}')]) as both:
        chatd, client = both
        tools, events = echoing(), list[str]()
        chat = await client.chats.create("go", tools=tools.declarations)
        transcript = await tools.run(
            client, chat["id"], on_event=lambda event, _: events.append(event.event)
        )
        assert transcript.status == "waiting"
        assert text_of(transcript.messages[-1]["content"]) == "done"
        assert await results_of_all_calls(chatd, chat["id"]) == [{"a": 1}, {}, {"b": 2}]
        assert len(await chatd.journal(chat["id"], "submit_tool_results")) == 2
        assert events[0] == "snapshot"
        assert "message" in events


async def test_example_of_the_guide_answers(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "client-tools.md"
    [example] = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    async with calling(dsn, [("weather", '{"town": "Graz"}')]) as (chatd, _):
        code = example.replace("http://127.0.0.1:8080", str(chatd.api.http.base_url))
        names: dict[str, Any] = {}
        exec(f"async def example():\n{textwrap.indent(code, '    ')}", names)
        await names["example"]()
        assert capsys.readouterr().out.endswith("done\n")
        [chat] = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
        expected = [{"town": "Graz", "sunny": True}]
        assert await results_of_all_calls(chatd, chat["id"]) == expected


async def test_everything_that_goes_wrong_is_a_result(dsn: str) -> None:
    async def fails(_: ToolCall) -> object:
        raise KeyError("no such town")

    async def hangs(_: ToolCall) -> object:
        await anyio.sleep_forever()

    async def times_out_by_itself(_: ToolCall) -> object:
        raise TimeoutError("of its own")

    async def large(_: ToolCall) -> object:
        return "x" * 100

    async def no_json(_: ToolCall) -> object:
        return {"at": object()}

    tools = ClientTools(max_result_bytes=50)
    for function in (fails, times_out_by_itself, large, no_json):
        tools.add(function.__name__, function)
    tools.add("hangs", hangs, timeout_seconds=0.05)
    declared = [*tools.declarations, {"name": "removed", "parameters": {"type": "object"}}]
    names = ["fails", "hangs", "times_out_by_itself", "large", "no_json", "removed"]
    calls = [(name, "{}") for name in names] + [("fails", "[1]"), ("fails", '{"cut')]
    async with calling(dsn, calls) as (chatd, client):
        chat = await client.chats.create("go", tools=declared)
        transcript = await tools.run(client, chat["id"])
        assert transcript.status == "waiting"
        results = await results_of_all_calls(chatd, chat["id"])
        assert results[:6] == [
            "KeyError: 'no such town'",
            "Stopped after 0.05 s. It may have had effects.",
            "TimeoutError: of its own",
            "The result has 102 bytes. At most 50 are allowed.",
            "TypeError: Object of type object is not JSON serializable",
            "This client has no tool named removed.",
        ]
        assert all(text.startswith("The arguments are not a JSON object: ") for text in results[6:])
        [answers] = [m for m in await chatd.api.messages(chat["id"]) if m["role"] == "tool"]
        assert all(part["is_error"] for part in answers["content"])


async def test_results_that_the_server_refuses_are_replaced_by_the_refusal(dsn: str) -> None:
    async def deep(_: ToolCall) -> object:
        value: object = 1
        for _ in range(200):
            value = [value]
        return value

    tools = ClientTools()
    tools.add("deep", deep)
    async with calling(dsn, [("deep", "{}")]) as (chatd, client):
        chat = await client.chats.create("go", tools=tools.declarations)
        assert (await tools.run(client, chat["id"])).status == "waiting"
        [result] = await results_of_all_calls(chatd, chat["id"])
        assert result.startswith("The result could not be stored: ")


async def test_no_more_functions_run_at_once_than_may(dsn: str) -> None:
    running = most = 0

    async def counts(_: ToolCall) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return most

    tools = ClientTools(max_parallel=2)
    tools.add("counts", counts)
    async with calling(dsn, [("counts", "{}")] * 6) as (_, client):
        chat = await client.chats.create("go", tools=tools.declarations)
        await tools.run(client, chat["id"])
    assert most == 2


async def test_interrupt_cancels_running_functions(dsn: str) -> None:
    started, cancelled = anyio.Event(), anyio.Event()

    async def hangs(_: ToolCall) -> object:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    tools = ClientTools()
    tools.add("hangs", hangs)
    async with calling(dsn, [("hangs", "{}")]) as (chatd, client):
        chat = await client.chats.create("go", tools=tools.declarations)
        running = asyncio.create_task(tools.run(client, chat["id"], until_idle=False))
        await eventually(started.is_set)
        await client.chats.interrupt(chat["id"])
        await eventually(cancelled.is_set)
        assert await results_of_all_calls(chatd, chat["id"]) == ["cancelled"]
        await client.chats.delete(chat["id"])
        assert (await running).deleted


async def test_restarted_client_runs_the_call_again_with_its_key(dsn: str) -> None:
    keys: list[str] = []
    survives = False

    async def effect(call: ToolCall) -> object:
        keys.append(call.key)
        if not survives:
            await anyio.sleep_forever()
        return "once"

    tools = ClientTools()
    tools.add("effect", effect)
    async with calling(dsn, [("effect", "{}")], [("effect", "{}")]) as (chatd, client):
        chat = await client.chats.create("go", tools=tools.declarations)
        first = asyncio.create_task(tools.run(client, chat["id"]))
        await eventually(lambda: keys)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        survives = True
        assert (await tools.run(client, chat["id"])).status == "waiting"
        assert await results_of_all_calls(chatd, chat["id"]) == ["once", "once"]
        assert len(keys) == 3
        assert keys[0] == keys[1] != keys[2]


async def test_two_clients_give_each_call_one_result(dsn: str) -> None:
    async with calling(dsn, *[[("echo", f'{{"n": {n}}}')] * 3 for n in range(4)]) as (
        chatd,
        client,
    ):
        chat = await client.chats.create("go", tools=echoing().declarations)
        ends: list[Transcript] = []

        async def run_client() -> None:
            ends.append(await echoing().run(client, chat["id"]))

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(run_client)
        assert [end.status for end in ends] == ["waiting"] * 2
        assert ends[0].messages == ends[1].messages
        expected = [{"n": n} for n in range(4) for _ in range(3)]
        assert await results_of_all_calls(chatd, chat["id"]) == expected
        assert len(await chatd.journal(chat["id"], "submit_tool_results")) == 4


class SlowClient(Client):
    """A client whose first results reach the server late, when they are answered and others are asked."""

    sent: anyio.Event
    late: anyio.Event
    arrived: anyio.Event

    @override
    async def submit_tool_results(
        self,
        chat_id: str,
        results: Sequence[ToolResultInput],
        *,
        idempotency_key: str | None = None,
    ) -> Chat:
        with anyio.CancelScope(shield=True):
            self.sent.set()
            await self.late.wait()
            try:
                return await super().submit_tool_results(
                    chat_id, results, idempotency_key=idempotency_key
                )
            finally:
                self.arrived.set()


async def test_late_results_of_an_earlier_round_are_not_taken_for_those_of_the_next(
    dsn: str,
) -> None:
    sent, second, release = anyio.Event(), anyio.Event(), anyio.Event()

    async def fast(call: ToolCall) -> object:
        if call.args["n"] == 2:
            second.set()
            await release.wait()
        await sent.wait()
        return {"fast": call.args["n"]}

    async def slow(call: ToolCall) -> object:
        if call.args["n"] == 2:
            await anyio.sleep_forever()
        return {"slow": call.args["n"]}

    quick, late = ClientTools(), ClientTools()
    quick.add("act", fast)
    late.add("act", slow)
    async with calling(dsn, [("act", '{"n": 1}')], [("act", '{"n": 2}')]) as (chatd, client):
        chat = await client.chats.create("go", tools=quick.declarations)
        async with SlowClient(str(chatd.api.http.base_url)) as other:
            other.sent, other.late, other.arrived = sent, anyio.Event(), anyio.Event()
            delayed = asyncio.create_task(late.run(other, chat["id"]))
            running = asyncio.create_task(quick.run(client, chat["id"]))
            await eventually(second.is_set)
            other.late.set()
            await eventually(other.arrived.is_set)
            assert (await client.chats.get(chat["id"]))["status"] == "requires_action"
            release.set()
            assert (await running).status == (await delayed).status == "waiting"
        assert await results_of_all_calls(chatd, chat["id"]) == [{"fast": 1}, {"fast": 2}]


async def test_failure_of_the_client_is_raised_as_it_is(dsn: str) -> None:
    def fails(*_: object) -> None:
        raise LookupError("in the callback")

    async with calling(dsn, [("echo", "{}")]) as (_, client):
        tools = echoing()
        chat = await client.chats.create("go", tools=tools.declarations)
        with pytest.raises(LookupError, match="in the callback"):
            await tools.run(client, chat["id"], on_event=fails)
