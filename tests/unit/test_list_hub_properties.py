"""A hub of chat lists under random schedules: every client ends with the stored state."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.chat_list import DELETED_VERSION, ChangeBatch, ChatChange, ListQuery
from chatd.fanout.list_hub import ListHub, ListSubscription

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OVERLAP = 15.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def change(number: int, version: int, seconds: float) -> ChatChange:
    return ChatChange(UUID(int=number), version, at(seconds), None)


@dataclass
class Commit:
    """A change of a chat, visible some time after the time that it is stored with."""

    number: int
    version: int
    changed_at: float
    visible_at: float


@dataclass
class ModelDatabase:
    """A database whose commits become visible up to an overlap after their time, in any order."""

    commits: list[Commit] = field(default_factory=list)

    def read(self, now: float, query: ListQuery, limit: int) -> ChangeBatch:
        latest: dict[int, Commit] = {}
        for commit in self.commits:
            if (
                commit.visible_at <= now
                and commit.version > latest.get(commit.number, commit).version - 1
            ):
                latest[commit.number] = commit
        found = [
            change(commit.number, commit.version, commit.changed_at)
            for commit in sorted(latest.values(), key=lambda commit: commit.changed_at)
            if at(commit.changed_at) > query.since
            and query.known_versions.get(UUID(int=commit.number), 0) < commit.version
        ]
        return ChangeBatch(at(now), found[:limit], is_complete=len(found) < limit)

    def states(self) -> dict[int, int]:
        return {
            commit.number: commit.version
            for commit in sorted(self.commits, key=lambda commit: commit.version)
        }


class ModelClient:
    """A client that is disconnected now and then, and resumes from its cursor."""

    def __init__(self) -> None:
        self.versions: dict[int, int] = {}
        self.cursor: datetime | None = None
        self.subscription: ListSubscription | None = None
        self.sent_here: dict[int, int] = {}

    def receive(
        self, changes: Sequence[ChatChange], cursor: datetime | None, limit: int | None
    ) -> bool:
        """Receive at most ``limit`` events. Return False if the last, with the cursor, is left out."""
        for received in changes[:limit]:
            assert self.sent_here.get(received.chat_id.int, 0) < received.version, (
                "twice on one connection"
            )
            self.sent_here[received.chat_id.int] = received.version
            self.versions[received.chat_id.int] = max(
                received.version, self.versions.get(received.chat_id.int, 0)
            )
        if limit is not None and limit < len(changes):
            return False
        if changes:
            self.cursor = cursor
        return True


class RandomSchedule:
    """Chats that change, clients that come and go, and reads, all at random."""

    def __init__(self, numbers: random.Random, limit: int) -> None:
        self.database, self.hub = (
            ModelDatabase(),
            ListHub(overlap_seconds=OVERLAP, subscriber_buffer=100),
        )
        self.clients = [ModelClient() for _ in range(3)]
        self.now = 0.0
        self.cut_probability = 0.2
        self._numbers = numbers
        self._limit = limit
        self._versions: dict[int, int] = {}
        self._visible_at: dict[int, float] = {}

    def change_chat(self) -> None:
        """Change a chat whose last change is visible."""
        number = self._numbers.randrange(1, 6)
        version = self._versions.get(number, 0)
        if self._visible_at.get(number, 0.0) > self.now or version == DELETED_VERSION:
            return
        self._versions[number] = DELETED_VERSION if self._numbers.random() < 0.05 else version + 1
        self._visible_at[number] = self.now + self._numbers.choice([0.0, 0.1, OVERLAP * 0.99])
        self.database.commits.append(
            Commit(number, self._versions[number], self.now, self._visible_at[number])
        )

    def read(self) -> bool:
        """Read once for all subscribers of this process."""
        queries = self.hub.pending_reads()
        batches = {
            query.owner_id: self.database.read(self.now, query, self._limit) for query in queries
        }
        return self.hub.apply_read(queries, batches)

    def connect(self, client: ModelClient) -> None:
        """Open a stream as ``ChatListStream`` does: what was missed, one read at a time."""
        client.subscription, client.sent_here = self.hub.subscribe("ann"), {}
        since = at(-(10**6)) if client.cursor is None else client.cursor - self.hub.overlap
        known_versions: dict[UUID, int] = {}
        opened_at = at(self.now)
        while True:
            batch = self.database.read(
                self.now, ListQuery("ann", since, known_versions), self._limit
            )
            self.hub.attach(client.subscription, opened_at)
            known_versions |= {missed.chat_id: missed.version for missed in batch.changes}
            cursor = (
                opened_at if batch.is_complete else min(opened_at, batch.changes[-1].changed_at)
            )
            if not client.receive(
                client.subscription.mark_sent(batch.changes), cursor, self._random_cut()
            ):
                self.drop(client)
                return
            if batch.is_complete:
                return

    def receive(self, client: ModelClient) -> None:
        assert client.subscription is not None
        if not client.receive(
            client.subscription.take(), client.subscription.read_at, self._random_cut()
        ):
            self.drop(client)

    def drop(self, client: ModelClient) -> None:
        assert client.subscription is not None
        self.hub.unsubscribe(client.subscription)
        client.subscription = None

    def _random_cut(self) -> int | None:
        return self._numbers.randrange(4) if self._numbers.random() < self.cut_probability else None


@given(st.randoms(use_true_random=False), st.integers(2, 6))
def test_randomly_disconnected_client_ends_with_the_stored_state(
    numbers: random.Random, limit: int
) -> None:
    schedule = RandomSchedule(numbers, limit)
    for _ in range(80):
        schedule.now += numbers.random() * 5
        client = numbers.choice(schedule.clients)
        actions = [schedule.change_chat, schedule.change_chat, schedule.read, schedule.read]
        if client.subscription is None:
            actions.append(lambda client=client: schedule.connect(client))
        else:
            actions += [lambda client=client: schedule.receive(client)] * 3
            actions.append(lambda client=client: schedule.drop(client))
        numbers.choice(actions)()
    schedule.now += 2 * OVERLAP
    schedule.cut_probability = 0
    for client in schedule.clients:
        if client.subscription is None:
            schedule.connect(client)
    while schedule.read():
        pass
    for client in schedule.clients:
        schedule.receive(client)
        assert client.versions == schedule.database.states()
