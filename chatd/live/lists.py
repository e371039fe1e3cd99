"""The lists that are followed in this process: one for each owner who has a viewer here."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import anyio

from chatd.domain.event import RESYNC, Hint
from chatd.domain.listing import ChangeBatch, ChatChange, ListQuery, SentVersions


class ListView:
    """One viewer of a list: the chats that it is to be told of, each as it is now, and a wake-up.

    A chat that moves again before the viewer looks replaces what waits of it, so what waits is bounded
    by how many chats moved; past ``most`` of them the stream ends, and the client resumes.
    """

    def __init__(self, owner_id: str, *, most: int) -> None:
        self.owner_id = owner_id
        self._most = most
        self._memory = SentVersions()
        self._waiting: dict[UUID, ChatChange] = {}
        self._woken = anyio.Event()
        self.read_at: datetime | None = None
        """Who was told all that waits has come to here; None until the first read."""
        self.over = False
        self.slow = False
        self.gone = False

    def put(self, seen: ChangeBatch, *, overlap: timedelta) -> None:
        """What a read of the list found."""
        if self.over:  # who was let go may never look again: nothing is kept for it
            return
        for touch in seen.changes:
            waiting = self._waiting.get(touch.chat_id, touch)
            if waiting.version <= touch.version and not self._memory.has_sent(touch):
                self._waiting[touch.chat_id] = touch
        if seen.is_complete:
            self.read_at = seen.read_at
            self._memory.prune(seen.read_at - 2 * overlap)
        if len(self._waiting) > self._most:
            self.slow = True
            self.leave()
        elif self._waiting:
            self._woken.set()

    def told(self, touches: Sequence[ChatChange]) -> list[ChatChange]:
        """Those that this viewer has not been told of in that version; from now on it has."""
        for touch in touches:
            waiting = self._waiting.get(touch.chat_id)
            if waiting is not None and waiting.version <= touch.version:
                del self._waiting[touch.chat_id]
        return self._memory.take_new(touches)

    def take(self) -> list[ChatChange]:
        """What waits, longest ago first."""
        self._woken = anyio.Event()
        taken = sorted(self._waiting.values(), key=lambda touch: touch.changed_at)
        self._waiting = {}
        return self._memory.take_new(taken)

    def wake(self) -> None:
        self._woken.set()

    def leave(self) -> None:
        """The viewer is gone: its stream ends."""
        self.over = True
        self._waiting = {}
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._woken.wait()


class _Listing:
    """One owner's list: how far it was read, and who views it."""

    def __init__(self) -> None:
        self.views: set[ListView] = set()
        self.memory = SentVersions()
        self.begun_at: datetime | None = None
        """From here on nothing was left out; None until the first viewer has read."""
        self.read_at: datetime | None = None

    def begin(self, read_at: datetime) -> None:
        if self.begun_at is None or read_at < self.begun_at:
            self.begun_at = self.read_at = read_at


class ListHub:
    """Lists by owner. ``overlap_seconds`` is what may lie between a chat's time and its being seen."""

    def __init__(self, *, overlap_seconds: float = 15.0, viewer_buffer: int = 1024) -> None:
        self.overlap = timedelta(seconds=overlap_seconds)
        self._buffer = viewer_buffer
        self._listings: dict[str, _Listing] = {}
        self.on_news: Callable[[], None] = lambda: None
        """Called when there may be something to read."""

    @property
    def viewers(self) -> int:
        return sum(len(listing.views) for listing in self._listings.values())

    # -- viewers ------------------------------------------------------------------------------

    def watch(self, owner_id: str) -> ListView:
        """From now on, everything that is read of this list waits for this viewer too."""
        view = ListView(owner_id, most=self._buffer)
        self._listings.setdefault(owner_id, _Listing()).views.add(view)
        return view

    def begin(self, view: ListView, read_at: datetime) -> None:
        """A viewer has read its list, at first at ``read_at``: what was seen since is put to it."""
        listing = self._listings.get(view.owner_id)
        if listing is not None and view in listing.views:
            listing.begin(read_at)
            self.on_news()

    def unwatch(self, view: ListView) -> None:
        listing = self._listings.get(view.owner_id)
        if listing is not None:
            listing.views.discard(view)
            if not listing.views:
                del self._listings[view.owner_id]

    def wake(self) -> None:
        """Have all viewers look up: the process stops."""
        for listing in self._listings.values():
            for view in listing.views:
                view.wake()

    # -- what is read for them ----------------------------------------------------------------

    def hint(self, hint: Hint) -> None:
        """A chat moved, somebody's: it may be on a list that is watched."""
        if (hint.status is not None or hint is RESYNC) and self._listings:
            self.on_news()

    def places(self) -> list[ListQuery]:
        """What to read now, of each list."""
        found = []
        for owner_id, listing in self._listings.items():
            if listing.read_at is not None:
                since = listing.read_at - self.overlap
                found.append(ListQuery(owner_id, since, listing.memory.versions_since(since)))
        return found

    def catch_up(self, asked: Sequence[ListQuery], found: Mapping[str, ChangeBatch]) -> bool:
        """What the read of those places found; True when there is more to be read at once."""
        more = False
        for place in asked:
            listing, seen = self._listings.get(place.owner_id), found[place.owner_id]
            if listing is None:
                continue
            if seen.read_at < place.since:  # the clock was put back: nothing follows from times
                for view in listing.views:
                    view.leave()
                continue
            fresh = ChangeBatch(
                seen.read_at, listing.memory.take_new(seen.changes), seen.is_complete
            )
            for view in listing.views:
                view.put(fresh, overlap=self.overlap)
            if not seen.is_complete:
                more = True
            elif listing.read_at is not None and place.since <= listing.read_at - self.overlap:
                listing.read_at = seen.read_at
                listing.memory.prune(seen.read_at - self.overlap)
        return more
