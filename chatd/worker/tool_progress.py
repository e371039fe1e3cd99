"""Progress of running tools: live parts of the message that will have their results.

A tool may report as often as it likes. A call publishes at most four parts per second, and the longer it
runs the fewer. So what is stored of it has a bound although the numbers of parts have no gaps, and a
tool that ends quickly publishes nothing.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

from chatd.domain.message import Part
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.tool_call_errors import MAX_OUTPUT_SO_FAR
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Preview
from chatd.tools.tool import ToolProgress
from chatd.worker.flusher import Flusher
from chatd.worker.lease import Lease

MIN_INTERVAL_SECONDS: Final = 0.25
"""Time between two parts of a call, and before the first."""
_INTERVAL_SHARE: Final = 1 / 200
"""The interval as a share of the time that the call has run, if that is longer: 1,100 parts in an hour."""
_MAX_TEXT_LENGTH: Final = 1024
"""Characters of text in a part. Of more, the last ones are shown."""
_MAX_MESSAGE_LENGTH: Final = 500
_OMITTED: Final = "…"


class LiveParts:
    """The live parts of the tools of one message. Nothing is there until the first one is published."""

    def __init__(self, hub: ChatHub, flusher: Flusher, lease: Lease) -> None:
        self._hub = hub
        self._flusher = flusher
        self._lease = lease
        self._preview: Preview | None = None

    def publish(self, part: Part) -> None:
        """Send a part to all subscribers."""
        chat = self._lease.chat
        if self._preview is None or self._preview.base != chat.settled_part:
            self._preview = self._hub.start_step(chat.id, epoch=chat.epoch, base=chat.settled_part)
            self._flusher.track(chat.id, self._preview)
        self._hub.publish_part(chat.id, self._preview, part)
        self._flusher.add_bytes(len(str(part.get("text", ""))))

    @property
    def last_part(self) -> int:
        """The number of the last part of the running step."""
        settled = self._lease.chat.settled_part
        return max(settled, self._preview.last_part) if self._preview else settled

    def end(self) -> None:
        """Have no further parts stored for other replicas."""
        if self._preview is not None:
            self._flusher.untrack(self._lease.chat.id, epoch=self._preview.epoch)


class CallProgress:
    """Progress of one call. ``index`` is its position among the calls of its message."""

    def __init__(self, call_id: str, index: int, publish: Callable[[Part], None]) -> None:
        self._base = {"index": index, "type": "tool-progress", "tool_call_id": call_id}
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._started_at = self._published_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._text = ""
        self._fields: dict[str, Any] = {}
        self._kept = ""
        self._ended = False

    @property
    def output(self) -> str:
        """The end of what the tool has put out so far."""
        return self._kept

    def report(self, progress: ToolProgress) -> None:
        """Take a report of the tool, and publish it when a part may be published."""
        if self._ended:
            return
        self._take(progress)
        if self._timer is None:
            interval = max(
                MIN_INTERVAL_SECONDS, (self._loop.time() - self._started_at) * _INTERVAL_SHARE
            )
            self._timer = self._loop.call_at(self._published_at + interval, self._publish_now)

    def end(self) -> None:
        """Publish nothing more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, progress: ToolProgress) -> None:
        text = progress.text
        if len(text) > MAX_OUTPUT_SO_FAR:
            text = text[-MAX_OUTPUT_SO_FAR:]
        message = progress.message[:_MAX_MESSAGE_LENGTH]
        line = f"{message}\n" if message and message != self._fields.get("message") else ""
        self._kept = f"{self._kept}{text}{line}"[-MAX_OUTPUT_SO_FAR:]
        self._text = _last(f"{self._text}{text}", _MAX_TEXT_LENGTH)
        numbers = {"progress": progress.progress, "total": progress.total}
        self._fields |= {
            key: value
            for key, value in numbers.items()
            if value is not None and math.isfinite(value)
        }
        if message:
            self._fields["message"] = message

    def _publish_now(self) -> None:
        self._timer = None
        self._published_at = self._loop.time()
        text = {"text": self._text} if self._text else {}
        self._text = ""
        self._publish(replace_unstorable_json({**self._base, **text, **self._fields}))


def _last(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return f"{_OMITTED}{text[-length + len(_OMITTED) :]}"
