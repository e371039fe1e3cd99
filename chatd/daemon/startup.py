"""Preparation of the database: its schema, and the models as rows."""

from collections.abc import Callable

from chatd.daemon.services import Services
from chatd.domain.errors import (
    DatabaseAccessDenied,
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

_NO_WAIT_HELPS = (
    DatabaseAccessDenied,
    DatabaseUnsuitable,
    SchemaMismatch,
    migrate.MigrationError,
)
"""Errors that end a start. Once the process serves, a denied access is an outage like any other."""


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

    async def run(self, child: ChildHandle) -> None:
        """Prepare the database, and wait for the stop. Raises ``FatalError`` for what no wait can cure."""
        outage = Outage(child, expected=(DatabaseUnavailable,), unless=_NO_WAIT_HELPS)
        prepared = False
        while not prepared and not child.stopping.is_set():
            async with outage:
                with child.stopping.cancels():
                    await self._prepare()
                    prepared = True
        if prepared:
            child.ready()
            await child.stopping.wait()

    async def _prepare(self) -> None:
        try:
            await _ensure_schema(self._settings, self._services)
            await check_settings(self._services.database)
            await report_case_rules(self._services.database)
            await upsert_models(self._services, self._catalog())
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
