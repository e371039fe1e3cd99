"""Preparation of the database: its schema, and the models as rows."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import anyio
import structlog

from chatd.daemon.services import Services
from chatd.domain.errors import (
    DatabaseAccessDenied,
    DatabasePermissionDenied,
    DatabaseUnavailable,
    DatabaseUnsuitable,
    SchemaMismatch,
)
from chatd.llm.catalog import Catalog
from chatd.settings.sections import DatabaseSettings
from chatd.store.database_errors import translate_errors
from chatd.store.migrations import migrate
from chatd.store.models import ModelRow
from chatd.store.server_check import check_server, check_settings, report_case_rules
from chatd.supervision.child import ChildHandle, FatalError
from chatd.supervision.outage import Outage

_log = structlog.get_logger()

Step: TypeAlias = Callable[[], Awaitable[None]]

_NO_WAIT_HELPS = (
    DatabaseAccessDenied,
    DatabaseUnsuitable,
    SchemaMismatch,
    migrate.MigrationError,
)
"""Errors that end a start. Once the process serves, a denied access is an outage like any other."""
_DENIAL_LOG_SECONDS = 10.0
"""Interval of the log lines about a denied permission: often enough for a person who waits."""


class _DeniedPermissions:
    """Time for which the server has denied permission, without another outcome between.

    A role may be locked, or a password rotated, for a moment in which a process starts. The end of the
    process would be for good then, because a service manager does not start it again after such an end.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._since: float | None = None
        self._logged_at = 0.0

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Let an error pass as it is, or as ``FatalError`` when permission was denied for too long."""
        try:
            yield
        except DatabasePermissionDenied as error:
            self._denied(error, anyio.current_time())
            raise
        except Exception:
            self._since = None
            raise
        self._since = None

    def _denied(self, error: DatabasePermissionDenied, now: float) -> None:
        first = self._since is None
        self._since = now if self._since is None else self._since
        left = self._since + self._limit_seconds - now
        if left <= 0:
            raise FatalError(str(error)) from error
        if first or now - self._logged_at >= _DENIAL_LOG_SECONDS:
            self._logged_at = now
            _log.warning("database.access_denied", reason=str(error), ends_in_seconds=left)


class DatabasePreparation:
    """Actor that waits for the database, checks or migrates its schema, and stores the models.

    It is ready after that, and then only waits for the stop. A stop cancels it at once: a database that
    does not respond holds up no stop.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        services: Services,
        catalog: Callable[[], Catalog],
    ) -> None:
        self._settings = settings
        self._services = services
        self._catalog = catalog
        self._denied_permissions = _DeniedPermissions(settings.access_denied_seconds)

    async def run(self, child: ChildHandle) -> None:
        """Prepare the database, and wait for the stop. Raises ``FatalError`` for what no wait can cure."""
        outage = Outage(child, expected=(DatabaseUnavailable,))
        # A step that was taken is not repeated when a later one fails. Otherwise a start would not end
        # while connections break more often than it takes.
        steps = deque(self._steps())
        while steps and not child.stopping.is_set():
            async with outage:
                with child.stopping.cancels():
                    await self._take(steps[0])
                    steps.popleft()
        if not steps:
            child.ready()
            await child.stopping.wait()

    def _steps(self) -> Iterator[Step]:
        database = self._services.database
        yield partial(_ensure_schema, self._settings, self._services)
        yield partial(check_settings, database)
        yield partial(report_case_rules, database)
        if self._settings.index_messages:
            yield self._services.store.message_search.check
        yield lambda: upsert_models(self._services, self._catalog())

    async def _take(self, step: Step) -> None:
        try:
            with self._denied_permissions.limited():
                await step()
        except DatabasePermissionDenied:
            raise
        except _NO_WAIT_HELPS as error:
            raise FatalError(str(error)) from error


async def upsert_models(services: Services, catalog: Catalog) -> None:
    """Store the models of a catalog, and load the names of all models, also those of other replicas."""
    await services.store.models.upsert(
        [
            ModelRow(
                id=model.id,
                name=model.name,
                provider=model.provider,
                model=model.model,
                context_limit=model.context_limit,
                settings=model.settings,
            )
            for model in catalog.models
        ]
    )
    services.presenter.add_model_names(await services.store.models.names())


async def preload_providers(catalog: Catalog, child: ChildHandle) -> None:
    """Import the SDKs of the providers, about a second each, before the first turn needs them."""
    child.ready()
    await catalog.warm()


async def _ensure_schema(settings: DatabaseSettings, services: Services) -> None:
    if settings.migrate_on_start:
        await migrate.up((settings.direct_url or settings.url).get_secret_value())
        return
    async with services.database.dedicated_connection() as connection:
        with translate_errors(setting="database.direct_url, or database.url"):
            await check_server(connection)
            await migrate.check(connection)
