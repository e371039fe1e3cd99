"""A service manager, as far as a process can tell: a socket that it reports to, and a watchdog."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

Report = dict[str, str]


@dataclass
class Manager:
    """``reports`` holds what was said, with the second it came."""

    address: str
    reports: list[tuple[float, Report]] = field(default_factory=list)

    def said(self, key: str, value: str | None = None) -> list[tuple[float, Report]]:
        """The reports that have this key, or this key with this value."""
        return [
            (at, report)
            for at, report in list(self.reports)
            if key in report and value in {None, report[key]}
        ]

    def order(self, *keys: str) -> list[str]:
        """Which of these keys were said, in their order."""
        return [key for _, report in list(self.reports) for key in report if key in keys]

    def longest_silence(self, since: float) -> float:
        """The longest time without a ping, from ``since`` until now; what a watchdog measures."""
        pings = [at for at, _ in self.said("WATCHDOG", "1") if at >= since]
        return max(b - a for a, b in pairwise([since, *pings, time.monotonic()]))

    def environment(self, *, watchdog_seconds: float | None = None) -> dict[str, str]:
        usec = (
            {} if watchdog_seconds is None else {"WATCHDOG_USEC": f"{watchdog_seconds * 1e6:.0f}"}
        )
        return {"NOTIFY_SOCKET": self.address} | usec


@contextmanager
def managed(address: str) -> Iterator[Manager]:
    """Listen at a path, or at an abstract address when it begins with @."""
    manager = Manager(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind("\0" + address[1:] if address.startswith("@") else address)
        thread = threading.Thread(target=_listen, args=(wire, manager), daemon=True)
        thread.start()
        try:
            yield manager
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"END=1", wire.getsockname())
            thread.join()


def _listen(wire: socket.socket, manager: Manager) -> None:
    while True:
        lines = wire.recv(65536).decode().splitlines()
        report = dict(line.split("=", 1) for line in lines)
        if report == {"END": "1"}:
            return
        manager.reports.append((time.monotonic(), report))
