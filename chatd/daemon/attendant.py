"""Keeps the service manager informed: when it serves, that it lives, and why it takes so long to stop.

The watchdog's ping is sent by the event loop, so a loop that is blocked sends none, and a process that
is stopped neither. What else must hold for a ping is ``sound``:

* The heartbeat gets somewhere (``Heartbeat.silent_seconds``). One that hangs keeps no lease and
  claims nothing, while probes are still answered; a new process cures that.
* A database that is away stops no ping. It is waited out, and a restart would cure nothing: it would
  cut every stream, and after a few the service manager would give the service up for good, before
  the database is back. ``/readyz`` and the event ``outage.began`` are for that.

While the process starts and waits for its database, and while it drains, it asks for more time, so
that ``TimeoutStartSec`` and ``TimeoutStopSec`` need not follow the settings. The latter has a bound,
``longest_stop_seconds``: a stop that hangs is for the service manager to end.
"""

from collections.abc import Callable

import anyio
import structlog

from chatd.daemon.service_manager import ServiceManager

_log = structlog.get_logger()

_STATUS_SECONDS = 2.0
"""How old the counts in the status may be."""
_ASK_SECONDS = 30.0
"""How much more time is asked for; asked again long before it is over."""


class Attendant:
    """``status`` is a line for people, ``sound`` is False when only a restart would help."""

    def __init__(
        self,
        manager: ServiceManager,
        *,
        status: Callable[[], str],
        sound: Callable[[], bool],
        longest_stop_seconds: float = 60.0,
    ) -> None:
        self._manager = manager
        self._status = status
        self._sound = sound
        self._longest_stop_seconds = longest_stop_seconds
        self._serving = False
        self._stopping_since: float | None = None
        self._unsound = False
        self.note = ""
        """What else people should read in the status, such as why a reload was refused."""

    def serving(self) -> None:
        """Everything is up."""
        if self._stopping_since is None:
            self._serving = True
            self._manager.ready(self._line)

    def stopping(self) -> None:
        """It was told to stop."""
        if self._stopping_since is None:
            self._stopping_since = anyio.current_time()
            self._manager.stopping(self._line)
            self.step()

    def step(self) -> None:
        """Say what there is to say now."""
        self._manager.status(self._line)
        if self._stopping_since is not None:
            if anyio.current_time() < self._stopping_since + self._longest_stop_seconds:
                self._manager.needs(_ASK_SECONDS)
                self._manager.alive()
        elif not self._serving:
            self._manager.needs(_ASK_SECONDS)
        elif self._is_sound():
            self._manager.alive()

    async def run(self) -> None:
        watchdog = self._manager.watchdog_seconds
        every_seconds = min(_STATUS_SECONDS, watchdog / 2 if watchdog else _STATUS_SECONDS)
        while True:
            self.step()
            await anyio.sleep(every_seconds)

    def _is_sound(self) -> bool:
        sound = self._sound()
        if not sound and not self._unsound:
            _log.error("watchdog.withheld", reason="the heartbeat is stuck")
        self._unsound = not sound
        return sound

    @property
    def _line(self) -> str:
        if self._stopping_since is not None:
            phase = "Stopping"
        else:
            phase = "Serving" if self._serving else "Waiting for the database"
        return f"{phase}: {self._status()}" + (f" ({self.note})" if self.note else "")
