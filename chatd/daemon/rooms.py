"""What the actors share, made from the settings."""

from dataclasses import dataclass, replace
from uuid import UUID

from chatd.api.dressing import Presenter
from chatd.live.hints import ChangeBus
from chatd.live.hub import ChatHub
from chatd.live.lists import ListHub
from chatd.llm.catalog import Catalog, ModelConfig, ProviderConfig, build_catalog
from chatd.settings import ModelSettings, ProviderSettings, Settings
from chatd.store.actions import ToolCalls
from chatd.store.chats import Chats
from chatd.store.keys import IdempotencyStore
from chatd.store.lists import ChatLists
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.notifier import Notifier
from chatd.store.pool import Database
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.streams import StreamStore
from chatd.store.turns import Turns
from chatd.telemetry.metrics import Metrics

_COMMIT_SECONDS = 5.0
"""What may lie between the end of a statement, at its timeout, and its changes being seen."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the actors share."""

    metrics: Metrics
    database: Database
    hub: ChatHub
    list_hub: ListHub
    notifier: Notifier
    hints: ChangeBus
    streams: StreamStore
    reads: ChatReader
    lists: ChatLists
    turns: Turns
    chats: Chats
    actions: ToolCalls
    messages: Messages
    queue: Queue
    keys: IdempotencyStore
    models: Models
    dress: Presenter


def make_rooms(settings: Settings, *, worker_id: UUID) -> Rooms:
    """Nothing here connects to anything yet."""
    given = settings.database
    database = Database(
        given.url.get_secret_value(),
        direct_dsn=given.direct_url.get_secret_value() if given.direct_url else None,
        pool_size=given.pool_size,
        connect_timeout_seconds=given.connect_timeout_seconds,
        statement_timeout_seconds=given.statement_timeout_seconds,
    )
    metrics = Metrics()
    hub = ChatHub(subscriber_buffer=settings.stream.subscriber_buffer)
    list_hub = ListHub(
        overlap_seconds=given.statement_timeout_seconds + _COMMIT_SECONDS,
        subscriber_buffer=settings.stream.subscriber_buffer,
    )
    hub.on_drain = list_hub.wake_all
    notifier = Notifier(database, sender=str(worker_id), metrics=metrics.notifications)
    return Rooms(
        metrics=metrics,
        database=database,
        hub=hub,
        list_hub=list_hub,
        notifier=notifier,
        hints=ChangeBus(hub, notify_replicas=notifier.enqueue),
        streams=StreamStore(database),
        reads=ChatReader(database),
        lists=ChatLists(database),
        turns=Turns(database, metrics=metrics.leases),
        chats=Chats(
            database,
            max_queued_messages=settings.worker.max_queued_messages,
            max_chats_in_flight=settings.limits.max_chats_in_flight,
        ),
        actions=ToolCalls(database),
        messages=Messages(database, max_chats_in_flight=settings.limits.max_chats_in_flight),
        queue=Queue(database, max_chats_in_flight=settings.limits.max_chats_in_flight),
        keys=IdempotencyStore(database),
        models=Models(database),
        dress=Presenter(),
    )


def with_limits(rooms: Rooms, settings: Settings) -> Rooms:
    """The same rooms, with the limits of settings that were reloaded."""
    in_flight = settings.limits.max_chats_in_flight
    return replace(
        rooms,
        chats=Chats(
            rooms.database,
            max_queued_messages=settings.worker.max_queued_messages,
            max_chats_in_flight=in_flight,
        ),
        messages=Messages(rooms.database, max_chats_in_flight=in_flight),
        queue=Queue(rooms.database, max_chats_in_flight=in_flight),
    )


def catalog_of(settings: Settings) -> Catalog:
    """The models and providers that are configured."""
    return build_catalog(
        providers=[_provider(name, given) for name, given in settings.providers.items()],
        models=[_model(name, given) for name, given in settings.models.items()],
    )


def _provider(name: str, given: ProviderSettings) -> ProviderConfig:
    return ProviderConfig(
        name=name,
        kind=given.kind,
        base_url=given.base_url,
        api_key=given.api_key.get_secret_value() if given.api_key else None,
        headers={key: value.get_secret_value() for key, value in given.headers.items()},
        script=given.script,
        scripts=given.scripts,
    )


def _model(name: str, given: ModelSettings) -> ModelConfig:
    return ModelConfig(
        name=name,
        provider=given.provider,
        model=given.model,
        context_limit=given.context_limit,
        max_output_tokens=given.max_output_tokens,
        settings=given.settings,
        default=given.default,
    )
