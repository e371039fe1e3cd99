"""Metrics of turns: their cost and their outcome."""

import asyncio
from collections.abc import AsyncIterator

from support.eventually import eventually
from support.factories import OTHER_MODEL, chat_with_status, insert_models
from support.in_process import running_daemon, running_daemons
from support.metrics import MetricsObserver, final_samples
from support.providers import FunctionProvider, finished, scripted, text_delta, tool_call_delta
from support.tool_endpoint import tool_endpoint, tools

from chatd.domain.chat import Status, Usage
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, Finished, ModelRequest
from chatd.store.database import Database

TOOL = {"name": "weather", "parameters": {"type": "object"}}


NO_POLLS = {"poll_seconds": 600}
"""Settings with which a claim that a hint caused takes the chat, and never a poll."""


async def test_finished_turn_is_counted_once(dsn: str) -> None:
    used = Usage(11, 7, 5, 3, 2)

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for word in ("one ", "two ", "three"):
            yield text_delta(word)
        yield Finished("stop", used)

    async with running_daemon(dsn, FunctionProvider(act), worker=NO_POLLS) as chatd:
        await chatd.wait_until_no_chat_waits()
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        assert await meter.increase("chatd_turns_total") == 1
        for name in (
            "chatd_claims_total",
            "chatd_claim_wait_seconds_count",
            "chatd_claims_on_send_total",
            "chatd_turn_seconds_count",
            "chatd_steps_total",
        ):
            assert await meter.increase(name) == 1, name
        assert await meter.increase("chatd_notification_to_claim_seconds_count") == 0
        assert await meter.increase("chatd_provider_calls_total", model="one") == 1
        assert await meter.increase("chatd_first_part_seconds_count", model="one") == 1
        assert await meter.increase("chatd_parts_streamed_total") == 3
        for kind, tokens in zip(
            ("input", "output", "cache_read", "cache_write", "reasoning"),
            (11, 7, 5, 3, 2),
            strict=True,
        ):
            assert await meter.increase("chatd_tokens_total", model="one", kind=kind) == tokens
        assert await meter.increase("chatd_turn_phase_seconds_total", phase="storing") > 0
        assert await meter.increase("chatd_takeovers_total") == 0


async def test_turn_phases_add_up_to_turn_seconds(dsn: str) -> None:
    """Each phase takes long in one of the turns, and the phases add up to the time of the turns."""
    both_asked = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await both_asked.wait()
        await asyncio.sleep(0.3)
        for word in "abcd":
            yield text_delta(word)
            await asyncio.sleep(0.05)
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act), worker={"max_chats": 1}) as chatd:
        meter = await MetricsObserver.start(chatd)
        chats = [await chatd.api.create("hello") for _ in range(2)]
        both_asked.set()
        for chat in chats:
            await chatd.api.wait_for_status(chat["id"], "waiting")
        await meter.wait_for_increase("chatd_turns_total", 2)

        async def phase_seconds(phase: str) -> float:
            return await meter.increase("chatd_turn_phase_seconds_total", phase=phase)

        assert await phase_seconds("first_part") >= 0.6
        assert await phase_seconds("streaming") >= 0.3
        assert await phase_seconds("pending") >= 0.3 + 0.15  # the second waited for the first
        assert await meter.increase("chatd_claim_wait_seconds_sum") == await phase_seconds(
            "pending"
        )
        in_hand = [await phase_seconds(p) for p in ("first_part", "streaming", "storing")]
        assert sum(in_hand) <= await meter.increase("chatd_turn_seconds_sum")
        assert await meter.increase("chatd_first_part_seconds_sum") >= 0.6


async def test_provider_errors_and_retries_by_kind(dsn: str) -> None:
    errors = [ProviderError("busy", status_code=503), ProviderError("no", status_code=401)]

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if errors:
            raise errors.pop(0)
        yield text_delta("at last")
        yield finished()

    async with running_daemon(
        dsn, FunctionProvider(act), turn={"backoff_seconds": 0.2, "backoff_max_seconds": 1}
    ) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "error")
        await meter.wait_for_increase("chatd_turns_total", outcome="failed")
        assert await meter.increase("chatd_provider_calls_total", model="one") == 2
        assert await meter.increase("chatd_provider_errors_total", model="one") == 2
        assert await meter.increase("chatd_provider_errors_total", kind="auth") == 1
        assert await meter.increase("chatd_retries_total") == 1
        assert await meter.increase("chatd_retries_total", kind="auth") == 0
        assert await meter.increase("chatd_turn_failures_total", kind="auth") == 1
        assert await meter.increase("chatd_turn_phase_seconds_total", phase="backoff") >= 0.1
        assert await meter.increase("chatd_first_part_seconds_count") == 0


async def test_panic_is_not_a_provider_error(dsn: str) -> None:
    async with running_daemon(dsn, scripted(oops=[{"panic": "wires crossed"}])) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("[[oops]]")
        await chatd.api.wait_for_status(chat["id"], "error")
        await meter.wait_for_increase("chatd_turns_total", outcome="panicked")
        assert await meter.increase("chatd_turn_failures_total", kind="panic") == 1
        assert await meter.increase("chatd_provider_errors_total") == 0


async def test_calls_of_server_tools_and_their_seconds(dsn: str) -> None:
    turns = [[tool_call_delta("look", "a"), tool_call_delta("look", "b", "[]", index=1)]]

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for call in turns.pop(0) if turns else [text_delta("well")]:
            yield call
        yield finished()

    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, FunctionProvider(act), **tools(endpoint)) as chatd,
    ):
        meter = await MetricsObserver.start(chatd)
        await chatd.api.create("go")
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        for outcome in ("done", "error"):
            labels = {"executor": "server", "outcome": outcome}
            assert await meter.increase("chatd_tool_calls_total", **labels) == 1
        assert await meter.increase("chatd_tool_seconds_count", tool="look") == 2


async def test_tool_calls_by_executor_and_client_time(dsn: str) -> None:
    turns = [
        [
            tool_call_delta("weather", "a"),
            tool_call_delta("weather", "b", index=1),
            tool_call_delta("no such", "c", index=2),
        ],
        [tool_call_delta("no such", "d")],
    ]

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for call in turns.pop(0) if turns else [text_delta("well")]:
            yield call
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("go", tools=[TOOL])
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await meter.wait_for_increase("chatd_turns_total", outcome="requires_action")
        assert (
            await meter.increase("chatd_tool_calls_total", executor="client", outcome="asked") == 2
        )
        assert (
            await meter.increase(
                "chatd_tool_calls_total", executor="server", outcome="no_such_tool"
            )
            == 1
        )
        assert await meter.increase("chatd_turn_phase_seconds_total", phase="client") == 0
        await chatd.api.submit_tool_results(chat["id"], {"a": 1, "b": 2})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        assert (
            await meter.increase("chatd_tool_calls_total", executor="client", outcome="asked") == 2
        )
        assert (
            await meter.increase(
                "chatd_tool_calls_total", executor="server", outcome="no_such_tool"
            )
            == 2
        )
        assert await meter.increase("chatd_steps_total") == 3
        client_seconds = await meter.increase("chatd_turn_phase_seconds_total", phase="client")
        assert 0 < client_seconds < 30


async def test_answers_and_denials_are_counted(dsn: str) -> None:
    turns = [[tool_call_delta("look", "a"), tool_call_delta("pay", "b", index=1)]]

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for call in turns.pop(0) if turns else [text_delta("well")]:
            yield call
        yield finished()

    rules = {"tools": {"rules": {"look": "ask", "pay": "deny"}}}
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, FunctionProvider(act), **tools(endpoint, **rules)) as chatd,
    ):
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        body = {"answers": [{"tool_call_id": "a", "decision": "allow"}]}
        for _ in range(2):
            await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/actions", json=body)
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        for outcome in ("asked", "denied", "done"):
            labels = {"executor": "server", "outcome": outcome}
            assert await meter.increase("chatd_tool_calls_total", **labels) == 1
        assert await meter.increase("chatd_action_answers_total", decision="allow") == 1


async def test_client_tool_timeout_is_counted(dsn: str) -> None:
    calls = [[tool_call_delta("weather", "a")]]

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for part in calls.pop() if calls else [text_delta("well")]:
            yield part
        yield finished()

    short_limits = {
        "turn": {"client_tool_timeout_seconds": 0.05},
        "worker": {"reap_interval_seconds": 0.05},
    }
    async with running_daemon(dsn, FunctionProvider(act), **short_limits) as chatd:
        meter = await MetricsObserver.start(chatd)
        await chatd.api.create("go", tools=[TOOL])
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        assert await meter.increase("chatd_client_tool_timeouts_total") == 1


async def test_interrupted_and_released_turns(dsn: str) -> None:
    provider = scripted(hang=[{"text": "I begin and "}, {"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        await chatd.api.interrupt(chat["id"])
        await meter.wait_for_increase("chatd_turns_total", outcome="interrupted")
        await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        await chatd.stop()
        after = final_samples(chatd)
        assert after.sum_of("chatd_turns_total", outcome="released") == 1
        assert after.sum_of("chatd_turns_total") == 2


async def test_unconfigured_model_fails_without_call(dsn: str, database: Database) -> None:
    await insert_models(database)
    grace = {"unserved_model_seconds": 0.2, "reap_interval_seconds": 0.05}
    async with running_daemon(dsn, worker=grace) as chatd:
        meter = await MetricsObserver.start(chatd)
        await chat_with_status(database, Status.PENDING, last_model_config_id=OTHER_MODEL)
        await meter.wait_for_increase("chatd_turn_failures_total", kind="configuration")
        assert await meter.increase("chatd_provider_calls_total") == 0


async def test_daemons_of_one_process_have_own_metrics(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()]) as (front, back):
        front.daemon.chat_tasks.stop_claiming()
        meters = [await MetricsObserver.start(front), await MetricsObserver.start(back)]
        chats = [await front.api.create("hello") for _ in range(3)]
        await asyncio.gather(*(front.api.wait_for_status(chat["id"], "waiting") for chat in chats))
        await meters[1].wait_for_increase("chatd_turns_total", 3)
        assert await meters[0].increase("chatd_turns_total") == 0
        assert await meters[0].increase("chatd_claims_total") == 0
