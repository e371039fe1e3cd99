"""A stub of systemd as a service sees it: a notification socket, and a watchdog."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

Notification = dict[str, str]


@dataclass
class SystemdStub:
    """Stub of systemd. ``notifications`` holds the reports, with the second of their arrival."""

    address: str
    notifications: list[tuple[float, Notification]] = field(default_factory=list)

    def matching(self, key: str, value: str | None = None) -> list[tuple[float, Notification]]:
        """Return the reports that have this key, or this key with this value."""
        return [
            (at, report)
            for at, report in list(self.notifications)
            if key in report and value in {None, report[key]}
        ]

    def key_order(self, *keys: str) -> list[str]:
        """Return the keys among these that were reported, in their order."""
        return [key for _, report in list(self.notifications) for key in report if key in keys]

    def longest_watchdog_gap(self, since: float) -> float:
        """Return the longest time without a ping from ``since`` until now, as a watchdog measures it."""
        pings = [at for at, _ in self.matching("WATCHDOG", "1") if at >= since]
        return max(b - a for a, b in pairwise([since, *pings, time.monotonic()]))

    def environment(self, *, watchdog_seconds: float | None = None) -> dict[str, str]:
        usec = (
            {} if watchdog_seconds is None else {"WATCHDOG_USEC": f"{watchdog_seconds * 1e6:.0f}"}
        )
        return {"NOTIFY_SOCKET": self.address} | usec


@contextmanager
def systemd_stub(address: str) -> Iterator[SystemdStub]:
    """Listen at a path, or at an abstract address when it begins with @."""
    manager = SystemdStub(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        thread = threading.Thread(target=_listen, args=(listener, manager), daemon=True)
        thread.start()
        try:
            yield manager
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"END=1", listener.getsockname())
            thread.join()


def _listen(listener: socket.socket, manager: SystemdStub) -> None:
    while True:
        lines = listener.recv(65536).decode().splitlines()
        report = dict(line.split("=", 1) for line in lines)
        if report == {"END": "1"}:
            return
        manager.notifications.append((time.monotonic(), report))
