"""Requirement 8: hints may be late, doubled, out of order, absent or rubbish. Only latency changes."""

import asyncio
import random
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemons
from support.providers import scripted
from support.sse_client import ChatView

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.store.database import Database
from chatd.store.notifications.listener import decode_payload

SEED = random.randrange(10**6)
SCRIPTS = {
    "slow": [{"text": "All that is gold does not glitter. ", "chunks": 12, "delay_seconds": 0.01}],
    "tool": [
        {"tool_call": {"name": "t"}, "calls": [1]},
        {"text": "after the tool", "calls": [2], "chunks": 3},
    ],
}


class Spoilt:
    """Stands between a process and what it tells the others."""

    def __init__(self, chatd: InProcessDaemon, spoil: Callable[["Spoilt", Hint], None]) -> None:
        self.dice = random.Random(SEED)
        self.kept: list[Hint] = []
        self.tell = chatd.daemon.services.notifier.enqueue
        chatd.daemon.services.change_bus._notify_replicas = lambda hint: spoil(self, hint)


def absent(_: Spoilt, __: Hint) -> None:
    pass


def late(spoilt: Spoilt, hint: Hint) -> None:
    asyncio.get_running_loop().call_later(spoilt.dice.random() / 5, spoilt.tell, hint)


def replayed(spoilt: Spoilt, hint: Hint) -> None:
    spoilt.kept.append(hint)
    for old in spoilt.dice.choices(spoilt.kept, k=5):
        spoilt.tell(old)
    spoilt.tell(hint)


def reordered(spoilt: Spoilt, hint: Hint) -> None:
    spoilt.kept.append(hint)
    if len(spoilt.kept) >= 4:
        spoilt.dice.shuffle(spoilt.kept)
        while spoilt.kept:
            spoilt.tell(spoilt.kept.pop())


def lying(spoilt: Spoilt, hint: Hint) -> None:
    """Right chat, wrong everything else."""
    for _ in range(3):
        status = spoilt.dice.choice([*Status, None])
        version = spoilt.dice.choice([0, -1, hint.version - 1, hint.version + 1, 2**62])
        spoilt.tell(Hint(hint.chat_id, version, status))


@pytest.mark.parametrize("spoil", [absent, late, replayed, reordered, lying])
async def test_everything_works_without_trust_in_hints(
    dsn: str, spoil: Callable[[Spoilt, Hint], None]
) -> None:
    """Two processes, viewers on both, messages, queues and stops sent to either."""
    worker = {"poll_seconds": 0.1, "heartbeat_seconds": 0.2, "max_chats": 4}
    async with running_daemons(
        dsn, [scripted(**SCRIPTS), scripted(**SCRIPTS)], worker=worker
    ) as daemons:
        for chatd in daemons:
            Spoilt(chatd, spoil)
        dice = random.Random(SEED)

        async def one_chat(number: int) -> None:
            here, there = dice.sample(daemons, 2)
            words = ["plain", "[[slow]]", "[[tool]]"][number % 3]
            chat_id = (await here.api.create())["id"]
            view = ChatView()
            following = asyncio.create_task(
                there.api.follow(chat_id, view, lambda view: view.messages.get(-1) is not None)
            )
            await eventually(lambda: view.status is not None)
            await here.api.send(chat_id, words)
            await there.api.send(chat_id, "and more")
            if number % 4 == 0:
                await here.api.interrupt(chat_id)
            await eventually(lambda: rests(here, chat_id, 2), describe=lambda: f"rest; seed {SEED}")
            await there.api.send(chat_id, "last")
            await eventually(lambda: rests(here, chat_id, 3), describe=lambda: f"rest; seed {SEED}")
            stored = {m["id"] for m in await here.api.messages(chat_id)}
            await eventually(
                lambda: view.messages.keys() == stored, describe=lambda: f"{view}, {stored}"
            )
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            answers = await here.api.texts(chat_id)
            assert answers[-1] == "You said: last"
            assert (await here.api.texts(chat_id, "user")) == [words, "and more", "last"]

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(one_chat(number))


async def rests(chatd: InProcessDaemon, chat_id: str, messages: int) -> bool:
    chat = await chatd.api.chat(chat_id)
    assert chat["status"] != "error", chat
    return bool(
        chat["status"] == "waiting" and len(await chatd.api.texts(chat_id, "user")) == messages
    )


async def test_rubbish_on_the_channel_is_not_heard(dsn: str, database: Database) -> None:
    rubbish = [
        "",
        " ",
        "x" * 7999,
        "a b c d",
        "a b c d e",
        f"me {uuid4()} nonsense running",
        f"me {uuid4()} 1 no-such-status",
        f"me {uuid4()} 1",
        f"me {'0' * 32} 99999999999999999999999999999999 running",
        "\U0001f600 \u0000"[:2],
        "'; DROP TABLE chats; --",
        '{"chat_id": 1}',
    ]
    async with running_daemons(
        dsn, [scripted(), scripted()], worker={"poll_seconds": 0.2}
    ) as daemons:
        for payload in rubbish:
            await database.fetch("SELECT pg_notify('chatd', $1)", payload)
        for chatd in daemons:
            chat = await chatd.api.create("hello")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert not chatd.logged("supervisor.child_restarted")


async def test_a_listener_that_was_cut_off_comes_back(dsn: str, database: Database) -> None:
    """Its session is ended; it listens again, and what came between is looked at."""
    worker = {"poll_seconds": 600}
    async with running_daemons(dsn, [scripted(), scripted()], worker=worker) as daemons:
        front, back = daemons
        front.daemon.chat_tasks.stop_claiming()
        listeners = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        listeners += " AND datname = current_database()"
        before = {row["pid"] for row in await database.fetch(listeners)}
        assert len(before) == 2
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", [*before]
        )
        chat = await front.api.create("hello")
        await back.api.wait_for_status(chat["id"], "waiting")

        async def both_again() -> bool:
            now = {row["pid"] for row in await database.fetch(listeners)}
            return len(now - before) == 2

        await eventually(both_again)
        chat = await front.api.create("hello again")
        await back.api.wait_for_status(chat["id"], "waiting")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (f"other {UUID(int=5)} 7 running", Hint(UUID(int=5), 7, Status.RUNNING)),
        (f"other {UUID(int=5)} 0 -", Hint(UUID(int=5), 0, None)),
        (f"me {UUID(int=5)} 7 running", None),
        ("other 5 7 running", None),
        (f"other {UUID(int=5)} x running", None),
        (f"other {UUID(int=5)} 7 dancing", None),
        (f"other {UUID(int=5)} 7", None),
        ("", None),
    ],
)
def test_what_a_payload_says(payload: str, expected: Hint | None) -> None:
    assert decode_payload(payload, own_sender="me") == expected
