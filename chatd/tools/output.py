"""Output of tools, cut to a size: its head and its tail, with a marker between them."""

import codecs
import json
from typing import Final

_MARKER_BYTES: Final = 64
"""Room for the marker within the size."""
_CONTINUATION_BYTES: Final = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""


class CappedOutput:
    """Bytes as they arrive, of which the first two thirds and the last third of ``max_bytes`` are kept."""

    def __init__(self, max_bytes: int) -> None:
        size = max(max_bytes - _MARKER_BYTES, 2)
        self._max_bytes = max_bytes
        self._head_size = size * 2 // 3
        self._tail_size = size - self._head_size
        self._kept = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes that have arrived."""

    def add(self, data: bytes) -> None:
        """Take further bytes."""
        self.total += len(data)
        space = self._max_bytes - len(self._kept)
        self._kept += data[:space]
        self._tail += data[space:]
        if len(self._tail) > 2 * self._tail_size:
            del self._tail[: -self._tail_size]

    def text(self) -> str:
        """Return what is kept as text. What is no UTF-8 is replaced."""
        if self.total <= self._max_bytes:
            return self._kept.decode(errors="replace")
        head = bytes(self._kept[: self._head_size])
        tail = bytes((self._kept + self._tail)[-self._tail_size :])
        missing = self.total - len(head) - len(tail)
        # A character that the cut went through is dropped rather than replaced.
        whole = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(head)
        return (
            f"{whole}\n[… {missing} bytes are missing here …]\n"
            f"{tail.lstrip(_CONTINUATION_BYTES).decode(errors='replace')}"
        )


def capped(text: str, max_bytes: int) -> str:
    """Return ``text``, cut if it has more than ``max_bytes`` bytes."""
    if len(text) * 4 <= max_bytes:
        return text
    output = CappedOutput(max_bytes)
    output.add(text.encode(errors="replace"))
    return output.text()


def json_text(value: object) -> str:
    """Return a value as JSON, as an argument or a result that is no text is shown."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
