"""Preparation of the database before any actor starts: its schema, and the models as rows."""

from chatd.daemon.services import Services
from chatd.domain.errors import DatabaseAccessDenied, DatabaseUnavailable
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.settings.sections import DatabaseSettings
from chatd.store.database_errors import translate_errors
from chatd.store.migrations import migrate
from chatd.store.models import ModelRow
from chatd.store.server_check import check_server, check_settings, report_case_rules
from chatd.supervision.child import ChildHandle, StopRequest
from chatd.supervision.outage import Outage


async def prepare_database(
    settings: Settings, services: Services, catalog: Catalog, *, stop: StopRequest
) -> bool:
    """Wait for the database until ``stop`` is requested, check or migrate its schema, store the models.

    Return whether the first attempt succeeded. Raises ``SchemaMismatch``, ``MigrationError``,
    ``DatabaseUnsuitable`` and ``DatabaseAccessDenied``.
    """
    handle = ChildHandle("database")
    handle.stopping = stop
    outage = Outage(handle, expected=(DatabaseUnavailable,), unless=(DatabaseAccessDenied,))
    first_attempt, prepared = True, False
    while not prepared and not stop.is_set():
        async with outage:
            await _ensure_schema(settings.database, services)
            await check_settings(services.database)
            await report_case_rules(services.database)
            await upsert_models(services, catalog)
            prepared = True
        first_attempt = first_attempt and prepared
    return first_attempt


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
