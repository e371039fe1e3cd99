"""The change bus: which subscribers, listeners and replicas a change reaches, and when."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.hint import Hint, hash_owner
from chatd.domain.journal import JournalEntry
from chatd.domain.transitions import Transition
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription

CHAT = UUID(int=1)


def entry(version: int, status: Status = Status.RUNNING) -> JournalEntry:
    return JournalEntry(
        chat_id=CHAT,
        version=version,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        transition=Transition.DESCRIBE,
        status=status,
        epoch=0,
        worker_id=None,
        data={},
    )


ANN = hash_owner("ann")


def subscribed_hub() -> tuple[ChatHub, Subscription]:
    hub = ChatHub(subscriber_buffer=100)
    subscription = hub.subscribe(CHAT)
    hub.attach(subscription, Cursor(1), 0, [])
    return hub, subscription


async def test_published_entry_reaches_subscribers_listeners_and_replicas() -> None:
    hub, subscription = subscribed_hub()
    notified: list[Hint] = []
    received: list[Hint] = []
    bus = ChangeBus(hub, notify_replicas=notified.append)
    bus.subscribe(received.append)
    bus.publish([entry(2)], "ann")
    bus.publish([entry(3, Status.WAITING)], "ann")
    assert [delivered.version for delivered in subscription.take()] == [2, 3]
    assert received == [Hint(CHAT, 2, Status.RUNNING, ANN), Hint(CHAT, 3, Status.WAITING, ANN)]
    assert notified == received, "a coalesced hint is sent with an urgent one"
    bus.publish_parts(CHAT)
    assert notified[2:] == [Hint(CHAT, 0)]
    assert len(received) == 2, "listeners act on transitions, not on parts"


async def test_coalesced_hint_is_sent_after_a_while() -> None:
    notified = asyncio.Queue[Hint]()
    hub, _ = subscribed_hub()
    bus = ChangeBus(hub, notify_replicas=notified.put_nowait, coalesce_seconds=0.0)
    bus.claims_locally = lambda: True
    pending = entry(2, Status.PENDING)
    bus.publish([pending], "ann")
    assert notified.empty()
    assert await notified.get() == Hint(CHAT, 2, Status.PENDING, ANN)
    bus.claims_locally = lambda: False
    bus.publish([pending], "ann")
    assert notified.get_nowait() == Hint(CHAT, 2, Status.PENDING, ANN), (
        "another worker must claim it"
    )


def test_received_hint_is_passed_on_locally_only() -> None:
    hub, _ = subscribed_hub()
    notified: list[Hint] = []
    received: list[Hint] = []
    bus = ChangeBus(hub, notify_replicas=notified.append)
    bus.subscribe(received.append)
    stale = [(CHAT, Cursor(1))]
    bus.receive(Hint(CHAT, 3, Status.RUNNING))
    assert hub.stale_topics(all_topics=False) == stale
    bus.receive(Hint(CHAT, 0))
    assert hub.stale_topics(all_topics=False) == stale
    bus.resync()
    assert hub.stale_topics(all_topics=False) == stale
    assert [hint.version for hint in received] == [3, 0, 0]
    assert notified == []
