"""Output of tools, cut to a size: its head and its tail, with a marker between them.

The first bytes of an output that is cut may be kept, so that the model can read what is missing.
"""

import codecs
import json
from dataclasses import dataclass
from typing import Final

from chatd.domain.sanitize import replace_unstorable
from chatd.domain.tool_call import CutOutput
from chatd.domain.tool_choice import READ_RESULT_TOOL

_MARKER_BYTES: Final = 64
"""Room for the marker within the size, besides what it advises."""
_CONTINUATION_BYTES: Final = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLimits:
    """Sizes of the output of one call."""

    shown_bytes: int
    """Bytes of a result. Of a longer output the head and the tail are shown."""
    kept_bytes: int = 0
    """Bytes of a longer output that are kept for reading: the first ones."""
    call_id: str = ""


class CappedOutput:
    """Bytes as they arrive, of which the first two thirds and the last third of a size are shown."""

    def __init__(self, limits: OutputLimits) -> None:
        self._limits = limits
        marker_bytes = _MARKER_BYTES + len(_advice(limits, 0, keeps_all=False).encode())
        size = max(limits.shown_bytes - marker_bytes, 2)
        self._head_size = size * 2 // 3
        self._tail_size = size - self._head_size
        self._max_kept = max(limits.shown_bytes, limits.kept_bytes)
        self._kept = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes that have arrived."""

    def add(self, data: bytes) -> None:
        """Take further bytes."""
        self.total += len(data)
        space = self._max_kept - len(self._kept)
        self._kept += data[:space]
        self._tail += data[space:]
        if len(self._tail) > 2 * self._tail_size:
            del self._tail[: -self._tail_size]

    @property
    def is_cut(self) -> bool:
        """True if the text shows only a part of the output."""
        return self.total > self._limits.shown_bytes

    def text(self) -> str:
        """Return what is shown. What is no UTF-8 is replaced."""
        limits = self._limits
        if not self.is_cut:
            return self._kept.decode(errors="replace")
        head = bytes(self._kept[: self._head_size])
        tail = bytes((self._kept[-self._tail_size :] + self._tail)[-self._tail_size :])
        missing = self.total - len(head) - len(tail)
        advice = _advice(limits, len(head), keeps_all=self.total <= limits.kept_bytes)
        # A character that the cut went through is dropped rather than replaced.
        whole = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(head)
        return (
            f"{whole}\n[… {missing} bytes are missing here{advice} …]\n"
            f"{tail.lstrip(_CONTINUATION_BYTES).decode(errors='replace')}"
        )

    def cut(self) -> CutOutput | None:
        """Return what is kept of an output that is cut. None: all of it is shown, or nothing is kept."""
        limits = self._limits
        if not self.is_cut or not limits.kept_bytes:
            return None
        text = replace_unstorable(self._kept[: limits.kept_bytes].decode(errors="replace"))
        # What replaces a byte takes three.
        kept = text.encode()[: limits.kept_bytes].decode(errors="ignore")
        return CutOutput(total_bytes=self.total, kept=kept)


def _advice(limits: OutputLimits, offset: int, *, keeps_all: bool) -> str:
    """Return how the model can read what is missing from ``offset`` on."""
    if not limits.kept_bytes:
        return ""
    kept = "" if keeps_all else f" the first {limits.kept_bytes} bytes of"
    call = json_text(limits.call_id)
    return f": {READ_RESULT_TOOL} reads{kept} this result, tool_call_id {call}, offset {offset}"


def cap(text: str, limits: OutputLimits) -> tuple[str, CutOutput | None]:
    """Return ``text``, cut if it has too many bytes, and what is kept of it then."""
    if len(text) * 4 <= limits.shown_bytes:
        return text, None
    output = CappedOutput(limits)
    output.add(text.encode(errors="replace"))
    return output.text(), output.cut()


def json_text(value: object) -> str:
    """Return a value as JSON, as an argument or a result that is no text is shown."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
