"""What the routes work with."""

from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from chatd.api.dressing import Dressing
from chatd.api.limits import Limits
from chatd.api.schemas import ChatOut
from chatd.api.stays import Stays
from chatd.live.hints import ChangeBus
from chatd.live.hub import ChatHub
from chatd.live.lists import ListHub
from chatd.llm.catalog import Catalog
from chatd.store.actions import ToolCalls
from chatd.store.chats import Chats
from chatd.store.keys import IdempotencyStore
from chatd.store.lists import ChatLists
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.rows import TransitionResult
from chatd.store.streams import StreamStore
from chatd.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The rooms downstairs, as far as a request may go into them."""

    chats: Chats
    actions: ToolCalls
    messages: Messages
    queue: Queue
    reads: ChatReader
    lists: ChatLists
    streams: StreamStore
    hub: ChatHub
    list_hub: ListHub
    hints: ChangeBus
    catalog: Catalog
    models: Models
    keys: IdempotencyStore
    dress: Dressing
    metrics: Metrics = field(default_factory=Metrics)
    limits: Limits = field(default_factory=Limits)
    stays: Stays = field(default_factory=Stays)
    keepalive_seconds: float = 15.0
    event_retention_days: float = 7.0
    stale_after_seconds: float = 20.0

    def model_id(self, name: str | None) -> UUID | None:
        """Raises ``ModelNotFound``."""
        return None if name is None else self.catalog.by_name(name).id

    async def moved(self, moved: TransitionResult) -> ChatOut:
        """Spread the word of a move, and show the chat as it is now."""
        self.metrics.http.replays.add(amount=moved.replayed)
        self.hints.publish(moved.entry)
        await self.know(moved.chat.last_model_config_id)
        return self.dress.chat(moved.chat)

    async def know(self, *model_ids: UUID | None) -> None:
        """Learn names of models that another replica is configured with."""
        if not all(map(self.dress.knows, model_ids)):
            self.dress.learn(await self.models.names())


async def desk(request: Request) -> Desk:  # async: a plain function would be run in a thread
    found: Desk = request.app.state.desk
    return found


AtDesk = Annotated[Desk, Depends(desk)]
