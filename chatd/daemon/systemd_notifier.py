"""Keeps the service manager informed: when it serves, that it lives, and why it takes so long to stop.

The watchdog's ping is sent by the event loop, so a loop that is blocked sends none, and a process that
is stopped neither. What else must hold for a ping is ``healthy``:

* The heartbeat gets somewhere (``Heartbeat.silent_seconds``). One that hangs keeps no lease and
  claims nothing, while probes are still answered; a new process cures that.
* A database that is away stops no ping. It is waited out, and a restart would cure nothing: it would
  cut every stream, and after a few the service manager would give the service up for good, before
  the database is back. ``/readyz`` and the event ``outage.began`` are for that.

While the process starts and waits for its database, and while it drains, it asks for more time, so
that ``TimeoutStartSec`` and ``TimeoutStopSec`` need not follow the settings. The latter has a bound,
``max_stop_seconds``: a stop that hangs is for the service manager to end.
"""

from collections.abc import Callable

import anyio
import structlog

from chatd.daemon.systemd import SystemdSocket

_log = structlog.get_logger()

_STATUS_INTERVAL_SECONDS = 2.0
"""How old the counts in the status may be."""
_EXTENSION_SECONDS = 30.0
"""How much more time is asked for; asked again long before it is over."""


class SystemdNotifier:
    """``status`` is a line for people, ``healthy`` is False when only a restart would help."""

    def __init__(
        self,
        systemd: SystemdSocket,
        *,
        status: Callable[[], str],
        healthy: Callable[[], bool],
        max_stop_seconds: float = 60.0,
    ) -> None:
        self._systemd = systemd
        self._status = status
        self._healthy = healthy
        self._max_stop_seconds = max_stop_seconds
        self._is_ready = False
        self._stopping_since: float | None = None
        self._unhealthy_logged = False
        self.status_note = ""
        """What else people should read in the status, such as why a reload was refused."""

    def ready(self) -> None:
        """Everything is up."""
        if self._stopping_since is None:
            self._is_ready = True
            self._systemd.ready(self._status_line)

    def stopping(self) -> None:
        """It was told to stop."""
        if self._stopping_since is None:
            self._stopping_since = anyio.current_time()
            self._systemd.stopping(self._status_line)
            self.step()

    def step(self) -> None:
        """Say what there is to say now."""
        self._systemd.status(self._status_line)
        if self._stopping_since is not None:
            if anyio.current_time() < self._stopping_since + self._max_stop_seconds:
                self._systemd.extend_timeout(_EXTENSION_SECONDS)
                self._systemd.ping_watchdog()
        elif not self._is_ready:
            self._systemd.extend_timeout(_EXTENSION_SECONDS)
        elif self._is_healthy():
            self._systemd.ping_watchdog()

    async def run(self) -> None:
        watchdog = self._systemd.watchdog_seconds
        every_seconds = min(
            _STATUS_INTERVAL_SECONDS, watchdog / 2 if watchdog else _STATUS_INTERVAL_SECONDS
        )
        while True:
            self.step()
            await anyio.sleep(every_seconds)

    def _is_healthy(self) -> bool:
        sound = self._healthy()
        if not sound and not self._unhealthy_logged:
            _log.error("watchdog.withheld", reason="the heartbeat is stuck")
        self._unhealthy_logged = not sound
        return sound

    @property
    def _status_line(self) -> str:
        if self._stopping_since is not None:
            phase = "Stopping"
        else:
            phase = "Serving" if self._is_ready else "Waiting for the database"
        return f"{phase}: {self._status()}" + (f" ({self.status_note})" if self.status_note else "")
