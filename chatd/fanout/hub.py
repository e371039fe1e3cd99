"""The hub of chats: one topic for each chat that has subscribers or is worked on in this process.

A live part costs one look-up, and a journal entry as many deliveries as there are subscribers. The
benchmarks ``parts`` and ``turns`` watch it.
"""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.fanout.begun_turns import BegunTurns
from chatd.fanout.new_chats import NewChats
from chatd.fanout.topic import Preview, Subscription, Topic


class ChatHub:
    """Topics by chat.

    ``subscriber_buffer`` bounds the journal entries that are pending for one subscriber.
    """

    def __init__(self, *, subscriber_buffer: int) -> None:
        self._subscriber_buffer = subscriber_buffer
        self._topics: dict[UUID, Topic] = {}
        self._stale_chat_ids: set[UUID] = set()
        self.begun_turns = BegunTurns()
        """Of the chats that this process works on."""
        self.new_chats = NewChats()
        """Of those that this process has made."""
        self.on_stale: Callable[[], None] = lambda: None
        """Called when some topic must be read from the database."""
        self.on_drain: Callable[[], None] = lambda: None
        """Called when all streams are to end, for those that are not of one chat."""
        self.refuses: Callable[[UUID], bool] = lambda _: False
        """Return whether a chat is not to be followed now, because reading it failed time and again."""
        self.draining = False

    # -- subscribers ---------------------------------------------------------------------------

    def subscribe(self, chat_id: UUID) -> Subscription:
        """Return a subscription, to which everything is delivered from now on."""
        topic = self._get_or_create_topic(chat_id)
        subscription = Subscription(topic, max_entries=self._subscriber_buffer)
        topic.subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Drop a subscription, and with the last one everything that was read for it."""
        topic = subscription.topic
        topic.subscriptions.discard(subscription)
        if not topic.subscriptions:
            topic.delivered = None
            if topic.preview is not None and not topic.preview.is_local:
                topic.preview = None
        self._drop_if_unused(topic)

    def attach(
        self, subscription: Subscription, cursor: Cursor, settled_part: int, parts: Sequence[Part]
    ) -> None:
        """Note that a subscriber has read its chat as of ``cursor``, with the parts of the running step."""
        topic = subscription.topic
        topic.note_read(cursor)
        topic.merge_parts(cursor.epoch, settled_part, 1 + settled_part, parts)
        if topic.is_stale:
            self._mark_stale(topic)

    def drain(self) -> None:
        """End all streams."""
        self.draining = True
        for topic in self._topics.values():
            topic.wake()
        self.on_drain()

    @property
    def subscriber_count(self) -> int:
        return sum(len(topic.subscriptions) for topic in self._topics.values())

    # -- changes of this process ---------------------------------------------------------------

    def publish(self, entry: JournalEntry) -> None:
        """Deliver a transition that this process committed."""
        self.new_chats.forget(entry.chat_id)
        topic = self._topics.get(entry.chat_id)
        if topic is None or not topic.subscriptions:
            return
        topic.note_announced(entry.version)
        if topic.delivered is not None and entry.version == topic.delivered.version + 1:
            topic.deliver((entry,))
        elif topic.is_stale:
            self._mark_stale(topic)

    def start_step(self, chat_id: UUID, *, epoch: int, base: int) -> Preview:
        """Return the preview of a step that starts in this process. Its parts begin at ``base + 1``.

        If a newer epoch already has a preview, return a detached one, so that a fenced worker's parts
        reach no subscriber.
        """
        topic = self._get_or_create_topic(chat_id)
        preview = Preview(epoch, base, is_local=True)
        if topic.preview is None or topic.preview.epoch <= epoch:
            topic.preview = preview
        return preview

    def publish_part(self, chat_id: UUID, preview: Preview, part: Part) -> None:
        """Add a part to the preview of a step that runs in this process."""
        preview.parts.append(part)
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is preview:
            topic.wake()

    def end_steps(self, chat_id: UUID, *, epoch: int) -> None:
        """Drop the preview of an epoch in which this process does not work on the chat any more.

        The preview of a later epoch, which may have begun here as well, stays.
        """
        self.begun_turns.forget(chat_id)
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is not None and topic.preview.epoch <= epoch:
            topic.preview = None
            self._drop_if_unused(topic)

    def mark_deleted(self, chat_id: UUID) -> None:
        """End the streams of a chat that was deleted."""
        self._forget(chat_id)
        topic = self._topics.get(chat_id)
        if topic is not None:
            topic.deleted = True
            topic.wake()

    def cut(self, chat_id: UUID) -> None:
        """End the streams of a chat whose data cannot be read."""
        self._forget(chat_id)
        topic = self._topics.get(chat_id)
        if topic is not None:
            topic.disconnect_all(unreadable=True)

    # -- changes of other processes ------------------------------------------------------------

    def handle_hint(self, chat_id: UUID, version: int | None) -> None:
        """Handle a hint that a chat reached ``version``, or that live parts were stored (None)."""
        if version is not None:
            self._forget(chat_id)
        topic = self._topics.get(chat_id)
        if topic is None or not topic.subscriptions:
            return
        if version is None:
            if not topic.is_local:
                self._mark_stale(topic)
            return
        topic.note_announced(version)
        if topic.is_stale:
            self._mark_stale(topic)

    def is_unannounced(self, chat_id: UUID, version: int) -> bool:
        """Return whether no hint has said yet that a subscribed chat reached this version."""
        topic = self._topics.get(chat_id)
        return topic is not None and topic.latest_announced < version

    def mark_all_stale(self) -> None:
        """Have every subscribed topic read once."""
        self.begun_turns.forget_all()
        self.new_chats.forget_all()
        for topic in self._topics.values():
            if topic.subscriptions:
                self._stale_chat_ids.add(topic.chat_id)
        if self._stale_chat_ids:
            self.on_stale()

    # -- reads of the database -----------------------------------------------------------------

    def stale_topics(self, *, all_topics: bool) -> list[tuple[UUID, Cursor]]:
        """Return the chats to read now, and the cursors to read them from."""
        chat_ids = self._topics.keys() if all_topics else self._stale_chat_ids & self._topics.keys()
        self._stale_chat_ids = set()
        positions = []
        for chat_id in chat_ids:
            topic = self._topics[chat_id]
            cursor = topic.read_from
            if cursor is not None:
                topic.latest_known = cursor.version  # A hint may be wrong. The read is the truth.
                positions.append((chat_id, cursor))
        return positions

    def apply_read(
        self,
        chat_id: UUID,
        entries: Sequence[JournalEntry],
        *,
        after_version: int,
        version: int,
        epoch: int,
        settled_part: int,
        batches: Iterable[tuple[int, Sequence[Part]]],
    ) -> None:
        """Deliver the journal entries that were read, then the live parts of the running step."""
        self.new_chats.forget(chat_id)
        topic = self._topics.get(chat_id)
        if topic is None or topic.delivered is None:
            return
        topic.note_known(version)
        delivered = topic.delivered.version
        new_entries = [entry for entry in entries if entry.version > delivered]
        if new_entries and new_entries[0].version > delivered + 1:
            if after_version == delivered:
                topic.disconnect_all()  # The entries in between were pruned from the journal.
            else:
                self._mark_stale(topic)
            return
        topic.deliver(new_entries)
        if topic.is_stale:
            self._mark_stale(topic)
            return
        for first_part, parts in batches:
            topic.merge_parts(epoch, settled_part, first_part, parts)

    # -- topics --------------------------------------------------------------------------------

    def _mark_stale(self, topic: Topic) -> None:
        self._stale_chat_ids.add(topic.chat_id)
        self.on_stale()

    def _forget(self, chat_id: UUID) -> None:
        """Forget what streams of a chat may begin with."""
        self.begun_turns.forget(chat_id)
        self.new_chats.forget(chat_id)

    def _get_or_create_topic(self, chat_id: UUID) -> Topic:
        topic = self._topics.get(chat_id)
        if topic is None:
            topic = self._topics[chat_id] = Topic(chat_id)
        return topic

    def _drop_if_unused(self, topic: Topic) -> None:
        if not topic.subscriptions and topic.preview is None:
            self._topics.pop(topic.chat_id, None)
