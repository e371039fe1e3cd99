"""Claimer: how many chats a worker claims, when, and which ones."""

from collections import Counter

from support.auth import Bearer, authenticated_daemons, create_chat_as, get_as
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon, running_daemons
from support.providers import HeldProvider, scripted

from chatd.store.database import Database


async def test_worker_claims_at_most_max_chats(dsn: str) -> None:
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"max_chats": 3}) as chatd:
        chats = [(await chatd.api.create("hello"))["id"] for _ in range(10)]
        await eventually(lambda: held.running_count == 3)
        statuses = [(await chatd.api.chat(c))["status"] for c in chats]
        assert statuses.count("running") == 3  # first come, first served
        assert statuses == ["running"] * 3 + ["pending"] * 7
        held.go.set()
        for chat_id in chats:
            await chatd.api.wait_for_status(chat_id, "waiting")
        assert held.max_running_count == 3


async def test_slow_chats_of_one_owner_leave_a_slot_to_others(dsn: str) -> None:
    async with authenticated_daemons(
        dsn,
        scripted(hang=[{"hang": True}]),
        limits={"max_running_per_owner": 2},
        worker={"max_chats": 3},
    ) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        for _ in range(10):
            await create_chat_as(at.chatd, ann, content="[[hang]]")

        async def statuses(who: Bearer) -> Counter[str]:
            chats = (await get_as(at.chatd, "/api/v1/chats", who)).json()["items"]
            return Counter(chat["status"] for chat in chats)

        async def both_run() -> bool:
            return (await statuses(ann))["running"] == 2

        async def is_answered() -> bool:
            return await statuses(bob) == {"waiting": 1}

        await eventually(both_run)
        await create_chat_as(at.chatd, bob, content="hi")
        await eventually(is_answered)
        assert await statuses(ann) == {"running": 2, "pending": 8}


async def test_two_workers_share_the_chats_and_run_each_once(dsn: str) -> None:
    first, second = HeldProvider(), HeldProvider()
    async with running_daemons(dsn, [first, second], worker={"max_chats": 5}) as daemons:
        chats = [(await daemons[0].api.create("hello"))["id"] for _ in range(10)]
        await eventually(lambda: first.running_count == second.running_count == 5)
        first.go.set()
        second.go.set()
        for chat_id in chats:
            await daemons[1].api.wait_for_status(chat_id, "waiting")
            assert [e["transition"] for e in await daemons[1].journal(chat_id)] == [
                "create",
                "claim",
                "finish_turn",
            ]
        assert first.max_running_count == second.max_running_count == 5


async def test_hint_wakes_the_claimer_before_its_poll(dsn: str) -> None:
    slow = {"poll_seconds": 600}
    async with running_daemons(dsn, [scripted(), scripted()], worker=slow) as daemons:
        front, back = daemons
        front.daemon.chat_tasks.stop_claiming()
        for _ in range(3):
            chat = await front.api.create("hello")
            await front.api.wait_for_status(chat["id"], "waiting")
            [acquired] = await front.journal(chat["id"], "claim")
            assert acquired["worker_id"] == str(back.daemon.worker_id)


async def test_chat_without_a_hint_is_claimed_by_the_next_poll(dsn: str) -> None:
    async with running_daemons(dsn, [scripted()] * 2, worker={"poll_seconds": 0.1}) as daemons:
        front, _ = daemons
        front.daemon.chat_tasks.stop_claiming()
        front.daemon.services.notifier.enqueue = lambda _: None  # type: ignore[method-assign]
        front.daemon.services.change_bus._notify_replicas = lambda _: None
        chat = await front.api.create("hello")
        await front.api.wait_for_status(chat["id"], "waiting")


async def test_process_without_a_worker_claims_nothing(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"enabled": False, "poll_seconds": 0.02}) as front:
        chat = await front.api.create("hello")
        async with running_daemon(dsn) as back:
            await back.api.wait_for_status(chat["id"], "waiting")
            [acquired] = await back.journal(chat["id"], "claim")
            assert acquired["worker_id"] == str(back.daemon.worker_id)
        assert await fetch_rows(database, "SELECT * FROM workers") == []
