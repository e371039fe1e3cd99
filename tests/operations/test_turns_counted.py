"""What turns cost, and how they end: each number grows by what really happened."""

import asyncio
from collections.abc import AsyncIterator

from factory import OTHER_MODEL, chat_in, models
from inside import Acted, done, one, said, scripted, several, tool_call
from metering import Meter, left_behind
from running import fact

from chatd.domain.chat import Status, Usage
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, Finished, ModelRequest
from chatd.store.pool import Database

TOOL = {"name": "weather", "parameters": {"type": "object"}}


async def test_a_turn_is_counted_once(dsn: str) -> None:
    used = Usage(11, 7, 5, 3, 2)

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for word in ("one ", "two ", "three"):
            yield said(word)
        yield Finished("stop", used)

    async with one(dsn, Acted(act)) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.until(chat["id"], "waiting")
        await meter.grows("chatd_turns_total", outcome="finished")
        assert await meter.grew("chatd_turns_total") == 1
        for name in (
            "chatd_claims_total",
            "chatd_claim_wait_seconds_count",
            "chatd_notification_to_claim_seconds_count",
            "chatd_turn_seconds_count",
            "chatd_steps_total",
        ):
            assert await meter.grew(name) == 1, name
        assert await meter.grew("chatd_provider_calls_total", model="one") == 1
        assert await meter.grew("chatd_first_part_seconds_count", model="one") == 1
        assert await meter.grew("chatd_parts_streamed_total") == 3
        for kind, tokens in zip(
            ("input", "output", "cache_read", "cache_write", "reasoning"),
            (11, 7, 5, 3, 2),
            strict=True,
        ):
            assert await meter.grew("chatd_tokens_total", model="one", kind=kind) == tokens
        assert await meter.grew("chatd_turn_phase_seconds_total", phase="storing") > 0
        assert await meter.grew("chatd_takeovers_total") == 0


async def test_where_the_time_of_a_turn_goes(dsn: str) -> None:
    """Each phase is made long in turn; the whole is the sum of what was in hand."""
    both_asked = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await both_asked.wait()
        await asyncio.sleep(0.3)
        for word in "abcd":
            yield said(word)
            await asyncio.sleep(0.05)
        yield done()

    async with one(dsn, Acted(act), worker={"max_chats": 1}) as chatd:
        meter = await Meter.on(chatd)
        chats = [await chatd.api.create("hello") for _ in range(2)]
        both_asked.set()
        for chat in chats:
            await chatd.api.until(chat["id"], "waiting")
        await meter.grows("chatd_turns_total", 2)

        async def spent(phase: str) -> float:
            return await meter.grew("chatd_turn_phase_seconds_total", phase=phase)

        assert await spent("first_part") >= 0.6
        assert await spent("streaming") >= 0.3
        assert await spent("line") >= 0.3 + 0.15  # the second waited for the first
        assert await meter.grew("chatd_claim_wait_seconds_sum") == await spent("line")
        in_hand = [await spent(p) for p in ("first_part", "streaming", "storing")]
        assert sum(in_hand) <= await meter.grew("chatd_turn_seconds_sum")
        assert await meter.grew("chatd_first_part_seconds_sum") >= 0.6


async def test_calls_that_fail_are_tried_again_and_counted_by_kind(dsn: str) -> None:
    errors = [ProviderError("busy", status_code=503), ProviderError("no", status_code=401)]

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if errors:
            raise errors.pop(0)
        yield said("at last")
        yield done()

    async with one(
        dsn, Acted(act), turn={"backoff_seconds": 0.2, "backoff_max_seconds": 1}
    ) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.until(chat["id"], "error")
        await meter.grows("chatd_turns_total", outcome="failed")
        assert await meter.grew("chatd_provider_calls_total", model="one") == 2
        assert await meter.grew("chatd_provider_errors_total", model="one") == 2
        assert await meter.grew("chatd_provider_errors_total", kind="auth") == 1
        assert await meter.grew("chatd_retries_total") == 1
        assert await meter.grew("chatd_retries_total", kind="auth") == 0
        assert await meter.grew("chatd_turn_failures_total", kind="auth") == 1
        assert await meter.grew("chatd_turn_phase_seconds_total", phase="backoff") >= 0.1
        assert await meter.grew("chatd_first_part_seconds_count") == 0


async def test_a_bug_is_told_from_a_failure(dsn: str) -> None:
    async with one(dsn, scripted(oops=[{"panic": "wires crossed"}])) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("[[oops]]")
        await chatd.api.until(chat["id"], "error")
        await meter.grows("chatd_turns_total", outcome="panicked")
        assert await meter.grew("chatd_turn_failures_total", kind="panic") == 1
        assert await meter.grew("chatd_provider_errors_total") == 0


async def test_tools_by_who_runs_them_and_the_time_of_the_client(dsn: str) -> None:
    turns = [
        [tool_call("weather", "a"), tool_call("weather", "b", index=1), tool_call("no such", "c", index=2)],
        [tool_call("no such", "d")],
    ]  # fmt: skip

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for call in turns.pop(0) if turns else [said("well")]:
            yield call
        yield done()

    async with one(dsn, Acted(act)) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("go", tools=[TOOL])
        await chatd.api.until(chat["id"], "requires_action")
        await meter.grows("chatd_turns_total", outcome="requires_action")
        assert await meter.grew("chatd_tool_calls_total", runs_at="client") == 2
        assert await meter.grew("chatd_tool_calls_total", runs_at="nobody") == 1
        assert await meter.grew("chatd_turn_phase_seconds_total", phase="client") == 0
        await chatd.api.submit(chat["id"], {"a": 1, "b": 2})
        await chatd.api.until(chat["id"], "waiting")
        await meter.grows("chatd_turns_total", outcome="finished")
        assert await meter.grew("chatd_tool_calls_total", runs_at="client") == 2
        assert await meter.grew("chatd_tool_calls_total", runs_at="nobody") == 2
        assert await meter.grew("chatd_steps_total") == 3
        took = await meter.grew("chatd_turn_phase_seconds_total", phase="client")
        assert 0 < took < 30


async def test_a_client_that_takes_too_long(dsn: str) -> None:
    calls = [[tool_call("weather", "a")]]

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for part in calls.pop() if calls else [said("well")]:
            yield part
        yield done()

    quick = {"turn": {"action_seconds": 0.05}, "worker": {"reap_interval_seconds": 0.05}}
    async with one(dsn, Acted(act), **quick) as chatd:
        meter = await Meter.on(chatd)
        await chatd.api.create("go", tools=[TOOL])
        await meter.grows("chatd_turns_total", outcome="finished")
        assert await meter.grew("chatd_client_tool_timeouts_total") == 1


async def test_stops_and_what_is_handed_back(dsn: str) -> None:
    provider = scripted(hang=[{"text": "I begin and "}, {"hang": True}])
    async with one(dsn, provider) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("[[hang]]")
        await fact(lambda: provider.open_streams)
        await chatd.api.interrupt(chat["id"])
        await meter.grows("chatd_turns_total", outcome="interrupted")
        await chatd.api.create("[[hang]]")
        await fact(lambda: provider.open_streams)
        await chatd.stop()
        after = left_behind(chatd)
        assert after.of("chatd_turns_total", outcome="released") == 1
        assert after.of("chatd_turns_total") == 2


async def test_a_model_that_is_not_configured_is_other(dsn: str, database: Database) -> None:
    await models(database)
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        await chat_in(database, Status.PENDING, last_model_config_id=OTHER_MODEL)
        await meter.grows("chatd_turn_failures_total", kind="configuration")
        assert await meter.grew("chatd_provider_calls_total") == 0


async def test_daemons_in_one_process_do_not_share_counts(dsn: str) -> None:
    async with several(dsn, [scripted(), scripted()]) as (front, back):
        front.daemon.chat_tasks.stop_claiming()
        meters = [await Meter.on(front), await Meter.on(back)]
        chats = [await front.api.create("hello") for _ in range(3)]
        await asyncio.gather(*(front.api.until(chat["id"], "waiting") for chat in chats))
        await meters[1].grows("chatd_turns_total", 3)
        assert await meters[0].grew("chatd_turns_total") == 0
        assert await meters[0].grew("chatd_claims_total") == 0
