"""The items of a conversation, read turn by turn.

The id of an item has its turn and its place in it. So a page begins with a turn, and reads no more of the
history than it returns.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from chatd.adapters.operations import ChatOperations
from chatd.adapters.responses.ids import ItemId
from chatd.adapters.responses.output import Item
from chatd.adapters.responses.problems import no_item
from chatd.adapters.responses.stored_items import turn_items
from chatd.api.schema.types import MAX_BIGINT
from chatd.domain.message import Message, QueuedMessage, Role

_PAGE: Final = 100
"""Messages that are read at once, of 1 MiB at most."""
_MAX_TURN: Final = 10_000
"""Messages of one turn. A longer one is cut, and its items get ids of their own."""


class ConversationItems:
    """Reader of the items of one conversation, whose owner has been checked."""

    def __init__(self, operations: ChatOperations, chat_id: UUID) -> None:
        self._reads = operations.context.store.reads
        self._owner_id = operations.caller.owner_id
        self._chat_id = chat_id

    async def page(self, *, after: str | None, limit: int, newest_first: bool) -> list[Item]:
        """Return the items that follow on ``after``, one more than ``limit`` if there are more.

        Raises ``Refusal`` if there is no such item.
        """
        found: list[Item] = []
        is_found = after is None
        start = None if after is None else await self._turn_of(after)
        turns = self._backward(start) if newest_first else self._forward(start or 0)
        async for turn in turns:
            items = [item for _, its_items in turn_items(turn) for item in its_items]
            for item in reversed(items) if newest_first else items:
                if is_found:
                    found.append(item)
                is_found = is_found or item["id"] == after
            if not is_found:
                break  # it would be in the first turn
            if len(found) > limit:
                break
        if not is_found:
            raise no_item(after or "")
        return found[: limit + 1]

    async def item(self, item_id: str) -> Item:
        """Return an item. Raises ``Refusal`` if there is no such item."""
        async for turn in self._forward(await self._turn_of(item_id)):
            for _, its_items in turn_items(turn):
                for item in its_items:
                    if item["id"] == item_id:
                        return item
            break
        raise no_item(item_id)

    async def of_messages(self, messages: Sequence[Message]) -> list[Item]:
        """Return the items of stored messages, which follow on each other."""
        if not messages:
            return []
        added = {message.id for message in messages}
        start = messages[0].id
        if messages[0].role is not Role.USER:
            async for turn in self._backward(None):
                start = turn[0].id
                if start <= messages[0].id:
                    break
        items: list[Item] = []
        async for turn in self._forward(start):
            for message, its_items in turn_items(turn):
                items += its_items if message.id in added else []
        return items

    async def _turn_of(self, item_id: str) -> int:
        """Return the id of the first message of an item's turn. Raises ``Refusal``."""
        place = ItemId.parse(item_id)
        if place is None or place.response.chat_id != self._chat_id:
            raise no_item(item_id)
        if place.response.key is None:
            return place.response.message_id
        message = await self._reads.message_by_client_key(
            self._chat_id, place.response.key, owner_id=self._owner_id
        )
        if message is None or isinstance(message, QueuedMessage):
            raise no_item(item_id)
        return message.id

    async def _forward(self, start: int) -> AsyncIterator[Sequence[Message]]:
        """Yield turns from the message ``start`` on, oldest first."""
        turn: list[Message] = []
        after = start - 1
        while True:
            page = await self._reads.messages_after(self._chat_id, after, limit=_PAGE)
            for message in page.items:
                if turn and (message.role is Role.USER or len(turn) >= _MAX_TURN):
                    yield turn
                    turn = []
                turn.append(message)
            if not page.has_more:
                break
            after = page.items[-1].id
        if turn:
            yield turn

    async def _backward(self, start: int | None) -> AsyncIterator[Sequence[Message]]:
        """Yield turns from that of the message ``start`` on, or from the last one, newest first."""
        if start is not None:
            async for turn in self._forward(start):
                yield turn
                break
        turn = []
        before = MAX_BIGINT if start is None else start
        while True:
            page = await self._reads.messages_before(self._chat_id, before, limit=_PAGE)
            for message in reversed(page.items):
                turn.insert(0, message)
                if message.role is Role.USER or len(turn) >= _MAX_TURN:
                    yield turn
                    turn = []
            if not page.has_more:
                break
            before = page.items[0].id
        if turn:
            yield turn
