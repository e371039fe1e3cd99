"""SIGHUP: take the configuration over that is on disk now, all of it or nothing.

It is read and checked as a whole, its providers are made and warmed up, and its models are stored,
before anything changes; then everything changes between two turns of the loop. Whatever goes wrong
on the way leaves the old configuration in force and is logged as ``config.rejected``, with the keys.
Keys that only a start can apply are named in ``config.needs_restart``, at each reload until then.

Turns that run keep the models they began with; the old providers are closed when the last of them
is over.
"""

from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import structlog

from chatd.daemon.services import catalog_from_settings
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.domain.errors import DatabaseUnavailable
from chatd.llm.catalog import Catalog
from chatd.llm.errors import ProviderConfigError
from chatd.settings import ConfigurationError, Settings
from chatd.settings.reloadable import changed_keys, is_reloadable, merge_reloadable

_log = structlog.get_logger()

ApplySettings = Callable[[Settings, Catalog], None]


class Reloader:
    """``reload_settings`` reads the settings anew; ``upsert_models`` stores a catalog; ``apply`` puts both in force.

    ``apply`` must not await: nobody may see half of it.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        reload_settings: Callable[[], Settings],
        upsert_models: Callable[[Catalog], Awaitable[None]],
        apply: ApplySettings,
        systemd: SystemdSocket,
        systemd_notifier: SystemdNotifier,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._reload_settings = reload_settings
        self._upsert_models = upsert_models
        self._apply = apply
        self._systemd = systemd
        self._systemd_notifier = systemd_notifier
        self._requested = anyio.Event()

    def request(self) -> None:
        """Reload soon; asked again meanwhile, once more after that."""
        self._requested.set()

    async def run(self) -> None:
        """Reload whenever it is asked; what was replaced is closed here when it is not used any more."""
        async with anyio.create_task_group() as group:
            while True:
                await self._requested.wait()
                self._requested = anyio.Event()
                self._systemd.reloading()
                old = self._catalog
                self._systemd_notifier.status_note = await self.step()
                self._systemd_notifier.ready()
                if self._catalog is not old:
                    group.start_soon(old.retire)

    async def step(self) -> str:
        """Reload once; a few words on why not, if it was refused."""
        try:
            new = await anyio.to_thread.run_sync(self._reload_settings)
            await self._apply_new(new)
        except ConfigurationError as error:
            keys = [problem.key for problem in error.problems]
            return _reject(keys, [problem.text for problem in error.problems])
        except ProviderConfigError as error:
            return _reject([error.key], [str(error)])
        except DatabaseUnavailable as error:
            return _reject([], [f"{error} The models could not be stored; reload once more."])
        except Exception as error:  # noqa: BLE001 - a reload must not cost the turns that run
            return _reject([], [f"{type(error).__name__}: {error}"], error)
        return ""

    async def _apply_new(self, new: Settings) -> None:
        keys = changed_keys(self._settings, new)
        in_force = merge_reloadable(self._settings, new)
        catalog = self._catalog
        if {"providers", "models"} & {section for section, *_ in keys}:
            catalog = await self._prepare_catalog(in_force)
        self._apply(in_force, catalog)
        self._settings, self._catalog = in_force, catalog
        _log.info("config.reloaded", keys=[".".join(key) for key in keys if is_reloadable(key)])
        if waiting := [".".join(key) for key in keys if not is_reloadable(key)]:
            _log.warning("config.needs_restart", keys=waiting)

    async def _prepare_catalog(self, settings: Settings) -> Catalog:
        """Providers that can be called at once, and models that chats may refer to."""
        catalog = catalog_from_settings(settings)
        try:
            await catalog.warm()
            await self._upsert_models(catalog)
        except BaseException:
            await catalog.aclose()
            raise
        return catalog


def _reject(keys: list[str], problems: list[str], error: Exception | None = None) -> str:
    _log.error("config.rejected", keys=keys, problems=problems, exc_info=error)
    return f"the reload was refused: {', '.join(keys) or 'see the log'}"
