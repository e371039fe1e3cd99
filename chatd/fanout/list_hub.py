"""The hub of chat lists: one topic for each owner whose list has subscribers in this process."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from chatd.domain.chat_list import ChangeBatch, ChatChange, ListQuery, SentVersions
from chatd.domain.hint import RESYNC, Hint, hash_owner
from chatd.fanout.wakeup import Wakeup

_LISTS_PER_POLL: Final = 500
"""Lists that one poll reads, in some 10 ms. Hints name the lists to read; polls find what hints missed."""


class ListSubscription:
    """The changed chats that are pending for one subscriber of a list, each as it is now.

    A chat that changes again before the subscriber takes it replaces its pending state, so the number of
    changed chats bounds what is pending. Past ``max_pending`` the stream ends, and the client resumes.
    """

    def __init__(self, owner_id: str, *, max_pending: int) -> None:
        self.owner_id = owner_id
        self._max_pending = max_pending
        self._sent_versions = SentVersions()
        self._pending: dict[UUID, ChatChange] = {}
        self._woken = Wakeup()
        self.read_at: datetime | None = None
        """The cursor of a subscriber that was sent all that is pending; None until the first read."""
        self.closed = False
        self.overflowed = False
        self.unreadable = False
        """True when the subscription was closed because this process cannot read the list."""
        self.deleted = False
        """Always false: a list of chats is not deleted."""

    def deliver(self, batch: ChangeBatch, *, overlap: timedelta) -> None:
        """Add the changes that a read found. Past the bound, close the subscription."""
        if self.closed:  # A closed subscription may never be read again, so it must hold nothing.
            return
        for change in batch.changes:
            pending = self._pending.get(change.chat_id, change)
            if pending.version <= change.version and not self._sent_versions.has_sent(change):
                self._pending[change.chat_id] = change
        if batch.is_complete:
            self.read_at = batch.read_at
            self._sent_versions.prune(batch.read_at - 2 * overlap)
        if len(self._pending) > self._max_pending:
            self.overflowed = True
            self.disconnect()
        elif self._pending:
            self._woken.set()

    def mark_sent(self, changes: Sequence[ChatChange]) -> list[ChatChange]:
        """Return the changes that this subscriber was not sent yet, and count them as sent."""
        for change in changes:
            pending = self._pending.get(change.chat_id)
            if pending is not None and pending.version <= change.version:
                del self._pending[change.chat_id]
        return self._sent_versions.take_new(changes)

    def take(self) -> list[ChatChange]:
        """Return the pending changes, oldest first, and count them as sent."""
        self._woken.clear()
        changes = sorted(self._pending.values(), key=lambda change: change.changed_at)
        self._pending = {}
        return self._sent_versions.take_new(changes)

    def wake(self) -> None:
        """Have ``wait`` return."""
        self._woken.set()

    def disconnect(self) -> None:
        """Close the subscription."""
        self.closed = True
        self._pending = {}
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be something new, or the subscription was closed."""
        await self._woken.wait()


class _ListTopic:
    """One owner's list: the position of its reads, and its subscriptions."""

    def __init__(self) -> None:
        self.subscriptions: set[ListSubscription] = set()
        self.sent_versions = SentVersions()
        self.complete_since: datetime | None = None
        """Every change since then was delivered; None until the first subscriber has read the list."""
        self.read_at: datetime | None = None

    def attach(self, read_at: datetime) -> None:
        """Note that a subscriber has read the list as of ``read_at``."""
        if self.complete_since is None or read_at < self.complete_since:
            self.complete_since = self.read_at = read_at

    def query(self, owner_id: str, *, overlap: timedelta) -> ListQuery | None:
        """Return the query of what changed since the last read; None before the first one."""
        if self.read_at is None:
            return None
        since = self.read_at - overlap
        return ListQuery(owner_id, since, self.sent_versions.versions_since(since))

    def deliver(self, query: ListQuery, batch: ChangeBatch, *, overlap: timedelta) -> None:
        """Deliver the changes that a read found, or end all streams if its clock went back."""
        if batch.read_at < query.since:  # Times before and after do not compare.
            for subscription in self.subscriptions:
                subscription.disconnect()
            return
        new_changes = self.sent_versions.take_new(batch.changes)
        new_batch = ChangeBatch(batch.read_at, new_changes, batch.is_complete)
        for subscription in self.subscriptions:
            subscription.deliver(new_batch, overlap=overlap)
        is_current = self.read_at is not None and query.since <= self.read_at - overlap
        if batch.is_complete and is_current:
            self.read_at = batch.read_at
            self.sent_versions.prune(batch.read_at - overlap)


class ListHub:
    """Lists by owner.

    ``overlap_seconds`` is the longest time between the time that a change is stored with and the moment
    when others can see it. ``subscriber_buffer`` bounds the chats that are pending for one subscriber.
    """

    def __init__(self, *, overlap_seconds: float, subscriber_buffer: int) -> None:
        self.overlap = timedelta(seconds=overlap_seconds)
        self._subscriber_buffer = subscriber_buffer
        self._topics: dict[str, _ListTopic] = {}
        self._owners_by_hash: dict[int, set[str]] = {}
        self._stale_owners: set[str] = set()
        self.on_stale: Callable[[], None] = lambda: None
        """Called when there may be something to read."""
        self.refuses: Callable[[str], bool] = lambda _: False
        """Return whether a list is not to be followed now, because reading it failed time and again."""

    @property
    def subscriber_count(self) -> int:
        return sum(len(topic.subscriptions) for topic in self._topics.values())

    # -- subscribers ---------------------------------------------------------------------------

    def subscribe(self, owner_id: str) -> ListSubscription:
        """Return a subscription, to which everything that is read is delivered from now on."""
        subscription = ListSubscription(owner_id, max_pending=self._subscriber_buffer)
        self._topics.setdefault(owner_id, _ListTopic()).subscriptions.add(subscription)
        self._owners_by_hash.setdefault(hash_owner(owner_id), set()).add(owner_id)
        return subscription

    def attach(self, subscription: ListSubscription, read_at: datetime) -> None:
        """Note that a subscriber has read its list, first at ``read_at``. Later changes are delivered."""
        topic = self._topics.get(subscription.owner_id)
        if topic is not None and subscription in topic.subscriptions:
            topic.attach(read_at)
            self.mark_stale((subscription.owner_id,))

    def unsubscribe(self, subscription: ListSubscription) -> None:
        """Drop a subscription, and with the last one the topic."""
        topic = self._topics.get(subscription.owner_id)
        if topic is not None:
            topic.subscriptions.discard(subscription)
            if not topic.subscriptions:
                self._drop(subscription.owner_id)

    def cut(self, owner_id: str) -> None:
        """End the streams of a list that cannot be read."""
        topic = self._topics.get(owner_id)
        for subscription in topic.subscriptions if topic is not None else ():
            subscription.unreadable = True
            subscription.disconnect()

    def wake_all(self) -> None:
        """Wake all subscribers, because the process drains."""
        for topic in self._topics.values():
            for subscription in topic.subscriptions:
                subscription.wake()

    # -- reads of the database -----------------------------------------------------------------

    def handle_hint(self, hint: Hint) -> None:
        """Have the lists read on which a chat changed: those of its owner, or all if that is unknown."""
        if hint.status is None and hint is not RESYNC:
            return
        if hint.owner_hash is None:
            self.mark_stale(self._topics)
        else:
            self.mark_stale(self._owners_by_hash.get(hint.owner_hash, ()))

    def mark_stale(self, owner_ids: Collection[str]) -> None:
        """Have these lists read soon."""
        if owner_ids:
            self._stale_owners.update(owner_ids)
            self.on_stale()

    def pending_reads(self, *, poll: bool = True) -> list[ListQuery]:
        """Return the queries of the lists that are stale and, in a ``poll``, of some others.

        Those are the lists that no poll has read for longest. Many lists are read by several polls.
        """
        owner_ids, self._stale_owners = self._stale_owners & self._topics.keys(), set()
        if poll:
            polled = list(islice(self._topics, _LISTS_PER_POLL))
            for owner_id in polled:
                self._topics[owner_id] = self._topics.pop(owner_id)  # to the end of the order
            owner_ids |= {*polled}
        queries = (
            self._topics[owner_id].query(owner_id, overlap=self.overlap) for owner_id in owner_ids
        )
        return [query for query in queries if query is not None]

    def apply_read(self, queries: Sequence[ListQuery], batches: Mapping[str, ChangeBatch]) -> bool:
        """Deliver what the queries found. Return whether there is more to read at once."""
        more = False
        for query in queries:
            topic, batch = self._topics.get(query.owner_id), batches.get(query.owner_id)
            if topic is not None and batch is not None:
                topic.deliver(query, batch, overlap=self.overlap)
                if not batch.is_complete and batch.read_at >= query.since:
                    self._stale_owners.add(query.owner_id)
                    more = True
        return more

    def _drop(self, owner_id: str) -> None:
        del self._topics[owner_id]
        owner_hash = hash_owner(owner_id)
        self._owners_by_hash[owner_hash].discard(owner_id)
        if not self._owners_by_hash[owner_hash]:
            del self._owners_by_hash[owner_hash]
