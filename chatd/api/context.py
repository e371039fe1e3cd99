"""What the routes work with."""

from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.presenter import Presenter
from chatd.api.request.limits import RequestLimits
from chatd.api.schema.resources import ChatOut
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.fanout.list_hub import ListHub
from chatd.llm.catalog import Catalog
from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.idempotency import IdempotencyStore
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.records import TransitionResult
from chatd.store.stream_reads import StreamStore
from chatd.store.tool_calls import ToolCalls
from chatd.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The rooms downstairs, as far as a request may go into them."""

    chats: Chats
    tool_calls: ToolCalls
    messages: Messages
    queue: Queue
    reads: ChatReader
    chat_lists: ChatLists
    stream_reads: StreamStore
    hub: ChatHub
    list_hub: ListHub
    change_bus: ChangeBus
    catalog: Catalog
    models: Models
    idempotency: IdempotencyStore
    present: Presenter
    metrics: Metrics = field(default_factory=Metrics)
    limits: RequestLimits = field(default_factory=RequestLimits)
    stream_sessions: StreamSessions = field(default_factory=StreamSessions)
    keepalive_seconds: float = 15.0
    event_retention_days: float = 7.0
    lease_seconds: float = 20.0

    def model_id(self, name: str | None) -> UUID | None:
        """Raises ``ModelNotFound``."""
        return None if name is None else self.catalog.by_name(name).id

    async def publish(self, result: TransitionResult) -> ChatOut:
        """Spread the word of a move, and show the chat as it is now."""
        self.metrics.http.replays.add(amount=result.replayed)
        self.change_bus.publish(result.entry)
        await self.ensure_model_names(result.chat.last_model_config_id)
        return self.present.chat(result.chat)

    async def ensure_model_names(self, *model_ids: UUID | None) -> None:
        """Learn names of models that another replica is configured with."""
        if not all(map(self.present.has_model_name, model_ids)):
            self.present.add_model_names(await self.models.names())


async def api_context(
    request: Request,
) -> ApiContext:  # async: a plain function would be run in a thread
    found: ApiContext = request.app.state.context
    return found


Context = Annotated[ApiContext, Depends(api_context)]
