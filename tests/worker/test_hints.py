"""Hints may be late, repeated, out of order, absent or wrong: only the latency changes."""

import asyncio
import random
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemons
from support.providers import scripted
from support.sse_client import ChatView
from support.trials import trials

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.store.database import Database
from chatd.store.notifications.listener import decode_payload
from chatd.store.notifications.notifier import encode_payload

SEED = random.randrange(10**6)
SCRIPTS = {
    "slow": [{"text": "All that is gold does not glitter. ", "chunks": 12, "delay_seconds": 0.01}],
    "tool": [
        {"tool_call": {"name": "t"}, "calls": [1]},
        {"text": "after the tool", "calls": [2], "chunks": 3},
    ],
}


class UnreliableNotifier:
    """Notifier of one process that distorts its hints to other replicas."""

    def __init__(
        self, chatd: InProcessDaemon, distort: Callable[["UnreliableNotifier", Hint], None]
    ) -> None:
        self.rng = random.Random(SEED)
        self.held: list[Hint] = []
        self.enqueue = chatd.daemon.services.notifier.enqueue
        chatd.daemon.services.change_bus._notify_replicas = lambda hint: distort(self, hint)


def absent(_: UnreliableNotifier, __: Hint) -> None:
    pass


def late(notifier: UnreliableNotifier, hint: Hint) -> None:
    asyncio.get_running_loop().call_later(notifier.rng.random() / 5, notifier.enqueue, hint)


def replayed(notifier: UnreliableNotifier, hint: Hint) -> None:
    notifier.held.append(hint)
    for old in notifier.rng.choices(notifier.held, k=5):
        notifier.enqueue(old)
    notifier.enqueue(hint)


def reordered(notifier: UnreliableNotifier, hint: Hint) -> None:
    notifier.held.append(hint)
    if len(notifier.held) >= 4:
        notifier.rng.shuffle(notifier.held)
        while notifier.held:
            notifier.enqueue(notifier.held.pop())


def lying(notifier: UnreliableNotifier, hint: Hint) -> None:
    """Send hints with the right chat and a wrong version and status."""
    for _ in range(3):
        status = notifier.rng.choice([*Status, None])
        version = notifier.rng.choice([0, -1, hint.version - 1, hint.version + 1, 2**62])
        notifier.enqueue(Hint(hint.chat_id, version, status))


@pytest.mark.parametrize("distort", [absent, late, replayed, reordered, lying])
async def test_chats_work_with_unreliable_hints(
    dsn: str, distort: Callable[[UnreliableNotifier, Hint], None]
) -> None:
    """Two processes with streams on both, and messages, queues and interrupts sent to either."""
    worker = {"poll_seconds": 0.1, "heartbeat_seconds": 0.2, "max_chats": 4}
    async with running_daemons(
        dsn, [scripted(**SCRIPTS), scripted(**SCRIPTS)], worker=worker
    ) as daemons:
        for chatd in daemons:
            UnreliableNotifier(chatd, distort)
        rng = random.Random(SEED)

        async def one_chat(number: int) -> None:
            here, there = rng.sample(daemons, 2)
            words = ["plain", "[[slow]]", "[[tool]]"][number % 3]
            chat_id = (await here.api.create())["id"]
            view = ChatView()
            following = asyncio.create_task(
                there.api.follow(chat_id, view, lambda view: view.messages.get(-1) is not None)
            )
            await eventually(lambda: view.status is not None)
            await here.api.send(chat_id, words)
            await there.api.send(chat_id, "and more")
            if number % 2 == 0:
                await here.api.interrupt(chat_id)
            await eventually(
                lambda: is_idle(here, chat_id, 2), describe=lambda: f"rest; seed {SEED}"
            )
            await there.api.send(chat_id, "last")
            await eventually(
                lambda: is_idle(here, chat_id, 3), describe=lambda: f"rest; seed {SEED}"
            )
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
            for number in range(trials(6)):
                group.create_task(one_chat(number))


async def is_idle(chatd: InProcessDaemon, chat_id: str, messages: int) -> bool:
    chat = await chatd.api.chat(chat_id)
    assert chat["status"] != "error", chat
    return bool(
        chat["status"] == "waiting" and len(await chatd.api.texts(chat_id, "user")) == messages
    )


async def test_malformed_notifications_are_ignored(dsn: str, database: Database) -> None:
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


async def test_terminated_listener_reconnects_and_catches_up(dsn: str, database: Database) -> None:
    """Its session is terminated. It listens again, and changes in between are read."""
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


PAYLOADS = [
    (f"other {UUID(int=5)} 7 running ff", Hint(UUID(int=5), 7, Status.RUNNING, 255)),
    (f"other {UUID(int=5)} 7 running -", Hint(UUID(int=5), 7, Status.RUNNING)),
    (f"other {UUID(int=5)} 0 - -", Hint(UUID(int=5), 0, None)),
]


@pytest.mark.parametrize(("payload", "hint"), PAYLOADS)
def test_encode_payload(payload: str, hint: Hint) -> None:
    assert encode_payload(hint, "other") == payload


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        *PAYLOADS,
        (f"me {UUID(int=5)} 7 running ff", None),
        ("other 5 7 running ff", None),
        (f"other {UUID(int=5)} x running ff", None),
        (f"other {UUID(int=5)} 7 running owner", None),
        (f"other {UUID(int=5)} 7", None),
        ("", None),
    ],
)
def test_decode_payload(payload: str, expected: Hint | None) -> None:
    assert decode_payload(payload, own_sender="me") == expected
