"""A replica's hub under random schedules of hints, reads and clients."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from chatd.domain.cursor import Cursor
from chatd.streaming.event_reader import ChatEventReader
from support.hub_model import CHAT, ModelClient, ModelRead
from support.hub_workload import HERE, HubWorkload

READ_LIMIT = 3
"""Journal entries that one read returns."""

Action = tuple[str, int, int]
"""The name of a method of ``HubReplica``, and its two numbers."""

FREQUENCIES = {
    "claim": 20, "stream": 40, "flush": 15, "next_step": 10, "end_turn": 4, "end_runner": 3,
    "close_calls": 5,
    "reap": 3, "stream_fenced": 6, "describe": 3, "send": 12, "interrupt": 2, "edit": 3,
    "publish_entry": 9, "deliver_hint": 24, "deliver_wrong_hint": 1, "resync": 1, "read": 24,
    "apply_read": 24, "prune_journal": 1, "open": 15, "finish_open": 15, "pull": 40, "disconnect": 4,
}  # fmt: skip
"""Relative frequency of each action."""

ACTIONS = st.tuples(
    st.sampled_from([name for name, times in FREQUENCIES.items() for _ in range(times)]),
    st.integers(0, 7),
    st.integers(0, 4),
)


class HubReplica(HubWorkload):
    """The deliveries to the hub, late, twice or never, and the clients that come and go."""

    def __init__(self, *, lossless: bool, buffer: int) -> None:
        super().__init__(lossless=lossless, buffer=buffer)
        self.pending_read: tuple[Cursor, ModelRead] | None = None

    # -- deliveries, in any order --------------------------------------------------------------

    def publish_entry(self, a: int, _: int) -> None:
        """Publish an entry of a caller of this replica, perhaps after a later one."""
        if self.unpublished:
            self.hub.publish(self.unpublished.pop(a % len(self.unpublished)))

    def deliver_hint(self, a: int, b: int) -> None:
        """Deliver a hint: late, out of order, twice, or (b is 0) not at all."""
        if not self.undelivered_hints:
            return
        hint = self.undelivered_hints[a % len(self.undelivered_hints)]
        if b != 1:
            self.undelivered_hints.remove(hint)
        if b or self.lossless:
            self.hub.handle_hint(CHAT, hint)

    def deliver_wrong_hint(self, a: int, b: int) -> None:
        self.hub.handle_hint(CHAT, a * b)

    def resync(self, _a: int, _b: int) -> None:
        self.hub.mark_all_stale()

    def read(self, a: int, _: int) -> None:
        if self.pending_read is None:
            self._read(all_topics=a == 0)

    def _read(self, *, all_topics: bool) -> None:
        self.is_stale = False
        for _, cursor in self.hub.stale_topics(all_topics=all_topics):
            self.pending_read = (cursor, self.database.read(cursor, limit=READ_LIMIT))

    def apply_read(self, _a: int = 0, _b: int = 0) -> None:
        """Deliver the result of a read that was made some time ago."""
        if self.pending_read is None:
            return
        (cursor, read), self.pending_read = self.pending_read, None
        if read.version == cursor.version and not read.parts:
            return  # The store leaves out a chat in which nothing is new.
        self.hub.apply_read(
            CHAT,
            read.entries,
            after_version=cursor.version,
            version=read.version,
            epoch=read.epoch,
            settled_part=read.settled_part,
            batches=[(read.first_part, read.parts)] if read.parts else [],
        )

    # -- clients -------------------------------------------------------------------------------

    def open(self, a: int, _: int = 0) -> None:
        """Subscribe, and read the chat."""
        client = self.clients[a % 3]
        if client.subscription is not None:
            return
        client.subscription = self.hub.subscribe(CHAT)
        cursor = client.cursor
        if cursor is not None and self.database.oldest_version - 1 <= cursor.version:
            read_from = cursor._replace(epoch=0, part=0)
            client.pending_read = self.database.read(read_from, limit=10**6)
        else:
            client.cursor = None
            client.pending_read = self.database.read(Cursor(self.database.version), limit=0)

    def finish_open(self, a: int, _: int = 0) -> None:
        """Let what ``open`` has read arrive."""
        client = self.clients[a % 3]
        if client.pending_read is None:
            return
        read, client.pending_read = client.pending_read, None
        if client.cursor is None:
            self._open_with_snapshot(client, read)
        else:
            self._resume(client, client.cursor, read)

    def _open_with_snapshot(self, client: ModelClient, read: ModelRead) -> None:
        assert client.subscription is not None
        cursor = Cursor(read.version, read.epoch, read.settled_part)
        self.hub.attach(client.subscription, cursor, read.settled_part, read.parts)
        client.reader = ChatEventReader(client.subscription, cursor, settled_part=read.settled_part)
        parts = client.reader.snapshot_parts()
        client.receive_snapshot(client.reader.cursor, parts)

    def _resume(self, client: ModelClient, cursor: Cursor, read: ModelRead) -> None:
        assert client.subscription is not None
        client.reader = ChatEventReader(client.subscription, cursor, settled_part=read.settled_part)
        events = client.reader.events_for(read.entries)
        assert client.reader.cursor.version == read.version
        client.reader.set_settled_part(read.settled_part)
        position = Cursor(read.version, read.epoch)
        self.hub.attach(client.subscription, position, read.settled_part, read.parts)
        for event in events:
            client.receive(event)

    def pull(self, a: int, b: int) -> None:
        for client in self.clients if b > 1 else self.clients[a % 3 :][:1]:
            self._pull(client)

    def _pull(self, client: ModelClient, max_events: int = 10**6) -> None:
        if client.reader is None or client.subscription is None:
            return
        if client.subscription.disconnected:
            self._close(client)
            return
        for event in client.reader.pull()[:max_events]:
            client.receive(event)

    def disconnect(self, a: int, b: int) -> None:
        """Break a connection. Only some of what was sent has arrived."""
        client = self.clients[a % 3]
        self._pull(client, b)
        self._close(client)

    def _close(self, client: ModelClient) -> None:
        if client.subscription is not None:
            self.hub.unsubscribe(client.subscription)
        client.subscription = client.reader = client.pending_read = None

    # -- invariants ----------------------------------------------------------------------------

    def check_topics(self) -> None:
        """Check that a topic goes with its last use."""
        is_subscribed = any(client.subscription for client in self.clients)
        is_worked_on = self.database.worker_id == HERE or self.ending_epochs
        assert bool(self.hub._topics) <= bool(is_subscribed or is_worked_on)
        assert self.hub.subscriber_count == sum(
            client.subscription is not None for client in self.clients
        )

    def finish(self) -> None:
        """Let everything arrive, and check that every client has received everything."""
        self._deliver_pending()
        self._settle()
        for client in self.clients:
            if client.subscription is not None and client.subscription.disconnected:
                self._close(client)
        for number in range(len(self.clients)):
            self.open(number)
            self.finish_open(number)
        self._settle()
        for client in self.clients:
            self._check_complete(client)
            self._close(client)
        self.end_runner()
        if self.database.worker_id != HERE:
            assert self.hub._topics == {}

    def _deliver_pending(self) -> None:
        for entry in self.unpublished:
            self.hub.publish(entry)
        for hint in self.undelivered_hints if self.lossless else ():
            self.hub.handle_hint(CHAT, hint)
        self.apply_read()
        for number in range(len(self.clients)):
            self.finish_open(number)

    def _settle(self) -> None:
        """Read while the hub is stale, and poll everything twice if hints were lost."""
        polls, reads = 0 if self.lossless else 2, 0
        while self.is_stale or polls:
            reads += 1
            assert reads < 1000, "the hub stays stale after each read"
            polls -= not self.is_stale
            self._read(all_topics=not self.is_stale)
            self.apply_read()
        for client in self.clients:
            self._pull(client)

    def _check_complete(self, client: ModelClient) -> None:
        if client.subscription is not None and client.subscription.disconnected:
            return
        assert client.reader is not None
        assert client.reader.cursor.version == self.database.version
        running = self.database.running
        if running is None:
            assert not client.preview
        elif running.preview is not None:
            assert client.preview == running.words
        else:
            assert len(client.preview) >= running.flushed


def run_actions(actions: Sequence[Action], *, lossless: bool, buffer: int) -> HubReplica:
    """Perform the actions, and check the invariants after each and at the end."""
    replica = HubReplica(lossless=lossless, buffer=buffer)
    for client in range(3):
        replica.open(client)
        replica.finish_open(client)
    for name, a, b in actions:
        getattr(replica, name)(a, b)
        replica.check_topics()
    replica.finish()
    return replica


def failure_of(actions: Sequence[Action], options: dict[str, Any]) -> Exception | None:
    try:
        run_actions(actions, **options)
    except Exception as error:  # noqa: BLE001 - any exception is what the test looks for
        return error
    return None


def minimize(actions: list[Action], options: dict[str, Any]) -> list[Action]:
    """Drop every action that the failure does not need."""
    size = len(actions)
    while size:
        for start in range(0, len(actions), size):
            fewer = actions[:start] + actions[start + size :]
            if failure_of(fewer, options):
                actions = fewer
                break
        else:
            size //= 2
    return actions
