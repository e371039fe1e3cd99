"""Responses as they are stored: found by their ids, and read with the items of their turns."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from chatd.adapters.responses.events import ResponseEvents
from chatd.adapters.responses.ids import ResponseId, turn_of_message
from chatd.adapters.responses.open_item import Event
from chatd.adapters.responses.problems import no_response
from chatd.adapters.responses.resource import ResponseHead
from chatd.adapters.responses.trace import ResponseTrace, read_trace
from chatd.adapters.sequence import TurnSequence
from chatd.adapters.turn_item_reader import Turn, TurnItemReader
from chatd.adapters.turn_items import StepEnded, TurnItem
from chatd.api.context import ApiContext
from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatNotFound
from chatd.domain.message import Message, QueuedMessage, Role, client_key

_PAGE: Final = 100
_MAX_PAGES: Final = 100
"""Pages of messages of one turn that are read, each of up to 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A response that was found."""

    id: ResponseId
    turn: Turn
    asked: Message | QueuedMessage
    """The message of the user that it answers."""
    first_step: int = 0
    version: int | None = None
    """The version of the chat with which it began. None: it waits in the queue."""

    @property
    def turn_id(self) -> ResponseId:
        """The id of the first response of its turn."""
        turn = turn_of_message(self.asked.id, client_key(self.asked.content))
        return ResponseId(self.id.chat_id, turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResponse:
    """A response as it is, with the events that lead to it."""

    chat: Chat
    head: ResponseHead
    events: Sequence[Event]
    writer: ResponseEvents
    messages: Sequence[Message]
    """The messages of its turn."""
    last_message_id: int
    """The last message that belongs to it, or that of the user."""

    def resource(self, head: ResponseHead | None = None) -> dict[str, Any]:
        """Return the Response object, with another ``head`` if given.

        One that no worker has claimed yet is queued.
        """
        resource = self.writer.response(head)
        if self.chat.status is Status.PENDING and self.writer.status == "in_progress":
            return {**resource, "status": "queued"}
        return resource


@dataclass(frozen=True, slots=True)
class _TurnNow:
    """A turn as it is. ``until`` is the version of the chat with which it ended, or that it has."""

    chat: Chat
    messages: Sequence[Message]
    items: Sequence[TurnItem]
    until: int


class ResponseReader:
    """Reader of the responses of one owner."""

    def __init__(self, context: ApiContext, owner_id: str) -> None:
        self._context = context
        self._owner_id = owner_id
        self._reads = context.store.reads

    async def find(self, response_id: ResponseId) -> StoredResponse:
        """Find a response by its id. Raises ``Refusal`` if there is none."""
        try:
            found = await self._followed_message(response_id)
        except ChatNotFound:
            raise no_response(str(response_id)) from None
        match found:
            case QueuedMessage():
                turn = Turn(queued_id=found.id, client_key=response_id.key)
                return StoredResponse(id=response_id, turn=turn, asked=found)
            case Message(role=Role.USER):
                turn = Turn(message_id=found.id)
                return StoredResponse(id=response_id, turn=turn, asked=found, version=found.version)
            case Message(role=Role.ASSISTANT):
                earlier = await self._turn_before(found)
                if earlier is not None:
                    asked, *answers = earlier
                    steps = sum(each.role is Role.ASSISTANT for each in answers)
                    return StoredResponse(
                        id=response_id,
                        turn=Turn(message_id=asked.id),
                        asked=asked,
                        first_step=steps + 1,
                        version=found.version,
                    )
        raise no_response(str(response_id))

    async def _followed_message(self, response_id: ResponseId) -> Message | QueuedMessage | None:
        chat_id = response_id.chat_id
        if response_id.key is not None:
            return await self._reads.message_by_client_key(
                chat_id, response_id.key, owner_id=self._owner_id
            )
        await self._reads.chat(chat_id, owner_id=self._owner_id)
        page = await self._reads.messages_after(chat_id, response_id.message_id - 1, limit=1)
        message = page.items[0] if page.items else None
        return message if message and message.id == response_id.message_id else None

    async def _turn_before(self, message: Message) -> Sequence[Message] | None:
        """Return the messages of a turn that precede one of it, from the user's on."""
        found: list[Message] = []
        before = message.id
        for _ in range(_MAX_PAGES):
            page = await self._reads.messages_before(message.chat_id, before, limit=_PAGE)
            found = [*page.items, *found]
            for place in range(len(page.items) - 1, -1, -1):
                if found[place].role is Role.USER:
                    return found[place:]
            if not page.has_more:
                break
            before = page.items[0].id
        return None

    async def read(self, stored: StoredResponse, *, after: int | None = None) -> ReadResponse:
        """Read a response as it is. Its events are those after the number ``after``."""
        found = await self._turn(stored)
        trace = await self.trace(stored, found.messages, until=found.until)
        head = await self.head(stored, found.chat)
        sequence = TurnSequence(trace.voids(found.messages), after=after)
        writer = ResponseEvents(head, sequence, first_step=stored.first_step)
        events = [*writer.begin(queued=stored.version is None)]
        last_message_id = stored.asked.id
        for item in cut_items(found.items, stored.first_step, trace):
            events += writer.events(item)
            if isinstance(item, StepEnded):
                last_message_id = item.message.id
        return ReadResponse(
            chat=found.chat,
            head=head,
            events=events,
            writer=writer,
            messages=found.messages,
            last_message_id=last_message_id,
        )

    async def _turn(self, stored: StoredResponse) -> "_TurnNow":
        """Return the turn of a response. If another one follows, it is read as history."""
        chat_id, asked_id = stored.id.chat_id, stored.turn.message_id
        messages: list[Message] = []
        following: Message | None = None
        if asked_id is not None:
            messages, following = await self.turn_messages(chat_id, asked_id)
        reader = TurnItemReader(stored.turn)
        if following is not None:
            chat = await self._reads.chat(chat_id, owner_id=self._owner_id)
            items = [item for message in messages for item in reader.read_message(message)]
            items += reader.read_end()
            return _TurnNow(chat, messages, items, following.version)
        snapshot = await self._context.store.stream_reads.snapshot(
            chat_id, owner_id=self._owner_id, since=asked_id or 0
        )
        if snapshot is None:
            raise no_response(str(stored.id))
        known = {message.id: message for message in (*messages, *snapshot.messages)}
        messages = [known[message_id] for message_id in sorted(known)]
        items = [*reader.read_snapshot(replace(snapshot, messages=messages))]
        return _TurnNow(snapshot.chat, messages, items, snapshot.chat.version)

    async def turn_messages(
        self, chat_id: UUID, asked_id: int
    ) -> tuple[list[Message], Message | None]:
        """Return the messages of a turn, from the user's on, and the user's message that follows."""
        messages: list[Message] = []
        after = asked_id - 1
        for _ in range(_MAX_PAGES):
            page = await self._reads.messages_after(chat_id, after, limit=_PAGE)
            for message in page.items:
                if message.role is Role.USER and message.id != asked_id:
                    return messages, message
                messages.append(message)
            if not page.has_more:
                break
            after = messages[-1].id
        return messages, None

    async def trace(
        self, stored: StoredResponse, messages: Sequence[Message], *, until: int
    ) -> ResponseTrace:
        """Return what the journal has of a response up to a version of its chat."""
        if stored.version is None:
            return ResponseTrace()
        return await read_trace(
            self._reads, stored.id.chat_id, messages, after=stored.version, until=until
        )

    async def head(self, stored: StoredResponse, chat: Chat) -> ResponseHead:
        """Return what is known of a response without its answer."""
        model_id = stored.asked.model_config_id or chat.last_model_config_id
        await self._context.ensure_model_names(model_id)
        return ResponseHead(
            id=stored.id,
            turn_id=stored.turn_id,
            created_at=stored.asked.created_at,
            model=self._context.present.model_name(model_id) or "",
            metadata=chat.labels,
        )


def cut_items(
    items: Iterable[TurnItem], first_step: int, trace: ResponseTrace
) -> Iterator[TurnItem]:
    """Yield the items of a turn that belong to a response.

    It begins with a step, and ends with the first one whose calls the client was asked about.
    """
    for item in items:
        if getattr(item, "step", first_step) < first_step:
            continue
        yield item
        if isinstance(item, StepEnded) and (action := trace.action_of(item.message)):
            yield action
            return
