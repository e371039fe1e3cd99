"""SIGHUP: replace the configuration in force by the one on disk, all of it or nothing.

The reload reads and checks the configuration as a whole, builds its providers, warms them up and stores
its models before anything changes. Then one assignment replaces ``RuntimeConfig`` between two turns of the
event loop. Whatever fails on the way leaves the old configuration in force and is logged as
``config.rejected``, with the keys. Keys that only a restart can apply are named in
``config.needs_restart``, at each reload until then.

Turns that run keep the models they began with. The old providers are closed when the last such turn is
over.
"""

from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import structlog

from chatd import logs
from chatd.daemon.catalog import catalog_from_settings
from chatd.daemon.runtime_config import RuntimeConfig, RuntimeConfigHolder
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.domain.errors import DatabaseUnavailable
from chatd.llm.catalog import Catalog
from chatd.llm.errors import ProviderConfigError
from chatd.settings import ConfigurationError, Settings
from chatd.settings.reloadable import changed_keys, is_reloadable, merge_reloadable
from chatd.settings.secrets import secret_values

_log = structlog.get_logger()

_MAX_LOGGED_KEYS = 20
"""Keys in the event ``config.rejected`` and in the status line, which a person reads."""


class Reloader:
    """Actor that reloads the configuration on request.

    ``reload_settings`` reads the settings anew, in a thread. ``upsert_models`` stores a catalog.
    """

    def __init__(
        self,
        settings: Settings,
        config: RuntimeConfigHolder,
        *,
        reload_settings: Callable[[], Settings],
        upsert_models: Callable[[Catalog], Awaitable[None]],
        systemd: SystemdSocket,
        systemd_notifier: SystemdNotifier,
    ) -> None:
        self._settings = settings
        self._config = config
        self._reload_settings = reload_settings
        self._upsert_models = upsert_models
        self._systemd = systemd
        self._systemd_notifier = systemd_notifier
        self._requested = anyio.Event()

    def request(self) -> None:
        """Reload soon. A request during a reload causes one more after it."""
        self._requested.set()

    async def run(self) -> None:
        """Reload on each request until cancelled; close replaced catalogs when no turn uses them."""
        async with anyio.create_task_group() as group:
            while True:
                await self._requested.wait()
                self._requested = anyio.Event()
                self._systemd.reloading()
                old = self._config.current.catalog
                self._systemd_notifier.status_note = await self.step()
                self._systemd_notifier.ready()
                if self._config.current.catalog is not old:
                    group.start_soon(old.retire)

    async def step(self) -> str:
        """Reload once. Return a note for the status line if the reload was rejected, else ""."""
        try:
            settings = await anyio.to_thread.run_sync(self._reload_settings)
            await self._apply(settings)
        except ConfigurationError as error:
            keys = [problem.key for problem in error.problems[:_MAX_LOGGED_KEYS]]
            return _reject(keys, str(error).splitlines())
        except ProviderConfigError as error:
            return _reject([error.key], [str(error)])
        except DatabaseUnavailable as error:
            return _reject([], [f"{error} The models could not be stored; reload once more."])
        except Exception as error:  # noqa: BLE001 - a failed reload must not end the turns that run
            return _reject([], [f"{type(error).__name__}: {error}"], error)
        return ""

    async def _apply(self, new: Settings) -> None:
        keys = changed_keys(self._settings, new)
        settings = merge_reloadable(self._settings, new)
        catalog = self._config.current.catalog
        if {"providers", "models"} & {section for section, *_ in keys}:
            catalog = await self._prepare_catalog(settings)
        logs.register_secrets(secret_values(settings))
        tool_client = self._config.current.tool_client
        self._config.replace(RuntimeConfig.from_settings(settings, catalog, tool_client))
        self._settings = settings
        _log.info("config.reloaded", keys=[".".join(key) for key in keys if is_reloadable(key)])
        if waiting := [".".join(key) for key in keys if not is_reloadable(key)]:
            _log.warning("config.needs_restart", keys=waiting)

    async def _prepare_catalog(self, settings: Settings) -> Catalog:
        """Build a catalog whose providers are warm and whose models are stored."""
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
    return f"the reload was rejected: {', '.join(keys) or 'see the log'}"
