"""The composition root: turns settings into actors, and runs them as one process.

Settings are split in two. Most shape connections, leases and actors, and apply from one start to the
next: ``services`` builds from them, once, what several actors share, and ``wiring`` the actors. The others
make up ``runtime_config``, which SIGHUP replaces as a whole in one assignment (``reload``). Each turn and
each request reads it anew, so nothing has to be rebuilt and nothing can be forgotten.

``supervision_tree`` is the one list of the actors. They start in this order and stop in reverse, so that
clients are notified first, chats get their grace while everything they need still runs, and the last
notification is sent before the database is closed::

    chatd
    ├── http              listens, and answers probes
    ├── database          waits for it, checks its schema, stores the models
    ├── listener          receives notifications of other processes
    ├── notifier          sends them
    ├── deregistration    releases what is left when the worker stops
    ├── heartbeat         renews the lease, holds the worker's lock
    ├── watchdog          drops chats whose lease has expired, and tasks that hang
    ├── flusher           stores streamed parts for subscribers elsewhere
    ├── titler            has models write titles of chats
    ├── mcp NAME          connects to one MCP server and runs its calls, for each of them
    ├── chats             one task per leased chat
    ├── activity          reports what these tasks are doing
    ├── claimer           claims pending chats              (depends on chats)
    ├── waker             makes chats that waited for others pending again
    ├── reaper            reclaims chats of dead workers
    ├── pending sweep     ends the wait of pending chats that no claim takes
    ├── janitor           deletes what is past its retention
    ├── chat poller       reads for the streams of chats
    ├── list poller       reads for the streams of chat lists
    ├── authenticator     keeps tokens or signing keys current
    ├── database probe    asks what /readyz says of the database
    ├── stats collector   counts over the whole database
    ├── metrics history   samples the metrics for the charts of the last hour
    ├── search indexer    indexes the words of messages
    ├── provider preload  imports the SDKs of providers, and ends
    └── admission         admits requests, and drains them at the stop

``daemon`` is the life of the process around the tree. Beside the tree, from the first moment to the last,
run ``systemd_notifier`` (reports to ``systemd``), ``loop_monitor`` (logs what blocks the event loop) and
``reload``. ``startup`` prepares the database. ``preflight`` is for ``chatd config check``.
``process``, ``process_status``, ``database_probe`` and ``stats_collector`` hold what operators see.
"""

import asyncio
import gc
import os
from collections.abc import Callable
from typing import Any

import anyio

from chatd import logs
from chatd.api.app import create_app
from chatd.daemon.daemon import Daemon
from chatd.daemon.systemd import SystemdSocket
from chatd.settings import Settings
from chatd.telemetry import otlp

__all__ = ["Daemon", "openapi", "run"]


def run(settings: Settings, *, reload_settings: Callable[[], Settings]) -> int:
    """Run the daemon until it is stopped by a signal. Raises what no restart of an actor can cure.

    ``reload_settings`` reads the settings anew, for SIGHUP.
    """
    logs.log_uncaught()
    gc.collect()
    gc.freeze()  # imported modules stay, so collections need not traverse them
    gc.set_threshold(10_000, 10, 10)
    daemon = Daemon(
        settings, reload_settings=reload_settings, systemd=SystemdSocket.from_env(os.environ)
    )
    logs.bind_process(worker_id=str(daemon.worker_id))
    shutdown_tracing = otlp.configure_tracing(os.environ, worker_id=str(daemon.worker_id))
    try:
        anyio.run(_run, daemon, backend_options={"use_uvloop": True})
    finally:
        shutdown_tracing()
    return 0


async def _run(daemon: Daemon) -> None:
    asyncio.get_running_loop().set_exception_handler(logs.log_unhandled)
    await daemon.run()


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the HTTP API."""
    return create_app(None).openapi()
