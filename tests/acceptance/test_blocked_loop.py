"""A process whose event loop is blocked for longer than its leases loses them and logs the cause."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.database_inspector import inspect_database
from support.eventually import eventually
from support.processes import chatd_process
from support.sse_client import ChatView, clients

BRISK = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 3
"""
WHOLE = "Before. After."


def scripts(block_seconds: float) -> str:
    return f"""
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "Before. "
[[providers.fake.script]]
wait_seconds = 0.5
[[providers.fake.script]]
block_seconds = {block_seconds}
[[providers.fake.script]]
text = "After."
[models.fake]
provider = "fake"
model = "fake-1"
"""


@pytest.mark.slow
async def test_blocked_loop_loses_the_lease_only(tmp_path: Path, dsn: str) -> None:
    with (
        chatd_process(tmp_path, dsn, name="a", settings=BRISK, scripts=scripts(5)) as a,
        chatd_process(tmp_path, dsn, name="b", settings=BRISK, scripts=scripts(0)) as b,
    ):
        await a.wait_until_ready()
        await b.wait_until_ready()
        async with clients([a, b]) as apis, inspect_database(dsn) as db:
            # Chats are asked of a until it is the one that claims.
            while True:
                chat_id = (await apis["a"].create("hello"))["id"]
                owner, _ = await db.wait_for_worker(chat_id, a, b)
                if owner is a:
                    break
                await apis["b"].wait_for_status(chat_id, "waiting")
            view = await apis["b"].follow(
                chat_id, ChatView(), lambda view: view.status == "waiting"
            )
            moves = await db.journal(chat_id)
            assert [row["transition"] for row in moves] == [
                *("create", "claim", "reap", "claim", "finish_turn")
            ]
            assert moves[2]["reason"] == "lease_expired"
            # The first owner held it no longer than the lease, and what it did then counts nothing.
            assert [row["worker_id"] for row in moves[3:]] == [b.worker_id] * 2
            blocked = await a.wait_for_log("loop.blocked")
            assert blocked["level"] == "error"
            await eventually(
                lambda: any(map(shows_blocking_code, a.logged("loop.blocked"))),
                describe=lambda: str(blocked),
            )
            await eventually(
                lambda: [one for one in a.logged("loop.unblocked") if one["seconds"] > 4]
            )
            await a.wait_for_log("chat.lost", chat_id=chat_id)
            assert [turn["outcome"] for turn in a.logged("chat.turn", chat_id=chat_id)] == ["lost"]
            assert await apis["a"].texts(chat_id) == [WHOLE]
            assert list(view.messages.values()) == ["hello", WHOLE]
            assert [row["version"] for row in await db.journal(chat_id)] == [1, 2, 3, 4, 5]
            # It is whole again: it serves, and it claims.
            await a.wait_until_ready()
            assert not a.logged("supervisor.child_failed")


def shows_blocking_code(line: dict[str, Any]) -> bool:
    """Return whether this is the stack of the sleeping code."""
    return bool(re.search(r"provider\.py:\d+ _run_action$", line["frames"][0]))


async def test_busy_loop_is_not_reported_as_blocked(tmp_path: Path, dsn: str) -> None:
    settings = "[log]\nloop_blocked_seconds = 5\n"
    with chatd_process(tmp_path, dsn, settings=settings, scripts=scripts(1)) as a:
        await a.wait_until_ready()
        async with clients([a]) as apis:
            chat_id = (await apis["a"].create("hello"))["id"]
            await apis["a"].wait_for_status(chat_id, "waiting")
            assert await apis["a"].texts(chat_id) == [WHOLE]
        assert not a.logged("loop.blocked")
        assert not a.logged("chat.lost")
