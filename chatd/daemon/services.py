"""What the actors share, made from the settings."""

from dataclasses import dataclass, replace
from uuid import UUID

from chatd.api.presenter import Presenter
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.fanout.list_hub import ListHub
from chatd.llm.catalog import Catalog, ModelConfig, ProviderConfig, build_catalog
from chatd.settings import ModelSettings, ProviderSettings, Settings
from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyStore
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.notifications.notifier import Notifier
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import StreamStore
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.telemetry.metrics import Metrics

_COMMIT_VISIBILITY_SECONDS = 5.0
"""What may lie between the end of a statement, at its timeout, and its changes being seen."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the actors share."""

    metrics: Metrics
    database: Database
    hub: ChatHub
    list_hub: ListHub
    notifier: Notifier
    change_bus: ChangeBus
    stream_reads: StreamStore
    chat_reader: ChatReader
    chat_lists: ChatLists
    turns: Turns
    chats: Chats
    tool_calls: ToolCalls
    messages: Messages
    queue: Queue
    idempotency: IdempotencyStore
    models: Models
    presenter: Presenter


def build_services(settings: Settings, *, worker_id: UUID) -> Services:
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
        overlap_seconds=given.statement_timeout_seconds + _COMMIT_VISIBILITY_SECONDS,
        subscriber_buffer=settings.stream.subscriber_buffer,
    )
    hub.on_drain = list_hub.wake_all
    notifier = Notifier(database, sender=str(worker_id), metrics=metrics.notifications)
    return Services(
        metrics=metrics,
        database=database,
        hub=hub,
        list_hub=list_hub,
        notifier=notifier,
        change_bus=ChangeBus(hub, notify_replicas=notifier.enqueue),
        stream_reads=StreamStore(database),
        chat_reader=ChatReader(database),
        chat_lists=ChatLists(database),
        turns=Turns(database, metrics=metrics.leases),
        chats=Chats(
            database,
            max_queued_messages=settings.worker.max_queued_messages,
            max_chats_in_flight=settings.limits.max_chats_in_flight,
        ),
        tool_calls=ToolCalls(database),
        messages=Messages(database, max_chats_in_flight=settings.limits.max_chats_in_flight),
        queue=Queue(database, max_chats_in_flight=settings.limits.max_chats_in_flight),
        idempotency=IdempotencyStore(database),
        models=Models(database),
        presenter=Presenter(),
    )


def with_reloaded_limits(services: Services, settings: Settings) -> Services:
    """The same rooms, with the limits of settings that were reloaded."""
    in_flight = settings.limits.max_chats_in_flight
    return replace(
        services,
        chats=Chats(
            services.database,
            max_queued_messages=settings.worker.max_queued_messages,
            max_chats_in_flight=in_flight,
        ),
        messages=Messages(services.database, max_chats_in_flight=in_flight),
        queue=Queue(services.database, max_chats_in_flight=in_flight),
    )


def catalog_from_settings(settings: Settings) -> Catalog:
    """The models and providers that are configured."""
    return build_catalog(
        providers=[_provider_config(name, given) for name, given in settings.providers.items()],
        models=[_model_config(name, given) for name, given in settings.models.items()],
    )


def _provider_config(name: str, provider: ProviderSettings) -> ProviderConfig:
    return ProviderConfig(
        name=name,
        kind=provider.kind,
        base_url=provider.base_url,
        api_key=provider.api_key.get_secret_value() if provider.api_key else None,
        headers={key: value.get_secret_value() for key, value in provider.headers.items()},
        script=provider.script,
        scripts=provider.scripts,
    )


def _model_config(name: str, model: ModelSettings) -> ModelConfig:
    return ModelConfig(
        name=name,
        provider=model.provider,
        model=model.model,
        context_limit=model.context_limit,
        max_output_tokens=model.max_output_tokens,
        settings=model.settings,
        default=model.default,
    )
