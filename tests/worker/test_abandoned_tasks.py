"""Tasks that ignore their cancellation: they lose their chats, and their slots are free again."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from support.eventually import eventually
from support.in_process import running_daemon
from support.metrics import MetricsObserver
from support.providers import FunctionProvider, finished, text_delta

from chatd.llm.provider import Delta, ModelRequest

WORKER = {
    "heartbeat_seconds": 0.2,
    "lease_seconds": 1,
    "reap_interval_seconds": 0.1,
    "max_chats": 1,
    "max_recoveries": 1,
}


class DeafProvider(FunctionProvider):
    """Provider whose first ``deaf_calls`` calls ignore their cancellation until ``end`` is set."""

    def __init__(self, deaf_calls: int) -> None:
        super().__init__(self._act)
        self.deaf_calls = deaf_calls
        self.end = asyncio.Event()

    async def _act(self, _: ModelRequest) -> AsyncIterator[Delta]:
        if len(self.requests) <= self.deaf_calls:
            yield text_delta("heard ")
            with anyio.CancelScope(shield=True):
                await self.end.wait()
        yield text_delta("answer")
        yield finished()


@pytest.mark.parametrize("cause", ["interrupt", "stage"])
async def test_task_that_ignores_its_cancellation_loses_its_chat_and_its_slot(
    dsn: str, cause: str
) -> None:
    provider = DeafProvider(1)
    turn = {"stream_idle_timeout_seconds": 0.2} if cause == "stage" else {}
    stream = {"flush_interval_seconds": 0.01}
    async with running_daemon(dsn, provider, worker=WORKER, turn=turn, stream=stream) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await eventually(lambda: provider.requests)
        other = await chatd.api.create("and me?")
        if cause == "interrupt":
            await chatd.api.interrupt(chat["id"])
        await chatd.wait_for_log("chat.abandoned", chat_id=chat["id"])
        await chatd.api.wait_for_status(other["id"], "waiting")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await meter.wait_for_increase("chatd_abandoned_tasks_total")
        texts = await chatd.api.texts(chat["id"])
        assert texts == (["heard "] if cause == "interrupt" else ["answer"])
        reap = "reap_interrupt" if cause == "interrupt" else "reap"
        assert len(await chatd.journal(chat["id"], reap)) == 1
        provider.end.set()


async def test_chat_whose_tasks_are_always_abandoned_fails_as_a_crash_loop(dsn: str) -> None:
    provider = DeafProvider(10)
    turn = {"stream_idle_timeout_seconds": 0.1}
    async with running_daemon(dsn, provider, worker=WORKER, turn=turn) as chatd:
        chat = await chatd.api.create("hello")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "crash_loop"
        assert len(provider.requests) == 2
        provider.end.set()
