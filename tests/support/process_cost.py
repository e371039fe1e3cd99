"""What a request costs a process: processor time of its event loop, and memory at the peak."""

from dataclasses import dataclass
from pathlib import Path

from support.processes import ChatdProcess

_KIB = 1024


@dataclass(frozen=True)
class Cost:
    """Processor time in seconds, of the thread of the event loop alone, and bytes of memory added."""

    loop_seconds: float
    peak_bytes: int


class CostMeter:
    """Meter of one process, from ``start`` to ``stop``.

    A busy machine makes a request slow and not dear, so this counts the time for which the loop ran. That
    is at least the longest block of the loop in between.
    """

    def __init__(self, process: ChatdProcess) -> None:
        self._folder = Path(f"/proc/{process.process.pid}")
        self._seconds_before = 0.0
        self._bytes_before = 0

    def start(self) -> None:
        (self._folder / "clear_refs").write_text("5")  # the peak begins anew
        self._bytes_before = self._status("VmRSS")
        self._seconds_before = self._loop_seconds()

    def stop(self) -> Cost:
        return Cost(
            loop_seconds=self._loop_seconds() - self._seconds_before,
            peak_bytes=self._status("VmHWM") - self._bytes_before,
        )

    def _loop_seconds(self) -> float:
        """Return the time for which the main thread has run, whose id is that of the process."""
        folder = self._folder / "task" / self._folder.name
        return int((folder / "schedstat").read_text().split()[0]) / 1e9

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) * _KIB
