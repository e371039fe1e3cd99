"""Cases of the hub of chat lists."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from chatd.domain.chat import Status
from chatd.domain.chat_list import ChangeBatch, ChatChange, ListQuery
from chatd.domain.hint import RESYNC, Hint, hash_owner
from chatd.fanout import list_hub
from chatd.fanout.list_hub import ListHub, ListSubscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OVERLAP = 15.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def change(number: int, version: int, seconds: float) -> ChatChange:
    return ChatChange(UUID(int=number), version, at(seconds), None)


def new_hub(*, buffer: int = 100) -> ListHub:
    return ListHub(overlap_seconds=OVERLAP, subscriber_buffer=buffer)


def read(hub: ListHub, seconds: float, *changes: ChatChange, is_complete: bool = True) -> bool:
    return hub.apply_read(
        hub.pending_reads(), {"ann": ChangeBatch(at(seconds), changes, is_complete)}
    )


def taken(subscription: ListSubscription) -> list[tuple[int, int]]:
    return [(sent.chat_id.int, sent.version) for sent in subscription.take()]


def test_list_without_subscribers_is_not_read() -> None:
    hub = new_hub()
    stale_calls: list[None] = []
    hub.on_stale = lambda: stale_calls.append(None)
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING))
    assert hub.pending_reads() == []
    subscription = hub.subscribe("ann")
    assert hub.pending_reads() == [], "the subscriber reads for itself first"
    hub.attach(subscription, at(0))
    assert len(stale_calls) == 1
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING))
    hub.handle_hint(Hint(UUID(int=1), 0, None))
    assert len(stale_calls) == 2, "live parts change no chat of a list"
    assert [(query.owner_id, query.since) for query in hub.pending_reads()] == [
        ("ann", at(-OVERLAP))
    ]
    hub.unsubscribe(subscription)
    assert hub.pending_reads() == []
    assert hub.subscriber_count == 0


def test_version_read_twice_is_sent_once_and_left_out_of_later_reads() -> None:
    hub = new_hub()
    subscription = hub.subscribe("ann")
    hub.attach(subscription, at(0))
    read(hub, 10, change(1, 2, 1), change(2, 7, 9))
    (query,) = hub.pending_reads()
    assert query == ListQuery("ann", at(10 - OVERLAP), {UUID(int=1): 2, UUID(int=2): 7})
    read(hub, 20, change(1, 2, 1), change(2, 8, 19))
    assert taken(subscription) == [(1, 2), (2, 8)]
    assert subscription.read_at == at(20)
    (query,) = hub.pending_reads()
    assert query.known_versions == {UUID(int=2): 8}


def test_late_subscriber_is_sent_later_reads_only() -> None:
    hub = new_hub()
    first = hub.subscribe("ann")
    hub.attach(first, at(0))
    read(hub, 1, change(1, 2, 0.5))
    second = hub.subscribe("ann")
    read(hub, 2, change(2, 1, 1.5))
    hub.attach(second, at(1.9))
    assert taken(second) == [(2, 1)]
    second.mark_sent([change(3, 1, 2.2)])
    read(hub, 3, change(3, 1, 2.2), change(4, 1, 2.5))
    assert taken(second) == [(4, 1)]
    assert taken(first) == [(1, 2), (2, 1), (3, 1), (4, 1)]


def test_pending_change_is_dropped_after_a_newer_one() -> None:
    """A subscriber's own read may bring a later state than the shared read that was delivered before."""
    hub = new_hub()
    subscription = hub.subscribe("ann")
    hub.attach(subscription, at(0))
    read(hub, 1, change(1, 2, 0.5), change(2, 1, 0.6))
    read(hub, 2, change(3, 9, 1.6))
    own = [change(1, 3, 1.5), change(2, 1, 0.6), change(3, 8, 1.4)]
    assert subscription.mark_sent(own) == own
    assert taken(subscription) == [(3, 9)]
    read(hub, 3, change(1, 3, 1.5))
    assert taken(subscription) == []


def test_subscriber_with_an_earlier_read_moves_the_list_back() -> None:
    hub = new_hub()
    first, second = hub.subscribe("ann"), hub.subscribe("ann")
    hub.attach(first, at(5))
    queries = hub.pending_reads()
    hub.attach(second, at(3))
    hub.apply_read(queries, {"ann": ChangeBatch(at(6), [])})
    assert [query.since for query in hub.pending_reads()] == [at(3 - OVERLAP)]
    read(hub, 7)
    assert [query.since for query in hub.pending_reads()] == [at(7 - OVERLAP)]


def test_incomplete_read_is_continued() -> None:
    hub = new_hub()
    subscription = hub.subscribe("ann")
    hub.attach(subscription, at(0))
    assert read(hub, 1, change(1, 1, 0.1), change(2, 1, 0.2), is_complete=False) is True
    assert subscription.read_at is None
    (query,) = hub.pending_reads()
    assert query == ListQuery("ann", at(-OVERLAP), {UUID(int=1): 1, UUID(int=2): 1})
    assert read(hub, 2, change(3, 1, 0.3)) is False
    assert taken(subscription) == [(1, 1), (2, 1), (3, 1)]
    assert subscription.read_at == at(2)


def test_slow_subscriber_is_disconnected_alone() -> None:
    hub = new_hub(buffer=3)
    slow, fast = hub.subscribe("ann"), hub.subscribe("ann")
    hub.attach(slow, at(0))
    for n in range(3):
        read(hub, n, change(1, n + 1, n), change(2, n + 1, n))
    assert not slow.closed, "only two chats are pending"
    assert taken(fast) == [(1, 3), (2, 3)]
    read(hub, 4, change(3, 1, 4), change(4, 1, 4))
    assert slow.closed
    assert taken(slow) == []
    assert not fast.closed
    read(hub, 5, change(5, 1, 5))
    assert taken(slow) == []
    assert taken(fast) == [(3, 1), (4, 1), (5, 1)]


def test_clock_set_back_ends_the_streams() -> None:
    hub = new_hub()
    subscription = hub.subscribe("ann")
    hub.attach(subscription, at(0))
    read(hub, -OVERLAP + 1)
    assert not subscription.closed
    read(hub, -1000)
    assert subscription.closed


async def test_changes_drain_and_disconnect_wake_a_subscriber() -> None:
    hub = new_hub()
    for wake in (
        lambda _: read(hub, 1, change(random.randrange(10**9), 1, 0.5)),
        lambda _: hub.wake_all(),
        lambda subscription: subscription.disconnect(),
    ):
        subscription = hub.subscribe("ann")
        hub.attach(subscription, at(0))
        wake(subscription)
        await subscription.wait()
        hub.unsubscribe(subscription)


@pytest.mark.parametrize("subscribers", [1, 2])
def test_list_is_dropped_with_its_last_subscriber(subscribers: int) -> None:
    hub = new_hub()
    subscriptions = [hub.subscribe("ann") for _ in range(subscribers)]
    assert hub.subscriber_count == subscribers
    for subscription in subscriptions:
        hub.unsubscribe(subscription)
        hub.unsubscribe(subscription)
    assert hub._topics == {}


def attached(hub: ListHub, *owners: str) -> list[ListSubscription]:
    subscriptions = [hub.subscribe(owner) for owner in owners]
    for subscription in subscriptions:
        hub.attach(subscription, at(0))
    hub.pending_reads()
    return subscriptions


def stale(hub: ListHub) -> set[str]:
    return {query.owner_id for query in hub.pending_reads(poll=False)}


def test_hint_has_the_list_of_its_owner_read_alone() -> None:
    hub = new_hub()
    ann, _ = attached(hub, "ann", "bob")
    assert stale(hub) == set()
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING, hash_owner("ann")))
    hub.handle_hint(Hint(UUID(int=2), 2, Status.WAITING, hash_owner("carol")))
    assert stale(hub) == {"ann"}
    assert stale(hub) == set()
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING))  # of an unknown owner
    assert stale(hub) == {"ann", "bob"}
    hub.handle_hint(RESYNC)
    assert stale(hub) == {"ann", "bob"}
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING, hash_owner("ann")))
    hub.unsubscribe(ann)
    assert stale(hub) == set()
    assert hub._owners_by_hash.keys() == {hash_owner("bob")}


def test_owners_that_share_a_hash_are_both_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_hub, "hash_owner", lambda _: 7)
    hub = new_hub()
    ann, _ = attached(hub, "ann", "bob")
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING, 7))
    assert stale(hub) == {"ann", "bob"}
    hub.unsubscribe(ann)
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING, 7))
    assert stale(hub) == {"bob"}


def test_polls_read_many_lists_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_hub, "_LISTS_PER_POLL", 3)
    hub = new_hub()
    owners = [str(number) for number in range(7)]
    attached(hub, *owners)
    polls = [{query.owner_id for query in hub.pending_reads()} for _ in range(7)]
    assert {len(poll) for poll in polls} == {3}
    for first, second, third in zip(polls, polls[1:], polls[2:], strict=False):
        assert first | second | third == {*owners}


def test_list_with_more_changes_is_read_again_without_a_poll() -> None:
    hub = new_hub()
    attached(hub, "ann", "bob")
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING, hash_owner("ann")))
    queries = hub.pending_reads(poll=False)
    batch = ChangeBatch(at(1), [change(1, 2, 1)], is_complete=False)
    assert hub.apply_read(queries, {"ann": batch})
    assert stale(hub) == {"ann"}
