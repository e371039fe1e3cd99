"""Shared parts of one process, built once from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chatd import logs
from chatd.api.presenter import Presenter
from chatd.daemon.runtime_config import RuntimeConfigHolder
from chatd.domain.journal import JournalEntry
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.changed_chats import ChangedChats
from chatd.fanout.hub import ChatHub
from chatd.fanout.list_hub import ListHub
from chatd.settings import ConfigurationError, Settings
from chatd.settings.secrets import secret_values
from chatd.settings.sections import DatabaseSettings
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.notifications.notifier import Notifier
from chatd.store.searches import Searches
from chatd.store.store import Store, build_store
from chatd.telemetry.metrics import Metrics
from chatd.tools.mcp.servers import McpServers

_COMMIT_VISIBILITY_SECONDS = 5.0
"""Upper bound on the time between a statement's end, at its timeout, and the visibility of its commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Parts that several actors share. They live as long as the process, and no reload replaces one."""

    metrics: Metrics
    database: Database
    store: Store
    hub: ChatHub
    list_hub: ListHub
    notifier: Notifier
    change_bus: ChangeBus
    presenter: Presenter
    changed_chats: ChangedChats | None
    """Chats whose messages are to be indexed. None: none are."""
    mcp: McpServers


def build_services(
    settings: Settings,
    config: RuntimeConfigHolder,
    *,
    worker_id: UUID,
    reload_settings: Callable[[], Settings] | None = None,
) -> Services:
    """Build the shared parts. Nothing here connects to anything yet.

    ``reload_settings`` is called before each connection to the database, for its user and password.
    """
    metrics = Metrics()
    database = _build_database(settings.database, reload_settings)
    buffer = settings.stream.subscriber_buffer
    hub = ChatHub(subscriber_buffer=buffer)
    list_hub = ListHub(
        overlap_seconds=settings.database.statement_timeout_seconds + _COMMIT_VISIBILITY_SECONDS,
        subscriber_buffer=buffer,
    )
    hub.on_drain = list_hub.wake_all
    notifier = Notifier(
        database,
        sender=str(worker_id),
        metrics=metrics.notifications,
        containment_metrics=metrics.containment,
    )
    change_bus = ChangeBus(hub, notify_replicas=notifier.enqueue)
    change_bus.subscribe(list_hub.handle_hint)
    changed_chats = ChangedChats() if settings.database.index_messages else None
    return Services(
        metrics=metrics,
        database=database,
        store=build_store(
            database,
            worker_id=worker_id,
            limits=config.chat_limits,
            metrics=metrics.leases,
            containment_metrics=metrics.containment,
            listener=CommitListener(
                on_commit=_on_commit(change_bus, changed_chats),
                on_create=hub.new_chats.note,
                on_admit=change_bus.publish_admitted,
                on_delete=change_bus.publish_deleted,
                on_flush=change_bus.publish_parts,
                on_family_idle=change_bus.publish_family_idle,
                on_replay=metrics.http.replays.add,
            ),
            history_cache_bytes=settings.worker.history_cache_bytes,
            searches=Searches(
                database,
                max_running=settings.database.max_searches,
                timeout_seconds=settings.database.search_timeout_seconds,
            ),
            text_search_config=settings.database.text_search_config,
        ),
        hub=hub,
        list_hub=list_hub,
        notifier=notifier,
        change_bus=change_bus,
        presenter=Presenter(),
        changed_chats=changed_chats,
        mcp=McpServers(config.current.mcp),
    )


def _on_commit(
    change_bus: ChangeBus, changed_chats: ChangedChats | None
) -> Callable[[Sequence[JournalEntry], str], None]:
    """Return what is called with each commit of this process."""
    if changed_chats is None:
        return change_bus.publish

    def publish(entries: Sequence[JournalEntry], owner_id: str) -> None:
        change_bus.publish(entries, owner_id)
        changed_chats.note(entries)

    return publish


def _build_database(
    settings: DatabaseSettings, reload_settings: Callable[[], Settings] | None
) -> Database:
    def current_urls() -> tuple[str, str | None] | None:
        """Return the URLs as they are configured now. None: they cannot be read."""
        try:
            current = reload_settings and reload_settings()
        except ConfigurationError:
            return None
        if current is None:
            return None
        logs.register_secrets(secret_values(current))
        return _urls(current.database)

    url, direct_url = _urls(settings)
    return Database(
        url,
        direct_dsn=direct_url,
        pool_size=settings.pool_size,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        statement_timeout_seconds=settings.statement_timeout_seconds,
        current_urls=current_urls,
    )


def _urls(settings: DatabaseSettings) -> tuple[str, str | None]:
    direct = settings.direct_url
    return settings.url.get_secret_value(), direct.get_secret_value() if direct else None
