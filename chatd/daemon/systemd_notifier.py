"""Reports to the service manager: readiness, watchdog pings, a status line, and requests for more time.

The event loop sends the watchdog's ping, so a blocked loop and a stopped process send none. A ping also
requires ``healthy``:

* The heartbeat makes progress (``Heartbeat.seconds_since_progress``). A heartbeat that hangs renews no
  lease and claims nothing while probes are still answered, and a new process cures that.
* An unavailable database withholds no ping. The process waits for it, and a restart would cure nothing. It
  would end every stream, and after a few restarts the service manager would give the service up before the
  database is back. ``/readyz`` and the event ``outage.began`` report it instead.

While the process starts and waits for its database, and while it drains, it requests more time, so that
``TimeoutStartSec`` and ``TimeoutStopSec`` need not follow the settings. A stop may take at most
``max_stop_seconds``: the service manager has to end one that hangs.
"""

from collections.abc import Callable

import anyio
import structlog

from chatd.daemon.systemd import SystemdSocket

_log = structlog.get_logger()

_STATUS_INTERVAL_SECONDS = 2.0
"""Interval between two updates of the status line, which holds counts."""
_EXTENSION_SECONDS = 30.0
"""Extension of a timeout. It is requested again long before it ends."""


class SystemdNotifier:
    """Sender of the notifications of one process.

    ``status`` returns a line for people. ``healthy`` returns False when only a restart would help.
    """

    def __init__(
        self,
        systemd: SystemdSocket,
        *,
        status: Callable[[], str],
        healthy: Callable[[], bool],
        max_stop_seconds: float,
    ) -> None:
        self._systemd = systemd
        self._status = status
        self._healthy = healthy
        self._max_stop_seconds = max_stop_seconds
        self._is_ready = False
        self._stopping_since: float | None = None
        self._unhealthy_logged = False
        self.status_note = ""
        """Addition to the status line, such as the reason why a reload was rejected."""

    def ready(self) -> None:
        """Report that all actors are up, or that a reload has ended."""
        if self._stopping_since is None:
            self._is_ready = True
            self._systemd.ready(self._status_line)

    def stopping(self) -> None:
        """Report that a stop was requested."""
        if self._stopping_since is None:
            self._stopping_since = anyio.current_time()
            self._systemd.stopping(self._status_line)
            self.step()

    def step(self) -> None:
        """Send what is due now: the status line, and a ping or a request for more time."""
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
        """Call ``step`` until cancelled, at least twice per watchdog interval."""
        watchdog = self._systemd.watchdog_seconds
        interval_seconds = _STATUS_INTERVAL_SECONDS
        if watchdog is not None:
            interval_seconds = min(interval_seconds, watchdog / 2)
        while True:
            self.step()
            await anyio.sleep(interval_seconds)

    def _is_healthy(self) -> bool:
        healthy = self._healthy()
        if not healthy and not self._unhealthy_logged:
            _log.error("watchdog.withheld", reason="the heartbeat is stuck")
        self._unhealthy_logged = not healthy
        return healthy

    @property
    def _status_line(self) -> str:
        if self._stopping_since is not None:
            phase = "Stopping"
        else:
            phase = "Serving" if self._is_ready else "Waiting for the database"
        return f"{phase}: {self._status()}" + (f" ({self.status_note})" if self.status_note else "")
