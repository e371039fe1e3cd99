"""Notifications that are lost, doubled and reordered between PostgreSQL and one connection."""

import struct
from collections import Counter

_NOTIFICATION = ord("A")
_HEADER_BYTES = 5
"""Bytes of the type of a message and of its length, which counts itself but not the type."""


class BackendMessages:
    """Splitter of the bytes that a server sends on one connection into whole messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_first = True

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete with these bytes."""
        messages = []
        data, start = self._rest + data, 0
        if self._is_first and data[:1] in {b"S", b"N"}:  # the answer to a request for TLS
            messages.append(data[:1])
            start = 1
        self._is_first = False
        while len(data) - start >= _HEADER_BYTES:
            end = start + 1 + struct.unpack_from("!I", data, start + 1)[0]
            if end > len(data):
                break
            messages.append(data[start:end])
            start = end
        self._rest = data[start:]
        return messages


class NotificationFaults:
    """Number of coming notifications to drop, to double and to send after the next one.

    One object serves all connections of a proxy. ``hit`` counts the notifications by what was done to them.
    """

    def __init__(self) -> None:
        self.drop = self.double = self.reorder = 0
        self.hit: Counter[str] = Counter()

    def filter(self) -> "NotificationFilter":
        """Return the filter of a new connection."""
        return NotificationFilter(self)

    def clear(self) -> None:
        """Deliver each notification once and in order from now on."""
        self.drop = self.double = self.reorder = 0


class NotificationFilter:
    """Filter of the bytes that the server sends on one connection."""

    def __init__(self, faults: NotificationFaults) -> None:
        self._faults = faults
        self._messages = BackendMessages()
        self._held: list[bytes] = []

    def __call__(self, data: bytes) -> bytes:
        """Return the bytes to deliver instead."""
        sent: list[bytes] = []
        for message in self._messages.feed(data):
            sent += self._notification(message) if message[0] == _NOTIFICATION else [message]
        return b"".join(sent)

    def _notification(self, message: bytes) -> list[bytes]:
        faults, held = self._faults, self._held
        if faults.drop > 0:
            faults.drop -= 1
            faults.hit["dropped"] += 1
            return []
        if faults.double > 0:
            faults.double -= 1
            faults.hit["doubled"] += 1
            return [message, message]
        if faults.reorder > 0 and not held:
            faults.reorder -= 1
            faults.hit["reordered"] += 1
            held.append(message)
            return []
        self._held = []
        return [message, *held]
