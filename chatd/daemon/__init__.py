"""The composition root: reads the settings, makes the rooms, and puts the actors into their tree.

The tree, in the order of its start; it stops in reverse, so viewers are told first, chats get their
grace while everything they need is still there, and the last hint goes out before the pool closes::

    listener      hears other processes
    notifier      tells them
    farewell      gives back what is left
    heartbeat     renews, holds the lock
    watchdog      drops chats whose lease ran out
    flusher       parts for viewers elsewhere
    chats         one task per chat in hand
    acquirer      claims chats
    reaper        takes those of the dead
    janitor       sweeps what is past its retention
    watch         feeds the streams of chats
    list watch    feeds those of lists
    doorkeeper    knows who calls (token, jwt)
    http          serves
    census        counts what the database has
    warm-up       loads the vendors' libraries, and ends

``rooms`` makes what the actors share, ``workers`` the actors of the shop floor, ``callers`` who lets
callers in, ``desk`` what the routes work with, ``overview`` what operators see, ``process`` the rest of
the tree, and the life of the process around it. Beside the tree, from the first moment to the last:
``systemd_notifier`` (tells the ``service_manager``), ``loop_monitor`` (tells what blocks the loop), and
``reload`` (SIGHUP). Before it: ``preparation`` (schema and models), and ``rehearsal`` (what a start would
refuse, for ``config check``).
"""

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
    """Run the daemon until it is told to stop. Raises what no restart could cure.

    ``reload_settings`` reads the settings anew, for SIGHUP.
    """
    logs.log_uncaught()
    gc.collect()
    gc.freeze()  # what is here now stays; the collector need not walk it again and again
    gc.set_threshold(10_000, 10, 10)
    daemon = Daemon(
        settings, reload_settings=reload_settings, systemd=SystemdSocket.from_env(os.environ)
    )
    logs.bind_process(worker_id=str(daemon.worker_id))
    send_the_last_spans = otlp.configure_tracing(os.environ, worker_id=str(daemon.worker_id))
    try:
        anyio.run(daemon.run, backend_options={"use_uvloop": True})
    finally:
        send_the_last_spans()
    return 0


def openapi() -> dict[str, Any]:
    """The description of the HTTP API."""
    return create_app(None).openapi()
