"""Turns at random: their stored messages, and the events of a stream that follows them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from chatd.domain.chat import Chat, Status, Usage
from chatd.domain.message import Message, Part, Role, fold
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType

CHAT = UUID(int=1)
_E = StreamEventType


def message(number: int, role: Role, *content: Part, finish_reason: str | None = None) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=number,
        role=role,
        content=content,
        model_config_id=None,
        usage=None,
        finish_reason=finish_reason,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def chat(status: Status, **columns: Any) -> Chat:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    defaults: dict[str, Any] = dict.fromkeys(Chat.__dataclass_fields__)
    return Chat(
        **{
            **defaults,
            "id": CHAT,
            "owner_id": "ann",
            "status": status,
            "usage": Usage(),
            "queue_length": 0,
            "created_at": moment,
            "updated_at": moment,
            **columns,
        }
    )


def snapshot(
    status: Status, *messages: Message, parts: tuple[Part, ...] = (), **columns: Any
) -> ChatSnapshot:
    queue = columns.pop("queue", ())
    return ChatSnapshot(
        chat=chat(status, queue_length=len(queue), **columns),
        messages=messages,
        queue=queue,
        parts=parts,
    )


@dataclass(frozen=True)
class TurnCase:
    """A turn: what is stored of it, and its events from the user's message on."""

    messages: tuple[Message, ...]
    events: tuple[StreamEvent, ...]

    def at(self, count: int) -> ChatSnapshot:
        """Return the snapshot after the first events."""
        messages, parts, status = [self.messages[0]], list[Part](), Status.RUNNING
        for event in self.events[:count]:
            data: Any = event.data
            match event.type:
                case _E.MESSAGE:
                    messages.append(data)
                    parts = []
                case _E.MESSAGE_PART:
                    parts.append(data)
                case _E.PREVIEW_RESET:
                    parts = []
                case _E.STATUS:
                    status = data["status"]
        return snapshot(status, *messages, parts=tuple(parts))


_TEXT = st.text(alphabet="abc é\U0001f600", max_size=8)


@st.composite
def _part(draw: st.DrawFn, number: int) -> dict[str, Any]:
    kind = draw(st.sampled_from(["text", "text", "reasoning", "tool-call", "source"]))
    match kind:
        case "tool-call":
            call_id = f"call_{number}"
            return {
                "type": kind,
                "tool_call_id": call_id,
                "tool_name": "weather",
                "args": draw(_TEXT),
            }
        case "source":
            return {"type": kind, "url": "https://e.x", "title": draw(_TEXT)}
    return {"type": kind, "text": draw(_TEXT), **draw(st.sampled_from([{}, {"provider": {}}]))}


@st.composite
def _deltas(draw: st.DrawFn, content: list[dict[str, Any]]) -> list[Part]:
    """Return the deltas of a message, its texts cut anywhere."""
    deltas: list[Part] = []
    for index, part in enumerate(content):
        key = "args" if "args" in part else "text" if "text" in part else None
        fields = {"index": index, **{k: v for k, v in part.items() if k not in {key, "provider"}}}
        if key is None:
            deltas.append(fields)
            continue
        text = part[key]
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        pieces = [
            text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        ]
        deltas.append({**fields, key: pieces[0]})
        deltas += [{"index": index, "type": part["type"], key: piece} for piece in pieces[1:]]
    return deltas


@st.composite
def turns(draw: st.DrawFn) -> TurnCase:
    """Make turns of some steps, with tries that are void between, that finish or are interrupted."""
    messages = [message(10, Role.USER, {"type": "text", "text": "hi"})]
    events: list[StreamEvent] = []

    def store(role: Role, *content: Part, finish_reason: str | None = None) -> None:
        stored = message(
            messages[-1].id + draw(st.integers(1, 3)), role, *content, finish_reason=finish_reason
        )
        messages.append(stored)
        events.append(StreamEvent(_E.MESSAGE, stored))

    steps = draw(st.integers(1, 3))
    for step in range(steps):
        size = draw(st.integers(0, 4))
        content = [draw(_part(step * 10 + number)) for number in range(size)]
        deltas = draw(_deltas(content))
        if draw(st.booleans()):
            void = deltas[: draw(st.integers(0, len(deltas)))]
            events += [StreamEvent(_E.MESSAGE_PART, delta) for delta in void]
            events.append(StreamEvent(_E.PREVIEW_RESET, {}))
        events += [StreamEvent(_E.MESSAGE_PART, delta) for delta in deltas]
        is_last = step == steps - 1
        reason = draw(st.sampled_from(["stop", "interrupted"])) if is_last else "tool-calls"
        if fold(deltas) or reason != "interrupted":
            store(Role.ASSISTANT, *content, finish_reason=reason)
        else:
            events.append(StreamEvent(_E.PREVIEW_RESET, {}))
        if not is_last:
            store(Role.TOOL, {"type": "tool-result", "tool_call_id": f"call_{step}", "result": 1})
    events.append(StreamEvent(_E.STATUS, {"status": Status.WAITING, "epoch": 1}))
    return TurnCase(tuple(messages), tuple(events))
