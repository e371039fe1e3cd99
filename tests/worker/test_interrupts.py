"""Interrupts at every moment: the chat becomes idle, keeps streamed text, and answers the next message."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from support.eventually import eventually
from support.idle import wait_until_idle
from support.in_process import (
    NO_RENEWALS,
    InProcessDaemon,
    fetch_rows,
    running_daemon,
    running_daemons,
)
from support.leases import orphan_chats
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    scripted,
    text_delta,
    tool_call_delta,
)
from support.sse_client import ChatView
from support.trials import trials

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

LONG = "All that is gold does not glitter, not all those who wander are lost. "
SEED = random.randrange(10**6)


async def test_interrupt_of_a_pending_chat_ends_at_once(dsn: str) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create("hello")
        stopped = await front.api.interrupt(chat["id"])
        assert stopped["status"] == "waiting"
        again = await front.api.interrupt(chat["id"])
        assert (again["status"], again["version"]) == ("waiting", stopped["version"])
    provider = scripted()
    async with running_daemon(dsn, provider) as chatd:
        await wait_until_idle(chatd, chat["id"])
        assert provider.calls == 1


async def test_interrupt_before_the_first_part_stores_no_message(dsn: str) -> None:
    provider = scripted(hang=[{"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        await chatd.api.interrupt(chat["id"])
        await wait_until_idle(chatd, chat["id"])
        assert (await chatd.api.texts(chat["id"])) == ["You said: and now"]
        assert provider.open_streams == 0  # the model call was cancelled


async def test_interrupt_in_a_stream_stores_exactly_the_streamed_prefix(dsn: str) -> None:
    reached = asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) != "go":
            yield text_delta(f"You said: {last_user_text(request)}")
            yield finished()
            return
        for part in ("one ", "two ", "three "):
            yield text_delta(part)
        yield tool_call_delta("half", "c", args='{"a":', index=1)
        reached.set()
        await asyncio.Event().wait()

    async with running_daemons(dsn, [FunctionProvider(act)] * 2) as daemons:
        first, second = daemons
        chat = await first.api.create("go")
        await reached.wait()
        other = second if is_leased_by(first, chat["id"]) else first  # without the lease
        stopping = await other.api.interrupt(chat["id"])
        assert stopping["status"] in {"interrupting", "waiting"}
        await wait_until_idle(first, chat["id"])
        message = (await first.api.messages(chat["id"]))[1]
        assert message["content"] == [{"type": "text", "text": "one two three "}]
        assert message["finish_reason"] == "interrupted"


def is_leased_by(chatd: InProcessDaemon, chat_id: str) -> bool:
    return any(str(hand.chat.id) == chat_id for hand in chatd.daemon.chat_tasks.leases)


@pytest.mark.parametrize(("seconds", "recorded"), [(2, "record_retry"), (60, "defer")])
async def test_interrupt_in_a_backoff_ends_the_wait(
    dsn: str, seconds: float, recorded: str
) -> None:
    provider = scripted(bad=[{"text": "no"}, {"error": {"status": 500}}])
    patient = {"backoff_seconds": seconds, "backoff_max_seconds": seconds, "max_attempts": 99}
    async with running_daemon(dsn, provider, turn=patient) as chatd:
        chat = await chatd.api.create("[[bad]]")
        await eventually(lambda: chatd.journal(chat["id"], recorded))
        await chatd.api.interrupt(chat["id"])
        await wait_until_idle(chatd, chat["id"])
        assert await chatd.api.texts(chat["id"]) == ["You said: and now"]


async def test_interrupt_between_steps_keeps_the_first_step(dsn: str, database: Database) -> None:
    """The interrupt is stored after the commit of a step. The model is not called again for this turn."""
    reached, go = asyncio.Event(), asyncio.Event()
    provider_calls: list[str] = []

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        provider_calls.append(last_user_text(request))
        if last_user_text(request) != "go":
            yield text_delta(f"You said: {last_user_text(request)}")
            yield finished()
        elif len(provider_calls) == 1:
            yield text_delta("step one ")
            yield tool_call_delta("t", "c", index=1)
            yield finished("tool_call")
        else:
            reached.set()
            await go.wait()
            raise AssertionError("the call should have been ended")

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create("go")
        await reached.wait()
        await chatd.api.interrupt(chat["id"])
        await wait_until_idle(chatd, chat["id"])
        assert provider_calls == ["go", "go", "and now"]
        assert [m["role"] for m in await chatd.api.messages(chat["id"])] == [
            "user",
            "assistant",
            "tool",
            "user",
            "assistant",
        ]


async def test_interrupt_without_a_hint_is_found_by_the_next_transition(
    dsn: str, database: Database
) -> None:
    """The status changes without a hint while a response is streamed. The response is stored whole."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "go":
            yield text_delta("All of ")
            reached.set()
            await go.wait()
            yield text_delta("it")
        else:
            yield text_delta(f"You said: {last_user_text(request)}")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act), worker=NO_RENEWALS) as chatd:
        chat = await chatd.api.create("go")
        await reached.wait()
        await chatd.daemon.services.store.chats.interrupt(chat["id"], owner_id="local")
        go.set()
        await wait_until_idle(chatd, chat["id"])
        assert (await chatd.api.texts(chat["id"]))[0] == "All of it"


async def test_interrupt_without_a_hint_is_found_by_the_heartbeat(dsn: str) -> None:
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    worker = {"heartbeat_seconds": 0.1}
    async with running_daemon(dsn, provider, worker=worker) as chatd:
        chat = await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        await chatd.daemon.services.store.chats.interrupt(chat["id"], owner_id="local")
        await wait_until_idle(chatd, chat["id"])
        assert (await chatd.api.texts(chat["id"]))[0] == "I begin"


async def test_false_interrupt_hint_changes_nothing(dsn: str) -> None:
    """A hint is never truth: the turn goes on, and the stream has one response."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta(f"call {len(provider.requests)} ")
        reached.set()
        await go.wait()
        yield text_delta("and its end")
        yield finished()

    provider = FunctionProvider(act)
    async with running_daemon(dsn, provider, worker=NO_RENEWALS) as chatd:
        chat = await chatd.api.create("go")
        await reached.wait()
        [hand] = chatd.daemon.chat_tasks.leases
        renewed = hand.renewed_at
        chatd.daemon.services.change_bus.receive(Hint(hand.chat.id, 10**6, Status.INTERRUPTING))
        await eventually(
            lambda: hand.renewed_at > renewed
        )  # renewed by the hint, not by the interval
        go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["call 1 and its end"]
        assert len(provider.requests) == 1


def varied_provider() -> FunctionProvider:
    """Return a provider that answers short or long, after failures or in steps, as the message says."""
    calls: dict[str, int] = {}

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        words = last_user_text(request)
        key = str(request.messages[0].chat_id)
        calls[key] = calls.get(key, 0) + 1
        match words.split()[0]:
            case "short":
                yield text_delta(LONG)
            case "long":
                for at in range(0, len(LONG), 3):
                    await asyncio.sleep(0.001)
                    yield text_delta(LONG[at : at + 3])
            case "flaky":
                yield text_delta(LONG[:5])
                if calls[key] % 3:
                    raise ProviderError("no", status_code=503)
            case "steps":
                yield text_delta(LONG[:10])
                if len(request.messages) < 6:
                    yield tool_call_delta("t", f"c{len(request.messages)}", index=1)
                    yield finished("tool_call")
                    return
            case _:
                yield text_delta(f"You said: {words}")
        yield finished()

    return FunctionProvider(act)


@pytest.mark.parametrize("daemons", [1, 2])
async def test_interrupts_at_random_moments(dsn: str, daemons: int) -> None:
    """Short and long turns, retries, steps and queues: the interrupt may race every transition."""
    rng = random.Random(SEED)

    async def one_chat(number: int) -> None:
        kind = ("short", "long", "flaky", "steps")[number % 4]
        here, there = rng.choice(replicas), rng.choice(replicas)
        chat = await here.api.create(f"{kind} {number}")
        if number % 5 == 0:
            await there.api.send(chat["id"], f"queued {number}")
        await asyncio.sleep(rng.random() * 0.06)
        await there.api.interrupt(chat["id"])
        await wait_until_idle(here, chat["id"], seed=SEED)
        for text in await here.api.texts(chat["id"]):
            assert LONG.startswith(text) or text.startswith("You said: "), (SEED, text)

    async with (
        running_daemons(
            dsn,
            [varied_provider() for _ in range(daemons)],
            turn={"max_attempts": 9},
            limits={"max_requests": 0},
        ) as replicas,
        asyncio.TaskGroup() as group,
    ):
        for number in range(trials(40)):
            group.create_task(one_chat(number))


async def test_interrupting_status_is_streamed(dsn: str) -> None:
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        view = ChatView()

        async def stop() -> None:
            await eventually(lambda: view.status is not None)
            await chatd.api.interrupt(chat["id"])

        stopping = asyncio.create_task(stop())
        await chatd.api.follow(chat["id"], view, lambda view: view.status == "waiting")
        await stopping
        statuses = [e.data["status"] for e in view.events if e.event == "status"]
        assert statuses[-2:] == ["interrupting", "waiting"]
        assert list(view.messages.values())[-1] == "I begin"


async def test_interrupting_chat_of_a_dead_worker_is_finished(dsn: str, database: Database) -> None:
    """The worker dies before it finished the interrupt. The reaper stores what was flushed."""
    provider = scripted(hang=[{"text": "flushed ", "chunks": 2}, {"hang": True}])
    async with running_daemon(
        dsn, provider, stream={"flush_interval_seconds": 0.01}, worker=NO_RENEWALS
    ) as first:
        chat = await first.api.create("[[hang]]")
        await eventually(lambda: fetch_rows(database, "SELECT * FROM chat_parts"))
        first.daemon.chat_tasks.stop_claiming()
        [hand] = first.daemon.chat_tasks.leases
        hand.cancel = lambda _: None  # type: ignore[method-assign]  # the task ignores the interrupt
        await first.api.interrupt(chat["id"])
        async with running_daemon(
            dsn, worker={**NO_RENEWALS, "reap_interval_seconds": 0.1}
        ) as second:
            await orphan_chats(database, chat["id"])
            await wait_until_idle(second, chat["id"])
            assert (await second.api.texts(chat["id"]))[0] == "flushed "
            assert await second.journal(chat["id"], "reap_interrupt")
        del hand.cancel
