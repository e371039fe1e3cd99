"""Items of a turn as chunks of the UI message stream protocol."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chatd.adapters.ai_sdk.tool_calls import Chunk, ToolCallWriter
from chatd.adapters.ai_sdk.versions import Version
from chatd.adapters.data_frames import data_frame
from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    PartBegan,
    PartDelta,
    PartEnded,
    Queued,
    Retrying,
    StepBegan,
    StepEnded,
    StepVoided,
    ToolResult,
    TurnBegan,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
)
from chatd.domain.message import Message, Part
from chatd.domain.question import QuestionKind

STREAM_HEADERS: Final = {
    "x-vercel-ai-ui-message-stream": "v1",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
}
_NO_APPROVALS: Final = (
    "A tool call waits for an approval, which version 5 of the AI SDK cannot ask for. "
    "Use version 6 or 7, or answer it with the native API."
)
_TEXTS: Final = frozenset({"text", "reasoning"})
_CALLS: Final = frozenset({"tool-call", "native-tool-call"})


def message_id(user_message_id: int) -> str:
    """Return the id of the assistant's message that answers a message of the user."""
    return f"a{user_message_id}"


def file_url(chat_id: object, file_id: object) -> str:
    """Return the path of a file of a chat on this server."""
    return f"/api/v1/chats/{chat_id}/files/{file_id}"


def encode(chunks: Iterator[Chunk]) -> bytes:
    """Return chunks as server-sent events."""
    return b"".join(map(data_frame, chunks))


class ChunkWriter:
    """Chunks of one stream. ``first_step`` is the first step that its client has not."""

    def __init__(
        self, version: Version, chat_id: object, *, first_step: int = 0, has_metadata: bool = False
    ) -> None:
        self._version = version
        self._chat_id = chat_id
        self._first_step = first_step
        self._has_metadata = has_metadata
        self._calls = ToolCallWriter()
        self._step_is_open = False
        self._is_under_way = False
        """True while the client has something of a step that is not stored."""
        self._begins_anew = False
        """True from where a step was taken back until it begins again, in the same step of the client."""
        self._ends_with_calls = first_step > 0
        """True if the client's message ends with calls that have results: it would send them, again."""
        self._open = ("", "")
        """The type and id of the part that is open."""
        self._voids = 0
        self._last: Message | None = None

    def spell(self, item: TurnItem) -> bytes:
        """Return the chunks of an item as they are sent."""
        return encode(self.chunks(item))

    def chunks(self, item: TurnItem) -> Iterator[Chunk]:
        """Yield the chunks of an item."""
        match item:
            case TurnBegan(message):
                yield from self._start(message)
            case Queued(position):
                yield _notice("queued", {"position": position})
            case Retrying(attempt, delay, failure):
                data = {"attempt": attempt, "delaySeconds": delay, "kind": failure.get("kind")}
                yield _notice("retry", data)
            case ActionRequired(calls):
                yield from self._ask(calls)
            case ToolResult(step, part):
                yield from self._settle(step, part)
            case StepBegan(step) | StepEnded(step) | StepVoided(step):
                if step >= self._first_step:
                    yield from self._step(item)
            case PartBegan(step) | PartDelta(step) | PartEnded(step):
                if step >= self._first_step:
                    yield from self._part(item)
            case _:
                yield from self._end(item)

    # -- steps ------------------------------------------------------------------------------------

    def _start(self, message: Message) -> Iterator[Chunk]:
        chunk: Chunk = {"type": "start", "messageId": message_id(message.id)}
        if self._has_metadata:
            ours = {"messageId": message.id, "createdAt": message.created_at}
            chunk["messageMetadata"] = {"chatd": ours}
        yield chunk

    def _step(self, item: TurnItem) -> Iterator[Chunk]:
        match item:
            case StepBegan() if self._begins_anew:
                self._is_under_way, self._begins_anew = True, False
            case StepBegan():
                yield from self._finish_step()
                self._calls.begin_step()
                self._step_is_open, self._is_under_way = True, True
                self._ends_with_calls = False
                yield {"type": "start-step"}
            case StepEnded(message=message):
                self._last, self._is_under_way = message, False
            case StepVoided() if self._is_under_way:
                yield from self._void()

    def _void(self) -> Iterator[Chunk]:
        self._voids += 1
        self._is_under_way = False
        if self._version.resets_steps:
            self._open, self._begins_anew = ("", ""), True
            self._calls.begin_step()
            yield {"type": "reset-step"}
            return
        yield from self._calls.void()
        yield from self._finish_step()
        yield _notice("void", {})

    def _finish_step(self) -> Iterator[Chunk]:
        yield from self._end_part()
        self._begins_anew = False
        if self._step_is_open:
            self._step_is_open = False
            yield {"type": "finish-step"}

    # -- parts ------------------------------------------------------------------------------------

    def _part(self, item: TurnItem) -> Iterator[Chunk]:
        match item:
            case PartDelta(text=text):
                kind, part_id = self._open
                if kind in _TEXTS:
                    yield {"type": f"{kind}-delta", "id": part_id, "delta": text}
                else:
                    yield {
                        "type": "tool-input-delta",
                        "toolCallId": part_id,
                        "inputTextDelta": text,
                    }
            case PartBegan(step, index, part):
                yield from self._begin_part(f"s{step}p{index}", part)
            case PartEnded(step, index, part):
                yield from self._end_part()
                if part["type"] in _CALLS:
                    yield from self._calls.end(part)
                elif part["type"] == "native-tool-result":
                    yield from self._calls.settle(part)
                else:
                    yield from self._whole(f"s{step}p{index}", part)

    def _begin_part(self, part_id: str, part: Part) -> Iterator[Chunk]:
        kind = part["type"]
        if kind in _TEXTS:
            # A part that begins again has another id, or the client would take it for the first one.
            self._open = (kind, f"{part_id}x{self._voids}" if self._voids else part_id)
            yield {"type": f"{kind}-start", "id": self._open[1]}
        elif kind in _CALLS:
            self._open = (kind, part["tool_call_id"])
            yield from self._calls.begin(part)

    def _end_part(self) -> Iterator[Chunk]:
        kind, part_id = self._open
        self._open = ("", "")
        if kind in _TEXTS:
            yield {"type": f"{kind}-end", "id": part_id}

    def _whole(self, part_id: str, part: Part) -> Iterator[Chunk]:
        if part["type"] == "source" and part.get("url"):
            title = {"title": part["title"]} if part.get("title") else {}
            yield {"type": "source-url", "sourceId": part_id, "url": part["url"], **title}
        elif part["type"] == "file":
            url = file_url(self._chat_id, part["file_id"])
            yield {"type": "file", "mediaType": part["media_type"], "url": url}

    # -- calls ------------------------------------------------------------------------------------

    def _settle(self, step: int, part: Part) -> Iterator[Chunk]:
        if step >= self._first_step - 1:  # the client has the calls of that step without results
            self._ends_with_calls = True
            yield from self._calls.settle(part)

    def _ask(self, calls: Sequence[Mapping[str, Any]]) -> Iterator[Chunk]:
        yield from self._end_part()
        for call in calls:
            call_id, kind = call["tool_call_id"], call["kind"]
            yield from self._calls.make_available(call_id, executed=False)
            if kind == QuestionKind.APPROVAL and self._version.approves:
                yield {
                    "type": "tool-approval-request",
                    "approvalId": call_id,
                    "toolCallId": call_id,
                }
            elif kind != QuestionKind.RESULT:
                yield _notice("question", question(call))
        yield from self._finish_step()
        if any(call["kind"] == QuestionKind.APPROVAL for call in calls) and (
            not self._version.approves
        ):
            yield {"type": "error", "errorText": _NO_APPROVALS}
        else:
            yield from self._finish("tool-calls")

    # -- ends -------------------------------------------------------------------------------------

    def _end(self, item: TurnItem) -> Iterator[Chunk]:
        match item:
            case TurnFinished(finish_reason):
                yield from self._finish_step()
                yield from self._finish(_FINISH_REASONS.get(finish_reason or "", "other"))
            case TurnInterrupted() | TurnSuperseded():
                yield from self._interrupt()
            case TurnFailed(text=text):
                yield {"type": "error", "errorText": text or "The answer failed."}
            case ChatDeleted():
                yield {"type": "error", "errorText": "This chat was deleted."}
        self._first_step, self._voids, self._ends_with_calls = 0, 0, False

    def _interrupt(self) -> Iterator[Chunk]:
        yield from self._finish_step()
        if self._ends_with_calls:
            # An empty step: without it, the client would send the results that it has for ever.
            yield {"type": "start-step"}
            yield {"type": "finish-step"}
        if self._version.interrupts:
            yield from self._finish("interrupted")
            return
        yield {"type": "abort"}
        if self._version.has_finish_reason:
            yield {"type": "finish"}

    def _finish(self, reason: str) -> Iterator[Chunk]:
        chunk: Chunk = {"type": "finish"}
        if self._version.has_finish_reason:
            chunk["finishReason"] = reason
        if self._has_metadata and self._last is not None:
            last = self._last
            usage = last.usage.by_kind() if last.usage else None
            chunk["messageMetadata"] = {"chatd": {"messageId": last.id, "usage": usage}}
        yield chunk


def question(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked about a call, as data of a chunk or part."""
    return {
        "toolCallId": call["tool_call_id"],
        "toolName": call["tool_name"],
        "kind": call["kind"],
        "message": call["message"],
        "schema": call["schema"],
    }


def _notice(name: str, data: Mapping[str, Any]) -> Chunk:
    """Return a chunk that leaves no part in the message."""
    return {"type": f"data-chatd-{name}", "data": data, "transient": True}
