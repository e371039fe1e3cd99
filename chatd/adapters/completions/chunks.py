"""Items of a turn as the chunks of a stream.

What was sent cannot be taken back in this dialect. So a step that begins again after some of it was sent
ends the stream with an error, unless steps are held back until they are stored.
"""

from dataclasses import dataclass, field
from typing import Final

from pydantic_core import to_json

from chatd.adapters.completions.completion import (
    STOP,
    TOOL_CALLS,
    CompletionHead,
    Object,
    citations,
    finish_reason,
    usage_object,
)
from chatd.adapters.data_frames import DONE, data_frame
from chatd.adapters.openai_errors import ANSWER_RESTARTED, TurnError, turn_error
from chatd.adapters.turn_items import (
    ActionRequired,
    PartBegan,
    PartDelta,
    StepEnded,
    StepVoided,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
)
from chatd.domain.chat import Usage
from chatd.domain.message import Message

CHUNK: Final = "chat.completion.chunk"
_TEXT_FIELDS: Final = {"text": "content", "reasoning": "reasoning_content"}


@dataclass(slots=True)
class ChunkWriter:
    """Writer of the chunks of one stream.

    With ``holds_steps`` a step is sent when it is stored, so that none has to be taken back.
    """

    head: CompletionHead
    includes_usage: bool = False
    holds_steps: bool = False
    error: TurnError | None = None
    """Why there is no whole answer. Nothing follows on it."""
    has_begun: bool = False
    """True once something was sent, so that a failure has no status of its own any more."""
    _is_void: bool = False
    """True once words that were sent do not count any more."""
    _said: list[bytes] = field(default_factory=list)
    """Chunks of this step: those that are held back, or else only the fact that there are some."""
    _fields: dict[int, str] = field(default_factory=dict)
    """The field of a delta that each text of this step goes to, by the index of its part."""
    _calls: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Number in the answer, and id, of each call of this step, by the index of its part."""
    _call_count: int = 0
    """Calls of the steps before this one."""
    _citations: list[Object] = field(default_factory=list)
    _template: bytes = b""
    """A chunk without its delta and its finish reason: all else is the same in each."""
    _usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        chunk = data_frame({**self.head.fields(CHUNK), "choices": []}).replace(b"%", b"%%")
        begin, end = chunk.rsplit(b"[]", 1)
        choice = b'[{"index":0,"delta":%b,"finish_reason":%b}]'
        self._template = begin + choice + end

    def spell(self, item: TurnItem) -> bytes:
        """Return the chunks of an item, which may be none."""
        if self.error is not None:
            return b""
        if (error := turn_error(item)) is not None:
            return self._fail(error)
        if self._is_void and not isinstance(item, StepVoided):
            return self._fail(ANSWER_RESTARTED)
        match item:
            case PartBegan() | PartDelta():
                delta = self._delta(item)
                return b"" if delta is None else self._say(delta)
            case StepVoided():
                # Why, and whether the answer begins again, the next item says.
                self._is_void |= bool(self._said) and not self.holds_steps
                self._forget_step()
            case StepEnded(_, message):
                return self._end_step(message)
            case TurnFinished(reason):
                return self._finish(finish_reason(reason))
            case TurnInterrupted():
                return self._finish(STOP)
            case ActionRequired():
                return self._finish(TOOL_CALLS)
        return b""

    def _delta(self, item: PartBegan | PartDelta) -> Object | None:
        if isinstance(item, PartBegan):
            return self._begin_part(item)
        if item.index in self._calls:
            number, _ = self._calls[item.index]
            return {"tool_calls": [{"index": number, "function": {"arguments": item.text}}]}
        name = self._fields.get(item.index)
        return None if name is None else {name: item.text}

    def _begin_part(self, item: PartBegan) -> Object | None:
        part = item.part
        if part["type"] in _TEXT_FIELDS:
            self._fields[item.index] = _TEXT_FIELDS[part["type"]]
        if not self.head.is_client_call(part):
            return None
        number, call_id = self._call_count + len(self._calls), part["tool_call_id"]
        self._calls[item.index] = (number, call_id)
        function = {"name": part["tool_name"], "arguments": ""}
        call = {"index": number, "id": call_id, "type": "function", "function": function}
        return {"tool_calls": [call]}

    def _say(self, delta: Object) -> bytes:
        chunk = self._chunk(delta)
        if self.holds_steps:
            self._said.append(chunk)
            return b""
        self._said = [b""]
        return self._begin() + chunk

    def _end_step(self, message: Message) -> bytes:
        stored = {part.get("tool_call_id") for part in message.content}
        if any(call_id not in stored for _, call_id in self._calls.values()):
            return self._fail(ANSWER_RESTARTED)
        said = b"".join(self._said)
        self._citations += citations(message.content)
        self._usage += message.usage or Usage()
        self._call_count += len(self._calls)
        self._forget_step()
        return self._begin() + said if said else b""

    def _forget_step(self) -> None:
        self._said, self._fields, self._calls = [], {}, {}

    def _begin(self) -> bytes:
        if self.has_begun:
            return b""
        self.has_begun = True
        return self._chunk({"role": "assistant", "content": ""})

    def _finish(self, reason: str) -> bytes:
        delta: Object = {"annotations": self._citations} if self._citations else {}
        last = self._begin() + self._chunk(delta, reason)
        if self.includes_usage:
            usage = usage_object(self._usage)
            last += data_frame({**self.head.fields(CHUNK), "choices": [], "usage": usage})
        return last + DONE

    def _fail(self, error: TurnError) -> bytes:
        self.error = error
        return data_frame(error.object())

    def _chunk(self, delta: Object, reason: str | None = None) -> bytes:
        return self._template % (to_json(delta), to_json(reason))
