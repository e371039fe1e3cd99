"""The hub: one topic for each chat that is watched or worked here."""

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.fanout.topic import Preview, Subscription, Topic


class ChatHub:
    """Topics by chat. ``on_stale`` is called when some topic has to be read from the database."""

    def __init__(self, *, subscriber_buffer: int = 1024) -> None:
        self._subscriber_buffer = subscriber_buffer
        self._topics: dict[UUID, Topic] = {}
        self._stale_chat_ids: set[UUID] = set()
        self.on_stale: Callable[[], None] = lambda: None
        self.on_drain: Callable[[], None] = lambda: None
        """Called when all streams are to end, for those that are not of one chat."""
        self.draining = False

    # -- viewers ------------------------------------------------------------------------------

    def subscribe(self, chat_id: UUID) -> Subscription:
        """From now on, everything that is fed waits for this viewer too."""
        topic = self._get_or_create_topic(chat_id)
        subscription = Subscription(topic, max_entries=self._subscriber_buffer)
        topic.subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
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
        """A viewer has read the chat as of ``cursor``, with the parts of its running step."""
        topic = subscription.topic
        if topic.delivered is None:
            topic.delivered = cursor
        elif topic.delivered.version > cursor.version:
            # What came between was not put to this viewer: put it to all again, the others skip it.
            topic.latest_known = max(topic.latest_known, topic.delivered.version)
            topic.delivered = cursor
        topic.latest_known = max(topic.latest_known, cursor.version)
        self._merge_parts(topic, cursor.epoch, settled_part, 1 + settled_part, parts)
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

    # -- what happens in this process ---------------------------------------------------------

    def publish(self, entry: JournalEntry) -> None:
        """A move of this process went through."""
        topic = self._topics.get(entry.chat_id)
        if topic is None or not topic.subscriptions:
            return
        topic.latest_known = max(topic.latest_known, entry.version)
        topic.latest_announced = max(topic.latest_announced, entry.version)
        if topic.delivered is not None and entry.version == topic.delivered.version + 1:
            topic.delivered = topic.delivered.advanced_past(entry)
            topic.deliver((entry,))
        elif topic.is_stale:
            self._mark_stale(topic)

    def start_step(self, chat_id: UUID, *, epoch: int, base: int) -> Preview:
        """A step of a chat starts here; its parts are numbered from ``base + 1``.

        An owner that was fenced, and does not know it yet, streams into the void.
        """
        topic = self._get_or_create_topic(chat_id)
        preview = Preview(epoch, base, is_local=True)
        if topic.preview is None or topic.preview.epoch <= epoch:
            topic.preview = preview
        return preview

    def publish_part(self, chat_id: UUID, preview: Preview, part: Part) -> None:
        """One more part of a step that runs here."""
        preview.parts.append(part)
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is preview:
            topic.wake()

    def end_steps(self, chat_id: UUID, *, epoch: int) -> None:
        """The chat is not worked here any more in this epoch; a later one may have begun here."""
        topic = self._topics.get(chat_id)
        if topic is not None and topic.preview is not None and topic.preview.epoch <= epoch:
            topic.preview = None
            self._drop_if_unused(topic)

    # -- what happens elsewhere ---------------------------------------------------------------

    def handle_hint(self, chat_id: UUID, version: int | None) -> None:
        """Another process says that a chat has come to ``version``, or streamed parts (None)."""
        topic = self._topics.get(chat_id)
        if topic is None or not topic.subscriptions:
            return
        if version is None:
            if not topic.is_local:
                self._mark_stale(topic)
            return
        topic.latest_known = max(topic.latest_known, version)
        topic.latest_announced = max(topic.latest_announced, version)
        if topic.is_stale:
            self._mark_stale(topic)

    def is_unannounced(self, chat_id: UUID, version: int) -> bool:
        """Whether nobody has told yet that a watched chat has come to this version."""
        topic = self._topics.get(chat_id)
        return topic is not None and topic.latest_announced < version

    def mark_all_stale(self) -> None:
        """Read every watched topic once."""
        for topic in self._topics.values():
            if topic.subscriptions:
                self._stale_chat_ids.add(topic.chat_id)
        if self._stale_chat_ids:
            self.on_stale()

    def stale_topics(self, *, all_topics: bool) -> list[tuple[UUID, Cursor]]:
        """The topics to read now, and from where; parts of a step that runs here are not read."""
        asked = self._topics.keys() if all_topics else self._stale_chat_ids & self._topics.keys()
        self._stale_chat_ids = set()
        places = []
        for chat_id in asked:
            topic = self._topics[chat_id]
            if topic.delivered is None or topic.deleted:
                continue
            preview, fed = topic.preview, topic.delivered
            topic.latest_known = (
                fed.version
            )  # a hint may have been wrong; what is read now is the truth
            if preview is None:
                places.append((chat_id, Cursor(fed.version, fed.epoch, 0)))
            elif preview.is_local:
                places.append((chat_id, Cursor(fed.version, preview.epoch, _AFTER_ALL_PARTS)))
            else:
                places.append((chat_id, Cursor(fed.version, preview.epoch, preview.last_part)))
        return places

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
        """What was read from the database: journal rows, then parts of the running step."""
        topic = self._topics.get(chat_id)
        if topic is None or topic.delivered is None:
            return
        topic.latest_known = max(topic.latest_known, version)
        fresh = [entry for entry in entries if entry.version > topic.delivered.version]
        if fresh and fresh[0].version > topic.delivered.version + 1:
            if after_version == topic.delivered.version:
                topic.disconnect_all()  # the journal was cut off under our feet
            else:
                self._mark_stale(topic)
            return
        for entry in fresh:
            topic.delivered = topic.delivered.advanced_past(entry)
        if fresh:
            topic.deliver(fresh)
        if topic.is_stale:
            self._mark_stale(topic)
            return
        for first, parts in batches:
            self._merge_parts(topic, epoch, settled_part, first, parts)

    def mark_deleted(self, chat_id: UUID) -> None:
        """The chat was deleted."""
        topic = self._topics.get(chat_id)
        if topic is not None:
            topic.deleted = True
            topic.wake()

    # -- inside -------------------------------------------------------------------------------

    def _merge_parts(
        self, topic: Topic, epoch: int, settled_part: int, first_part: int, parts: Sequence[Part]
    ) -> None:
        """Add parts that were read from the database, unless the step runs here."""
        preview = topic.preview
        if (
            preview is None
            or preview.epoch < epoch
            or (preview.epoch == epoch and preview.base < settled_part)
        ):
            preview = topic.preview = Preview(epoch, settled_part, is_local=False)
        if preview.is_local or preview.epoch != epoch or preview.base != settled_part:
            return
        if first_part <= preview.last_part + 1:
            preview.parts.extend(parts[preview.last_part + 1 - first_part :])
            topic.wake()

    def _mark_stale(self, topic: Topic) -> None:
        self._stale_chat_ids.add(topic.chat_id)
        self.on_stale()

    def _get_or_create_topic(self, chat_id: UUID) -> Topic:
        topic = self._topics.get(chat_id)
        if topic is None:
            topic = self._topics[chat_id] = Topic(chat_id)
        return topic

    def _drop_if_unused(self, topic: Topic) -> None:
        if not topic.subscriptions and topic.preview is None:
            self._topics.pop(topic.chat_id, None)


_AFTER_ALL_PARTS = 2**62
"""A part number past every other."""
