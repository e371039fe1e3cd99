"""Task pool: what it holds while a chat has a fenced task and a new one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import anyio
import pytest
from support.chats import leased_chat
from support.virtual_clock import on_virtual_time

from chatd.store.claims import Claim
from chatd.store.records import TransitionResult
from chatd.supervision.child import ChildHandle
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.lease import Cause, Lease
from chatd.worker.worker_lease import WorkerLease

UNUSED = cast("Any", None)
CHAT = UUID(int=1)


class HeldRunner:
    """Runner whose turn ends when the test says so. ``ends`` has an event for each epoch."""

    ends: dict[int, anyio.Event]

    def __init__(self, _: object, lease: Lease, **__: object) -> None:
        self._end = self.ends[lease.fence.epoch] = anyio.Event()

    async def run(self, **_: object) -> None:
        await self._end.wait()


@asynccontextmanager
async def running_pool(max_chats: int) -> AsyncIterator[ChatTaskPool]:
    tasks = ChatTaskPool(
        UNUSED,
        config=UNUSED,
        max_chats=lambda: max_chats,
        worker_lease=WorkerLease(local_lease_seconds=15.0),
        grace_seconds=0.0,
        abandon_after_seconds=20.0,
    )
    async with anyio.create_task_group() as group:
        child = ChildHandle("chats")
        group.start_soon(tasks.run, child)
        await anyio.wait_all_tasks_blocked()
        yield tasks
        child.stopping.set()


def claim(epoch: int) -> Claim:
    chat = leased_chat(id=CHAT, epoch=epoch)
    return Claim(TransitionResult(chat=chat, entry=None), None, 0.0)


def test_end_of_a_fenced_task_leaves_its_successor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit fenced the task, and its process claimed the chat again before the task had ended."""
    monkeypatch.setattr("chatd.worker.chat_tasks.Runner", HeldRunner)
    ends = HeldRunner.ends = {}

    @on_virtual_time
    async def scenario() -> None:
        async with running_pool(max_chats=2) as tasks:
            slots_freed = list[None]()
            tasks.on_slot_free = lambda: slots_freed.append(None)
            for epoch in (1, 2):
                tasks.start(claim(epoch))
                (lease,) = tasks.leases
                assert lease.fence.epoch == epoch
                await anyio.wait_all_tasks_blocked()
            ends[1].set()
            await anyio.wait_all_tasks_blocked()
            assert tasks.leases == (lease,)
            assert (lease.cause, tasks.free_slots) == (None, 1)
            ends[2].set()
            await anyio.wait_all_tasks_blocked()
            assert (tasks.leases, tasks.free_slots, slots_freed) == ((), 2, [])

    scenario()


def test_fenced_task_is_cancelled_and_a_full_pool_tells_of_a_free_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatd.worker.chat_tasks.Runner", HeldRunner)
    ends = HeldRunner.ends = {}

    @on_virtual_time
    async def scenario() -> None:
        async with running_pool(max_chats=1) as tasks:
            slots_freed = list[None]()
            tasks.on_slot_free = lambda: slots_freed.append(None)
            tasks.start(claim(1))
            (fenced,) = tasks.leases
            tasks.start(claim(2))
            assert fenced.cause is Cause.LOST
            await anyio.wait_all_tasks_blocked()
            ends[1].set()
            ends[2].set()
            await anyio.wait_all_tasks_blocked()
            assert tasks.free_slots == 1
            assert slots_freed

    scenario()
