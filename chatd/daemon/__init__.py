"""The composition root: reads the settings, makes the rooms, and puts the actors into their tree.

The tree, in the order of its start; it stops in reverse, so viewers are told first, chats get their
grace while everything they need is still there, and the last hint goes out before the pool closes::

    listener     hears other processes            watchdog   drops chats whose lease ran out
    notifier     tells them                       flusher    parts for viewers elsewhere
    heartbeat    renews, holds the lock           chats      one task per chat in hand
    farewell     gives back what is left          acquirer, reaper, janitor
    watch        feeds the streams                http

``rooms`` makes what the actors share, ``workers`` the actors of the shop floor, ``process`` the rest
of the tree, and the life of the process around it.
"""

import gc
from typing import Any

import anyio

from chatd import logs
from chatd.api.app import create_app
from chatd.daemon.process import Daemon
from chatd.settings import Settings

__all__ = ["Daemon", "openapi", "run"]


def run(settings: Settings) -> int:
    """Run the daemon until it is told to stop. Raises what no restart could cure."""
    gc.collect()
    gc.freeze()  # what is here now stays; the collector need not walk it again and again
    gc.set_threshold(10_000, 10, 10)
    daemon = Daemon(settings)
    logs.sign(worker_id=str(daemon.worker_id))
    anyio.run(daemon.run, backend_options={"use_uvloop": True})
    return 0


def openapi() -> dict[str, Any]:
    """The description of the HTTP API."""
    return create_app(None).openapi()
