"""What must be so in the database before anything works with it: the schema, and the models as rows."""

from chatd.daemon.services import Services
from chatd.domain.errors import DatabaseUnavailable
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.store.migrations import migrate
from chatd.store.models import ModelRow
from chatd.supervision.child import ChildHandle, StopRequest
from chatd.supervision.outage import Outage


async def prepare_database(
    settings: Settings, services: Services, catalog: Catalog, *, stop: StopRequest
) -> bool:
    """Wait for the database, unless it is asked to ``stop``, and see that all of it is so.

    Returns whether it was there at once.

    Raises:
        SchemaMismatch, MigrationError, DatabaseRefused
    """
    waiting = ChildHandle("database")
    waiting.stopping = stop
    outage = Outage(waiting, expected=(DatabaseUnavailable,))
    at_once, ready = True, False
    while not ready and not stop.is_set():
        async with outage:
            await _ensure_schema(settings, services)
            await upsert_models(services, catalog)
            ready = True
        at_once = at_once and ready
    return at_once


async def upsert_models(services: Services, catalog: Catalog) -> None:
    """Store the models of a catalog, and learn the names of all that there are."""
    await services.models.upsert(
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
    services.presenter.add_model_names(await services.models.names())


async def _ensure_schema(settings: Settings, services: Services) -> None:
    given = settings.database
    if given.migrate_on_start:
        await migrate.up((given.direct_url or given.url).get_secret_value())
        return
    async with services.database.dedicated_connection() as connection:
        await migrate.check(connection)
