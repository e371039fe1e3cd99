"""Moments at which the kernel got what it keeps for a process, however late the process reads it."""

import socket
import struct
import time
from dataclasses import dataclass

_FIELDS = struct.Struct("=B7x13I")
"""The beginning of ``struct tcp_info`` of Linux: the state, and what follows the bytes up to the times."""
_ESTABLISHED = 1


@dataclass(frozen=True, slots=True)
class PacketTimes:
    """State of a connection as the kernel has it. Times are of the clock, to a few milliseconds."""

    data_at: float
    """Moment of the last bytes that came."""
    packet_at: float
    """Moment of the last packet that came, the end of a closed connection included."""
    is_open: bool
    """False once the other side has closed the connection."""


def packet_times(connection: socket.socket) -> PacketTimes:
    """Return when the last packets of a connection came."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIELDS.size)
    state, *_, data_ms, packet_ms = _FIELDS.unpack(info)
    now = time.time()
    return PacketTimes(now - data_ms / 1000, now - packet_ms / 1000, state == _ESTABLISHED)
