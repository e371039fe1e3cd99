"""The lists that are followed in a process, case by case and in a random life."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.chat import Status
from chatd.domain.chat_list import DELETED_VERSION, ChangeBatch, ChatChange, ListQuery
from chatd.domain.hint import Hint
from chatd.fanout.list_hub import ListHub, ListSubscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OVERLAP = 15.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def touch(number: int, version: int, seconds: float) -> ChatChange:
    return ChatChange(UUID(int=number), version, at(seconds), None)


def hub_of(*, buffer: int = 100) -> ListHub:
    return ListHub(overlap_seconds=OVERLAP, subscriber_buffer=buffer)


def read(hub: ListHub, seconds: float, *touches: ChatChange, whole: bool = True) -> bool:
    return hub.apply_read(hub.pending_reads(), {"ann": ChangeBatch(at(seconds), touches, whole)})


def told(view: ListSubscription) -> list[tuple[int, int]]:
    return [(one.chat_id.int, one.version) for one in view.take()]


def test_nothing_is_read_for_nobody() -> None:
    hub = hub_of()
    woken: list[None] = []
    hub.on_stale = lambda: woken.append(None)
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING))
    assert hub.pending_reads() == []
    view = hub.subscribe("ann")
    assert hub.pending_reads() == []  # it reads for itself first
    hub.attach(view, at(0))
    assert len(woken) == 1
    hub.handle_hint(Hint(UUID(int=1), 2, Status.WAITING))
    hub.handle_hint(Hint(UUID(int=1), 0, None))  # streamed parts move no chat
    assert len(woken) == 2
    assert [(place.owner_id, place.since) for place in hub.pending_reads()] == [
        ("ann", at(-OVERLAP))
    ]
    hub.unsubscribe(view)
    assert hub.pending_reads() == []
    assert hub.subscriber_count == 0


def test_what_is_read_twice_is_told_once_and_not_asked_for_again() -> None:
    hub = hub_of()
    view = hub.subscribe("ann")
    hub.attach(view, at(0))
    read(hub, 10, touch(1, 2, 1), touch(2, 7, 9))
    (place,) = hub.pending_reads()
    assert place == ListQuery("ann", at(10 - OVERLAP), {UUID(int=1): 2, UUID(int=2): 7})
    read(hub, 20, touch(1, 2, 1), touch(2, 8, 19))
    assert told(view) == [(1, 2), (2, 8)]  # one chat, as it is now
    assert view.read_at == at(20)
    (place,) = hub.pending_reads()
    assert place.known_versions == {UUID(int=2): 8}


def test_who_comes_later_is_told_what_is_read_from_then_on() -> None:
    hub = hub_of()
    first = hub.subscribe("ann")
    hub.attach(first, at(0))
    read(hub, 1, touch(1, 2, 0.5))
    second = hub.subscribe("ann")
    read(hub, 2, touch(2, 1, 1.5))
    hub.attach(second, at(1.9))
    assert told(second) == [(2, 1)]
    second.mark_sent([touch(3, 1, 2.2)])  # by its own read
    read(hub, 3, touch(3, 1, 2.2), touch(4, 1, 2.5))
    assert told(second) == [(4, 1)]
    assert told(first) == [(1, 2), (2, 1), (3, 1), (4, 1)]


def test_what_waits_is_not_told_after_what_is_newer() -> None:
    """A viewer's own read may bring a later state than the read for all, which was there before."""
    hub = hub_of()
    view = hub.subscribe("ann")
    hub.attach(view, at(0))
    read(hub, 1, touch(1, 2, 0.5), touch(2, 1, 0.6))
    read(hub, 2, touch(3, 9, 1.6))
    own = [touch(1, 3, 1.5), touch(2, 1, 0.6), touch(3, 8, 1.4)]
    assert view.mark_sent(own) == own
    assert told(view) == [(3, 9)]
    read(hub, 3, touch(1, 3, 1.5))
    assert told(view) == []


def test_who_began_earlier_than_the_first_puts_the_list_back() -> None:
    hub = hub_of()
    first, second = hub.subscribe("ann"), hub.subscribe("ann")
    hub.attach(first, at(5))
    asked = hub.pending_reads()
    hub.attach(second, at(3))
    hub.apply_read(asked, {"ann": ChangeBatch(at(6), [])})  # that one was sent before
    assert [place.since for place in hub.pending_reads()] == [at(3 - OVERLAP)]
    read(hub, 7)
    assert [place.since for place in hub.pending_reads()] == [at(7 - OVERLAP)]


def test_a_read_that_does_not_bring_everything_is_read_on() -> None:
    hub = hub_of()
    view = hub.subscribe("ann")
    hub.attach(view, at(0))
    assert read(hub, 1, touch(1, 1, 0.1), touch(2, 1, 0.2), whole=False) is True
    assert view.read_at is None
    (place,) = hub.pending_reads()
    assert place == ListQuery("ann", at(-OVERLAP), {UUID(int=1): 1, UUID(int=2): 1})
    assert read(hub, 2, touch(3, 1, 0.3)) is False
    assert told(view) == [(1, 1), (2, 1), (3, 1)]
    assert view.read_at == at(2)


def test_a_slow_viewer_is_let_go_and_the_others_are_not() -> None:
    hub = hub_of(buffer=3)
    slow, quick = hub.subscribe("ann"), hub.subscribe("ann")
    hub.attach(slow, at(0))
    for n in range(3):
        read(hub, n, touch(1, n + 1, n), touch(2, n + 1, n))  # the same two chats, again and again
    assert not slow.closed
    assert told(quick) == [(1, 3), (2, 3)]
    read(hub, 4, touch(3, 1, 4), touch(4, 1, 4))
    assert slow.closed
    assert told(slow) == []
    assert not quick.closed
    read(hub, 5, touch(5, 1, 5))
    assert told(slow) == []
    assert told(quick) == [(3, 1), (4, 1), (5, 1)]


def test_a_clock_that_was_put_back_ends_the_streams() -> None:
    hub = hub_of()
    view = hub.subscribe("ann")
    hub.attach(view, at(0))
    read(hub, -OVERLAP + 1)
    assert not view.closed
    read(hub, -1000)
    assert view.closed


async def test_a_viewer_wakes_for_news_for_the_end_and_when_it_leaves() -> None:
    hub = hub_of()
    for wake in (
        lambda _: read(hub, 1, touch(random.randrange(10**9), 1, 0.5)),
        lambda _: hub.wake_all(),
        lambda view: view.disconnect(),
    ):
        view = hub.subscribe("ann")
        hub.attach(view, at(0))
        wake(view)
        await view.wait()
        hub.unsubscribe(view)


# -- a random life -----------------------------------------------------------------------------------


@dataclass
class Commit:
    number: int
    version: int
    stamped: float
    seen: float


@dataclass
class World:
    """A database whose commits are seen up to an overlap after their stamp, in any order."""

    commits: list[Commit] = field(default_factory=list)

    def read(self, now: float, place: ListQuery, most: int) -> ChangeBatch:
        latest: dict[int, Commit] = {}
        for commit in self.commits:
            if (
                commit.seen <= now
                and commit.version > latest.get(commit.number, commit).version - 1
            ):
                latest[commit.number] = commit
        found = [
            touch(c.number, c.version, c.stamped)
            for c in sorted(latest.values(), key=lambda c: c.stamped)
            if at(c.stamped) > place.since
            and place.known_versions.get(UUID(int=c.number), 0) < c.version
        ]
        return ChangeBatch(at(now), found[:most], is_complete=len(found) < most)

    def states(self) -> dict[int, int]:
        return {c.number: c.version for c in sorted(self.commits, key=lambda c: c.version)}


class Client:
    """A viewer who is cut off now and then, and comes back with its cursor."""

    def __init__(self) -> None:
        self.has: dict[int, int] = {}
        self.cursor: datetime | None = None
        self.view: ListSubscription | None = None
        self.told_here: dict[int, int] = {}

    def hear(
        self, touches: Sequence[ChatChange], cursor: datetime | None, most: int | None
    ) -> bool:
        """Hear so many events, the last of which carries the cursor; False when cut before it."""
        for one in touches[:most]:
            assert self.told_here.get(one.chat_id.int, 0) < one.version, "twice on one connection"
            self.told_here[one.chat_id.int] = one.version
            self.has[one.chat_id.int] = max(one.version, self.has.get(one.chat_id.int, 0))
        if most is not None and most < len(touches):
            return False
        if touches:
            self.cursor = cursor
        return True


class Life:
    """Chats that move, viewers that come and go, and reads, all at random."""

    def __init__(self, dice: random.Random, most: int) -> None:
        self.world, self.hub = World(), hub_of()
        self.clients = [Client() for _ in range(3)]
        self.now = 0.0
        self.cuts = 0.2
        self._dice = dice
        self._most = most
        self._versions: dict[int, int] = {}
        self._free_at: dict[int, float] = {}

    def move(self) -> None:
        """A chat moves; nobody else moves it before that is seen."""
        number = self._dice.randrange(1, 6)
        version = self._versions.get(number, 0)
        if self._free_at.get(number, 0.0) > self.now or version == DELETED_VERSION:
            return
        self._versions[number] = DELETED_VERSION if self._dice.random() < 0.05 else version + 1
        self._free_at[number] = self.now + self._dice.choice([0.0, 0.1, OVERLAP * 0.99])
        self.world.commits.append(
            Commit(number, self._versions[number], self.now, self._free_at[number])
        )

    def read(self) -> bool:
        """The batched read of this process."""
        asked = self.hub.pending_reads()
        found = {place.owner_id: self.world.read(self.now, place, self._most) for place in asked}
        return self.hub.apply_read(asked, found)

    def connect(self, client: Client) -> None:
        """As the API opens a stream: what was missed, a read at a time."""
        client.view, client.told_here = self.hub.subscribe("ann"), {}
        since = at(-(10**6)) if client.cursor is None else client.cursor - self.hub.overlap
        known: dict[UUID, int] = {}
        begun = at(self.now)
        whole = False
        while not whole:
            seen = self.world.read(self.now, ListQuery("ann", since, known), self._most)
            self.hub.attach(client.view, begun)
            known |= {one.chat_id: one.version for one in seen.changes}
            cursor = begun if seen.is_complete else min(begun, seen.changes[-1].changed_at)
            if not client.hear(client.view.mark_sent(seen.changes), cursor, self._cut()):
                return self.drop(client)
            whole = seen.is_complete
        return None

    def hear(self, client: Client) -> None:
        assert client.view is not None
        if not client.hear(client.view.take(), client.view.read_at, self._cut()):
            self.drop(client)

    def drop(self, client: Client) -> None:
        assert client.view is not None
        self.hub.unsubscribe(client.view)
        client.view = None

    def _cut(self) -> int | None:
        return self._dice.randrange(4) if self._dice.random() < self.cuts else None


@given(st.randoms(use_true_random=False), st.integers(2, 6))
def test_a_viewer_who_is_cut_at_random_ends_with_what_is_stored(
    dice: random.Random, most: int
) -> None:
    life = Life(dice, most)
    for _ in range(80):
        life.now += dice.random() * 5
        client = dice.choice(life.clients)
        doings = [life.move, life.move, life.read, life.read]
        if client.view is None:
            doings.append(lambda client=client: life.connect(client))
        else:
            doings += [lambda client=client: life.hear(client)] * 3
            doings.append(lambda client=client: life.drop(client))
        dice.choice(doings)()
    life.now += 2 * OVERLAP
    life.cuts = 0
    for client in life.clients:
        if client.view is None:
            life.connect(client)
    while life.read():
        pass
    for client in life.clients:
        life.hear(client)
        assert client.has == life.world.states()


@pytest.mark.parametrize("viewers", [1, 2])
def test_a_list_is_forgotten_with_its_last_viewer(viewers: int) -> None:
    hub = hub_of()
    views = [hub.subscribe("ann") for _ in range(viewers)]
    assert hub.subscriber_count == viewers
    for view in views:
        hub.unsubscribe(view)
        hub.unsubscribe(view)
    assert hub._topics == {}
