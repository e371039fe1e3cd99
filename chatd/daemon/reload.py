"""SIGHUP: take the configuration over that is on disk now, all of it or nothing.

It is read and checked as a whole, its providers are made and warmed up, and its models are stored,
before anything changes; then everything changes between two turns of the loop. Whatever goes wrong
on the way leaves the old configuration in force and is logged as ``config.refused``, with the keys.
Keys that only a start can apply are named in ``config.needs_restart``, at each reload until then.

Turns that run keep the models they began with; the old providers are closed when the last of them
is over.
"""

from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import structlog

from chatd.daemon.attendant import Attendant
from chatd.daemon.rooms import catalog_of
from chatd.daemon.service_manager import ServiceManager
from chatd.domain.errors import DatabaseUnavailable
from chatd.llm.catalog import Catalog
from chatd.llm.errors import ProviderConfigError
from chatd.settings import ConfigurationError, Settings
from chatd.settings.changes import changed, is_live, with_live

_log = structlog.get_logger()

Apply = Callable[[Settings, Catalog], None]


class Reloader:
    """``reread`` reads the settings anew; ``keep_models`` stores a catalog; ``apply`` puts both in force.

    ``apply`` must not await: nobody may see half of it.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        reread: Callable[[], Settings],
        keep_models: Callable[[Catalog], Awaitable[None]],
        apply: Apply,
        manager: ServiceManager,
        attendant: Attendant,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._reread = reread
        self._keep_models = keep_models
        self._apply = apply
        self._manager = manager
        self._attendant = attendant
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Reload soon; asked again meanwhile, once more after that."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever it is asked; what was replaced is closed here when it is not used any more."""
        async with anyio.create_task_group() as group:
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                self._manager.reloading()
                old = self._catalog
                self._attendant.note = await self.step()
                self._attendant.serving()
                if self._catalog is not old:
                    group.start_soon(old.retire)

    async def step(self) -> str:
        """Reload once; a few words on why not, if it was refused."""
        try:
            new = await anyio.to_thread.run_sync(self._reread)
            await self._take_over(new)
        except ConfigurationError as error:
            keys = [problem.key for problem in error.problems]
            return _refused(keys, [problem.text for problem in error.problems])
        except ProviderConfigError as error:
            return _refused([error.key], [str(error)])
        except DatabaseUnavailable as error:
            return _refused([], [f"{error} The models could not be stored; reload once more."])
        except Exception as error:  # noqa: BLE001 - a reload must not cost the turns that run
            return _refused([], [f"{type(error).__name__}: {error}"], error)
        return ""

    async def _take_over(self, new: Settings) -> None:
        keys = changed(self._settings, new)
        in_force = with_live(self._settings, new)
        catalog = self._catalog
        if {"providers", "models"} & {section for section, *_ in keys}:
            catalog = await self._prepared(in_force)
        self._apply(in_force, catalog)
        self._settings, self._catalog = in_force, catalog
        _log.info("config.reloaded", keys=[".".join(key) for key in keys if is_live(key)])
        if waiting := [".".join(key) for key in keys if not is_live(key)]:
            _log.warning("config.needs_restart", keys=waiting)

    async def _prepared(self, settings: Settings) -> Catalog:
        """Providers that can be called at once, and models that chats may refer to."""
        catalog = catalog_of(settings)
        try:
            await catalog.warm()
            await self._keep_models(catalog)
        except BaseException:
            await catalog.aclose()
            raise
        return catalog


def _refused(keys: list[str], problems: list[str], error: Exception | None = None) -> str:
    _log.error("config.refused", keys=keys, problems=problems, exc_info=error)
    return f"the reload was refused: {', '.join(keys) or 'see the log'}"
