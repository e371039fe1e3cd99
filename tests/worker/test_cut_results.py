"""Results that were too long to be shown whole: what is kept, and the tool that reads it."""

import json
from collections.abc import Sequence

from support.client_tools import calling_provider, results_in
from support.in_process import fetch_rows, running_daemon
from support.providers import FunctionProvider, tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

from chatd.domain.tool_choice import READ_RESULT_TOOL
from chatd.llm.provider import PartDelta
from chatd.store.database import Database

TEXT = "".join(f"line {n} é\n" for n in range(2000))
SMALL = {"output_bytes": 2048}


async def long_text(_: ToolCallRequest) -> bytes:
    return response(TEXT)


def offered(provider: FunctionProvider) -> list[bool]:
    return [
        READ_RESULT_TOOL in [tool.name for tool in request.tools] for request in provider.requests
    ]


def reading(call_id: str, *args: tuple[str, int | None, int | None]) -> Sequence[PartDelta]:
    """Return calls that read from an offset on, with a limit."""
    return [
        tool_call_delta(
            READ_RESULT_TOOL,
            f"{call_id}{n}",
            json.dumps(
                {
                    key: value
                    for key, value in zip(("tool_call_id", "offset", "limit"), each, strict=True)
                    if value is not None
                }
            ),
            index=n,
        )
        for n, each in enumerate(args)
    ]


async def test_model_reads_what_was_cut_out_of_a_result(dsn: str, database: Database) -> None:
    size = len(TEXT.encode())
    provider = calling_provider(
        [tool_call_delta("pay", "c1")],
        reading("r", ("c1", 1000, 7), ("c1", None, None), ("c1", size, None), ("c2", None, None)),
    )
    async with (
        tool_endpoint(long_text) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools=SMALL)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert offered(provider) == [False, True, True]
        [(_, shown, _)] = results_in(provider.requests[1])
        assert 'read_tool_result reads this result, tool_call_id "c1", offset ' in shown
        assert len(shown.encode()) <= 2048
        [result] = [
            part
            for message in await chatd.api.messages(chat["id"])
            for part in message["content"]
            if part.get("tool_call_id") == "c1" and part["type"] == "tool-result"
        ]
        assert result["output_bytes"] == size
        span, whole, beyond, unknown = results_in(provider.requests[2])[1:]
        data = TEXT.encode()
        text = data[1000:1007].decode(errors="ignore")
        assert span[1].endswith(f":\n{text}")
        assert whole[1].startswith(f"Bytes 0 to 1920 of {size}:\nline 0 é\n")
        assert beyond[1:] == (f"Only the first {size} of {size} bytes are kept.", True)
        assert unknown[1:] == ("Nothing more is kept of the result of this call.", True)
        [row] = await fetch_rows(
            database, "SELECT body, total_bytes, c.stored_bytes FROM chat_tool_outputs, chats c"
        )
        assert (row["body"], row["total_bytes"]) == (data, size)
        assert row["stored_bytes"] > size
        await chatd.api.send(chat["id"], "again")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert offered(provider)[-1], "the next turn has it, too"
        await chatd.api.http.delete(f"/api/v1/chats/{chat['id']}")
        assert not await fetch_rows(database, "SELECT FROM chat_tool_outputs")


async def test_no_chat_reads_the_output_of_another(dsn: str) -> None:
    provider = calling_provider(
        [tool_call_delta("pay", "c1")],
        reading("r", ("c1", None, None)),
    )
    others = calling_provider(
        [tool_call_delta("pay", "mine")],
        reading("r", ("c1", None, None)),
    )
    async with tool_endpoint(long_text) as endpoint:
        for each in (provider, others):
            async with running_daemon(dsn, each, **tools(endpoint, tools=SMALL)) as chatd:
                chat = await chatd.api.create("go")
                await chatd.api.wait_for_status(chat["id"], "waiting")
    assert results_in(provider.requests[2])[1][1].startswith("Bytes 0 to")
    assert results_in(others.requests[2])[1][1:] == (
        "Nothing more is kept of the result of this call.",
        True,
    )


async def test_reading_on_gives_the_whole_text(dsn: str) -> None:
    reads = [reading(f"r{n}", ("c1", n * 1900, 1900)) for n in range(3)]
    provider = calling_provider([tool_call_delta("pay", "c1")], *reads)
    async with (
        tool_endpoint(long_text) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools=SMALL)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        found = [
            result.partition(":\n")[2] for _, result, _ in results_in(provider.requests[-1])[1:]
        ]
    assert TEXT.startswith(found[0])
    for n, text in enumerate(found):
        start = n * 1900
        assert text == TEXT.encode()[start : start + 1900].decode(errors="ignore")


async def test_reading_needs_no_permission(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")], reading("r", ("c1", None, None)))
    section = {**SMALL, "rules": {"pay": "allow", "*": "ask"}}
    async with (
        tool_endpoint(long_text) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools=section)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[2])[1][1].startswith("Bytes 0 to")


async def test_nothing_is_kept_where_nothing_may_be(dsn: str, database: Database) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    section = {**SMALL, "keep_bytes": 0}
    async with (
        tool_endpoint(long_text) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools=section)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [(_, shown, _)] = results_in(provider.requests[1])
        assert "bytes are missing here …]" in shown
        assert offered(provider) == [False, False]
        assert not await fetch_rows(database, "SELECT FROM chat_tool_outputs")


async def test_result_is_no_larger_than_a_third_of_the_window(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        tool_endpoint(long_text) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        for model in chatd.daemon.config.current.catalog.models:
            object.__setattr__(model, "context_limit", 3000)
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [(_, shown, _)] = results_in(provider.requests[1])
        assert 2700 < len(shown.encode()) <= 3000
