"""Tools that are asked for the result of a call: after 202, a lost response, or the death of a worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.client_tools import calling_provider, results_of_all_calls
from support.eventually import eventually
from support.in_process import NO_RENEWALS, InProcessDaemon, running_daemon
from support.leases import orphan_chats
from support.metrics import scrape
from support.providers import tool_call_delta
from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response, tool_endpoint

from chatd.domain.tool_call_errors import RESULT_LOST
from chatd.store.database import Database

FAST = {**NO_RENEWALS, "reap_interval_seconds": 0.1}


class Jobs:
    """An endpoint that works on calls. ``answers`` are those to questions for a result, in their order."""

    def __init__(self, first: bytes | None, answers: Sequence[bytes | None]) -> None:
        self._first = first
        self._answers = list(answers)

    async def answer(self, request: ToolCallRequest) -> bytes:
        answer = self._first if request.method == "POST" else self._answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        if not answer:
            raise ConnectionAbortedError
        return answer


def job_tool(endpoint: ToolEndpoint) -> dict[str, Any]:
    name = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    return {
        "build": {
            "description": "Build.",
            "url": f"{endpoint.url}/builds/{{name}}",
            "result_url": f"{endpoint.url}/builds/{{name}}/{{idempotency_key}}",
            "parameters": name,
            "policy": "reattach",
        }
    }


STILL = response("", status=202, headers="retry-after: 0\r\n")


@asynccontextmanager
async def worker(dsn: str, endpoint: ToolEndpoint, **more: Any) -> AsyncIterator[InProcessDaemon]:
    call = [tool_call_delta("build", "c", json.dumps({"name": "a b"}))]
    async with running_daemon(
        dsn, calling_provider(call), http_tools=job_tool(endpoint), **more
    ) as chatd:
        yield chatd


def check_requests(endpoint: ToolEndpoint) -> None:
    """Check that one request made the call, and all others asked for its result by its key."""
    first, *others = endpoint.requests
    assert (first.method, first.target) == ("POST", "/builds/a%20b")
    assert {(r.method, r.target, r.key, r.body) for r in others} <= {
        ("GET", f"/builds/a%20b/{first.key}", first.key, b"")
    }


@pytest.mark.parametrize(
    ("first", "answers", "expected"),
    [
        (response("at once"), [], "at once"),
        (STILL, [response("built")], "built"),
        (STILL, [STILL, response("", status=503), b"", STILL, response("built")], "built"),
        (STILL, [response("no such file", status=422)], "The endpoint answered 422: no such file"),
        (STILL, [response("", status=404)], RESULT_LOST),
        (STILL, [response("", status=410)], RESULT_LOST),
        (b"", [STILL, response("built")], "built"),
        (b"", [response("", status=404)], RESULT_LOST),
    ],
)
async def test_result_is_asked_for_until_it_is_there(
    dsn: str, first: bytes, answers: list[bytes], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.tools.http.awaited_result._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("chatd.tools.http.awaited_result._MIN_PAUSE_SECONDS", 0.01)
    jobs = Jobs(first, answers)
    async with tool_endpoint(jobs.answer) as endpoint, worker(dsn, endpoint) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [expected]
        assert len(endpoint.requests) == 1 + len(answers)
        check_requests(endpoint)
        outcomes = {"at once": "done", "built": "done", RESULT_LOST: "unknown"}
        outcome = outcomes.get(expected, "error")
        samples = await scrape(chatd)
        assert samples.sum_of("chatd_tool_calls_total", outcome=outcome) == 1


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([STILL, response("built")], "built"), ([response("", status=404)], RESULT_LOST)],
)
async def test_other_worker_asks_for_the_result_and_does_not_run_it_again(
    dsn: str, database: Database, answers: list[bytes], expected: str
) -> None:
    jobs = Jobs(None, answers)
    async with tool_endpoint(jobs.answer) as endpoint:
        async with worker(dsn, endpoint, worker=NO_RENEWALS) as chatd:
            chat = await chatd.api.create("go")
            await eventually(lambda: endpoint.requests)
            chatd.daemon.chat_tasks.stop_claiming()
            async with worker(dsn, endpoint, worker=FAST) as other:
                await orphan_chats(database, chat["id"])
                await other.api.wait_for_status(chat["id"], "waiting")
                assert await results_of_all_calls(other, chat["id"]) == [expected]
        check_requests(endpoint)
        assert len(endpoint.requests) == 1 + len(answers)


async def test_interrupt_ends_the_wait_for_a_result(dsn: str) -> None:
    jobs = Jobs(response("", status=202, headers="retry-after: 3600\r\n"), [])
    async with tool_endpoint(jobs.answer) as endpoint, worker(dsn, endpoint) as chatd:
        chat = await chatd.api.create("go")
        await eventually(lambda: endpoint.requests)
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting", 2)
        [result] = await results_of_all_calls(chatd, chat["id"])
        assert result.startswith("Cancelled by the user while it ran")
        assert len(endpoint.requests) == 1


async def test_wait_for_a_result_has_the_time_limit_of_the_call(dsn: str) -> None:
    jobs = Jobs(STILL, [STILL] * 100)
    async with (
        tool_endpoint(jobs.answer) as endpoint,
        worker(dsn, endpoint, tools={"timeout_seconds": 1.0}) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [
            "Stopped after 1 s. It may have had effects."
        ]
        assert 1 < len(endpoint.requests) < 14


async def test_call_whose_tool_is_reattached_to_no_more_does_not_run_again(
    dsn: str, database: Database
) -> None:
    """A reload made the tool one that runs at most once."""
    jobs = Jobs(None, [])
    async with tool_endpoint(jobs.answer) as endpoint:
        async with worker(dsn, endpoint, worker=NO_RENEWALS) as chatd:
            chat = await chatd.api.create("go")
            await eventually(lambda: endpoint.requests)
            chatd.daemon.chat_tasks.stop_claiming()
            changed = job_tool(endpoint)
            del changed["build"]["policy"], changed["build"]["result_url"]
            async with running_daemon(
                dsn, calling_provider([]), http_tools=changed, worker=FAST
            ) as other:
                await orphan_chats(database, chat["id"])
                await other.api.wait_for_status(chat["id"], "waiting")
                [result] = await results_of_all_calls(other, chat["id"])
                assert result.startswith("The server stopped while this ran.")
        assert len(endpoint.requests) == 1
