"""Notifications to systemd, or another service manager with its protocol, and sockets inherited from it.

The protocol is a datagram to a socket that the environment names, and file descriptors from 3 on: less
code than a dependency. Sources: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). Without a service
manager everything here does nothing.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from chatd.settings.types import is_loopback
from chatd.supervision.child import FatalError

_FIRST_FD = 3
LISTENER_NAME = "http"
"""``FileDescriptorName=`` of the socket to serve on. It is needed only when there are several."""


@dataclass(slots=True)
class SystemdSocket:
    """The notification socket of a service manager.

    ``address`` is None without a service manager, ``watchdog_seconds`` is None without a watchdog.
    ``inherited_sockets`` are the listening sockets that it opened for this process, as name and descriptor.
    """

    address: str | None = None
    watchdog_seconds: float | None = None
    inherited_sockets: tuple[tuple[str, int], ...] = ()
    _last_status: str = field(default="", init=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "SystemdSocket":
        """Read the environment, as far as it is meant for this process and not for its parent."""
        return cls(
            address=environ.get("NOTIFY_SOCKET") or None,
            watchdog_seconds=_watchdog_seconds(environ),
            inherited_sockets=_inherited_sockets(environ),
        )

    def ready(self, status: str) -> None:
        """Report that the process serves. This also ends a reload."""
        self._send("READY=1", self._status_if_changed(status))

    def reloading(self) -> None:
        """Report the start of a reload. systemd tells two reloads apart by their time."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Report the start of the stop."""
        self._send("STOPPING=1", self._status_if_changed(status))

    def ping_watchdog(self) -> None:
        """Restart the watchdog's timer of ``watchdog_seconds``."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Send a line for ``systemctl status``, if it differs from the last one."""
        self._send(self._status_if_changed(text))

    def extend_timeout(self, seconds: float) -> None:
        """Request that the timeout of the start or stop ends no sooner than ``seconds`` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def listener(self, *, loopback_only: bool) -> socket.socket | None:
        """Return a copy of the inherited socket to serve on, if there is one.

        Raises ``FatalError`` if it is unsuitable or, with ``loopback_only``, not on a loopback address.
        """
        match [fd for name, fd in self.inherited_sockets if name == LISTENER_NAME] or [
            fd for _, fd in self.inherited_sockets
        ]:
            case []:
                return None
            case [fd]:
                return _duplicate_listener(fd, loopback_only=loopback_only)
            case several:
                raise FatalError(
                    f"{len(several)} sockets were inherited: "
                    f"name the one to serve on with FileDescriptorName={LISTENER_NAME}"
                )

    def _status_if_changed(self, status: str) -> str:
        if status == self._last_status:
            return ""
        self._last_status = status
        return f"STATUS={status}"

    def _send(self, *lines: str) -> None:
        """Send lines in one datagram. Errors are ignored: its watchdog acts when none arrive."""
        message = "\n".join(filter(None, lines)).encode()
        if self.address is None or not message:
            return
        # A leading @ stands for the NUL of an abstract address.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            ) as notify_socket:
                notify_socket.setblocking(False)
                notify_socket.connect(address)
                notify_socket.send(message)
        except OSError:
            return


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not usec.isdecimal() or int(usec) == 0 or pid not in {None, str(os.getpid())}:
        return None
    return int(usec) / 1_000_000


def _inherited_sockets(environ: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal() or environ.get("LISTEN_PID") != str(os.getpid()):
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return tuple((names[index], _FIRST_FD + index) for index in range(int(count)))


def _duplicate_listener(fd: int, *, loopback_only: bool) -> socket.socket:
    """Return a copy, because the server closes its socket at each stop and may be restarted."""
    try:
        listener = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise FatalError(f"the inherited socket (file descriptor {fd}): {error}") from error
    if problem := _listener_problem(listener, loopback_only=loopback_only):
        listener.close()
        raise FatalError(f"the inherited socket (file descriptor {fd}) {problem}")
    listener.setblocking(False)
    return listener


def _listener_problem(listener: socket.socket, *, loopback_only: bool) -> str | None:
    tcp = listener.family in {socket.AF_INET, socket.AF_INET6}
    if not tcp or listener.type != socket.SOCK_STREAM:
        return "is not a TCP socket"
    address = listener.getsockname()[0]
    if loopback_only and not is_loopback(address):
        return (
            f'listens on {address}: without authentication (auth.mode = "none") it must be a '
            "loopback address"
        )
    return None
