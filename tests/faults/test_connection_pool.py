"""A pool of two connections serves everybody: requests wait for one, and none waits while holding one."""

import asyncio

import pytest
from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import scripted
from support.sse_client import ChatView

SCRIPT = [{"text": "You said: {message}", "chunks": 4, "delay_seconds": 0.005}]


@pytest.mark.slow
@pytest.mark.parametrize(("chats", "subscribers"), [(50, 0), (200, 40)])
async def test_parallel_creates_through_two_connections(
    dsn: str, chats: int, subscribers: int
) -> None:
    """All chats are created and answered, also while others stream."""
    worker = {"max_chats": chats + subscribers}
    # Hundreds of statements wait at once: their requests are not to wait for each other before, and none is
    # to be given up because the machine is busy.
    database, limits = {"pool_size": 2, "statement_timeout_seconds": 60}, {"max_requests": 0}
    async with running_daemon(
        dsn, scripted(SCRIPT), database=database, limits=limits, worker=worker
    ) as chatd:
        api = chatd.api
        followed_ids = [(await api.create())["id"] for _ in range(subscribers)]
        views = [ChatView() for _ in followed_ids]
        async with asyncio.TaskGroup() as group:
            for chat_id, view in zip(followed_ids, views, strict=True):
                group.create_task(
                    api.follow(
                        chat_id, view, lambda view: len(view.messages) == 2, timeout_seconds=60
                    )
                )
            await eventually(lambda: all(view.status for view in views))
            sending = [group.create_task(api.send(chat_id, "hello")) for chat_id in followed_ids]
            creating = [group.create_task(api.create(f"number {n}")) for n in range(chats)]
        assert len(sending) == subscribers
        for view in views:
            assert list(view.messages.values()) == ["hello", "You said: hello"]
        for number, task in enumerate(creating):
            chat_id = task.result()["id"]
            await api.wait_for_status(chat_id, "waiting", 60)
            assert await api.texts(chat_id) == [f"You said: number {number}"]
        pool = chatd.daemon.services.database._pool
        assert pool is not None
        assert pool.open_count <= 2
        assert not chatd.logged("http.database_unavailable")
        assert not chatd.logged("outage.began")
        assert not chatd.logged("chat.lost")
