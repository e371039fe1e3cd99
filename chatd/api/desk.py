"""What the routes work with."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from chatd.api.schemas import ChatOut, Names
from chatd.live.hints import Hints
from chatd.live.hub import Hub
from chatd.llm.catalog import Catalog
from chatd.store.actions import Actions
from chatd.store.chats import Chats
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.reads import Reads
from chatd.store.rows import Moved
from chatd.store.streams import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The rooms downstairs, as far as a request may go into them."""

    chats: Chats
    actions: Actions
    messages: Messages
    queue: Queue
    reads: Reads
    streams: Streams
    hub: Hub
    hints: Hints
    catalog: Catalog
    names: Names
    keepalive_seconds: float = 15.0
    max_tools: int = 64

    def model_id(self, name: str | None) -> UUID | None:
        """Raises ``ModelNotFound``."""
        return None if name is None else self.catalog.by_name(name).id

    async def moved(self, moved: Moved) -> ChatOut:
        """Spread the word of a move, and show the chat as it is now."""
        self.hints.moved(moved.entry)
        await self.know(moved.chat.last_model_config_id)
        return self.names.chat(moved.chat)

    async def know(self, *model_ids: UUID | None) -> None:
        """Learn names of models that another replica is configured with."""
        if not all(map(self.names.knows, model_ids)):
            self.names.learn(await self.reads.model_names())


async def desk(request: Request) -> Desk:  # async: a plain function would be run in a thread
    found: Desk = request.app.state.desk
    return found


AtDesk = Annotated[Desk, Depends(desk)]
