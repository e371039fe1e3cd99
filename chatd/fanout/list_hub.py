"""The lists that are followed in this process: one for each owner who has a viewer here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import anyio

from chatd.domain.chat_list import ChangeBatch, ChatChange, ListQuery, SentVersions
from chatd.domain.hint import RESYNC, Hint


class ListSubscription:
    """One viewer of a list: the chats that it is to be told of, each as it is now, and a wake-up.

    A chat that moves again before the viewer looks replaces what waits of it, so what waits is bounded
    by how many chats moved; past ``max_pending`` of them the stream ends, and the client resumes.
    """

    def __init__(self, owner_id: str, *, max_pending: int) -> None:
        self.owner_id = owner_id
        self._max_pending = max_pending
        self._sent_versions = SentVersions()
        self._pending: dict[UUID, ChatChange] = {}
        self._woken = anyio.Event()
        self.read_at: datetime | None = None
        """Who was told all that waits has come to here; None until the first read."""
        self.closed = False
        self.overflowed = False
        self.deleted = False

    def deliver(self, batch: ChangeBatch, *, overlap: timedelta) -> None:
        """What a read of the list found."""
        if self.closed:  # who was let go may never look again: nothing is kept for it
            return
        for touch in batch.changes:
            waiting = self._pending.get(touch.chat_id, touch)
            if waiting.version <= touch.version and not self._sent_versions.has_sent(touch):
                self._pending[touch.chat_id] = touch
        if batch.is_complete:
            self.read_at = batch.read_at
            self._sent_versions.prune(batch.read_at - 2 * overlap)
        if len(self._pending) > self._max_pending:
            self.overflowed = True
            self.disconnect()
        elif self._pending:
            self._woken.set()

    def mark_sent(self, changes: Sequence[ChatChange]) -> list[ChatChange]:
        """Those that this viewer has not been told of in that version; from now on it has."""
        for touch in changes:
            waiting = self._pending.get(touch.chat_id)
            if waiting is not None and waiting.version <= touch.version:
                del self._pending[touch.chat_id]
        return self._sent_versions.take_new(changes)

    def take(self) -> list[ChatChange]:
        """What waits, longest ago first."""
        self._woken = anyio.Event()
        taken = sorted(self._pending.values(), key=lambda touch: touch.changed_at)
        self._pending = {}
        return self._sent_versions.take_new(taken)

    def wake(self) -> None:
        self._woken.set()

    def disconnect(self) -> None:
        """The viewer is gone: its stream ends."""
        self.closed = True
        self._pending = {}
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._woken.wait()


class _ListTopic:
    """One owner's list: how far it was read, and who views it."""

    def __init__(self) -> None:
        self.subscriptions: set[ListSubscription] = set()
        self.sent_versions = SentVersions()
        self.complete_since: datetime | None = None
        """From here on nothing was left out; None until the first viewer has read."""
        self.read_at: datetime | None = None

    def attach(self, read_at: datetime) -> None:
        if self.complete_since is None or read_at < self.complete_since:
            self.complete_since = self.read_at = read_at


class ListHub:
    """Lists by owner. ``overlap_seconds`` is what may lie between a chat's time and its being seen."""

    def __init__(self, *, overlap_seconds: float = 15.0, subscriber_buffer: int = 1024) -> None:
        self.overlap = timedelta(seconds=overlap_seconds)
        self._subscriber_buffer = subscriber_buffer
        self._topics: dict[str, _ListTopic] = {}
        self.on_stale: Callable[[], None] = lambda: None
        """Called when there may be something to read."""

    @property
    def subscriber_count(self) -> int:
        return sum(len(listing.subscriptions) for listing in self._topics.values())

    # -- viewers ------------------------------------------------------------------------------

    def subscribe(self, owner_id: str) -> ListSubscription:
        """From now on, everything that is read of this list waits for this viewer too."""
        view = ListSubscription(owner_id, max_pending=self._subscriber_buffer)
        self._topics.setdefault(owner_id, _ListTopic()).subscriptions.add(view)
        return view

    def attach(self, subscription: ListSubscription, read_at: datetime) -> None:
        """A viewer has read its list, at first at ``read_at``: what was seen since is put to it."""
        listing = self._topics.get(subscription.owner_id)
        if listing is not None and subscription in listing.subscriptions:
            listing.attach(read_at)
            self.on_stale()

    def unsubscribe(self, subscription: ListSubscription) -> None:
        listing = self._topics.get(subscription.owner_id)
        if listing is not None:
            listing.subscriptions.discard(subscription)
            if not listing.subscriptions:
                del self._topics[subscription.owner_id]

    def wake_all(self) -> None:
        """Have all viewers look up: the process stops."""
        for listing in self._topics.values():
            for view in listing.subscriptions:
                view.wake()

    # -- what is read for them ----------------------------------------------------------------

    def handle_hint(self, hint: Hint) -> None:
        """A chat moved, somebody's: it may be on a list that is watched."""
        if (hint.status is not None or hint is RESYNC) and self._topics:
            self.on_stale()

    def pending_reads(self) -> list[ListQuery]:
        """What to read now, of each list."""
        found = []
        for owner_id, listing in self._topics.items():
            if listing.read_at is not None:
                since = listing.read_at - self.overlap
                found.append(
                    ListQuery(owner_id, since, listing.sent_versions.versions_since(since))
                )
        return found

    def apply_read(self, queries: Sequence[ListQuery], batches: Mapping[str, ChangeBatch]) -> bool:
        """What the read of those places found; True when there is more to be read at once."""
        more = False
        for place in queries:
            listing, seen = self._topics.get(place.owner_id), batches[place.owner_id]
            if listing is None:
                continue
            if seen.read_at < place.since:  # the clock was put back: nothing follows from times
                for view in listing.subscriptions:
                    view.disconnect()
                continue
            fresh = ChangeBatch(
                seen.read_at, listing.sent_versions.take_new(seen.changes), seen.is_complete
            )
            for view in listing.subscriptions:
                view.deliver(fresh, overlap=self.overlap)
            if not seen.is_complete:
                more = True
            elif listing.read_at is not None and place.since <= listing.read_at - self.overlap:
                listing.read_at = seen.read_at
                listing.sent_versions.prune(seen.read_at - self.overlap)
        return more
