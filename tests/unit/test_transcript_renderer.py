"""Renderer of streamed Markdown: permanent output and the preview below it."""

import re
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.cli.chat.transcript_renderer import TranscriptRenderer, stable_prefix_length, to_ansi
from chatd.client import (
    HistoryReset,
    MessagePart,
    MessageStored,
    PreviewReset,
    Snapshot,
    StatusChanged,
    Transcript,
    TurnFailed,
)

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ANSWER = """# A title

A paragraph
over two lines.

* one
* two

```python
def f():

    return 1
```

| a | b |
|---|---|
| 1 | 2 |

The end."""


def plain(renderables: Any) -> str:
    return COLOURS.sub("", to_ansi(renderables, 80))


class RenderedChat:
    """A transcript with its renderer and the permanent output so far."""

    def __init__(self, *messages: Any) -> None:
        self.transcript = Transcript()
        self.renderer = TranscriptRenderer(self.transcript)
        chat: Any = {"id": "c", "status": "running", "last_error": None, "queue_length": 0}
        self.output = ""
        self.apply(Snapshot({"chat": chat, "messages": [*messages], "queue": [], "parts": []}))

    def apply(self, event: Any) -> None:
        self.transcript.apply(event)
        self.output += plain(self.renderer.render_event(event))

    def stream(self, text: str) -> None:
        self.apply(MessagePart({"index": 0, "type": "text", "text": text}))

    def store(self, text: str) -> None:
        self.apply(MessageStored(message(9, "assistant", text)))


def message(number: int, role: str, text: str) -> Any:
    return {"id": number, "role": role, "content": [{"type": "text", "text": text}]}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@given(st.lists(st.integers(0, len(ANSWER)), max_size=15))
def test_each_block_is_printed_once_for_any_deltas(places: list[int]) -> None:
    chat = RenderedChat()
    edges = [0, *sorted(places), len(ANSWER)]
    for start, end in pairwise(edges):
        chat.stream(ANSWER[start:end])
    chat.store(ANSWER)
    history = RenderedChat(message(9, "assistant", ANSWER))
    assert lines(chat.output) == lines(history.output)
    assert chat.renderer.render_preview() is None


def test_stable_prefix_excludes_the_last_block() -> None:
    assert stable_prefix_length("One para") == 0
    assert stable_prefix_length("One\n\nTwo") == len("One\n\n")
    assert stable_prefix_length("```\nx\n\ny") == 0
    assert stable_prefix_length("") == 0


def test_preview_is_the_last_block() -> None:
    chat = RenderedChat()
    chat.stream("One.\n\nTw")
    assert lines(chat.output) == ["One."]
    preview = chat.renderer.render_preview()
    assert preview is not None
    assert lines(plain([preview])) == ["Tw"]
    chat.apply(PreviewReset({}))
    assert chat.renderer.render_preview() is None
    assert lines(chat.output)[-1] == "[the answer restarts]"


def test_status_changes_and_failures_are_noted() -> None:
    chat = RenderedChat(message(1, "user", "hello"))
    chat.apply(StatusChanged({"status": "interrupting", "epoch": 1}))
    chat.apply(StatusChanged({"status": "waiting", "epoch": 1}))
    chat.apply(TurnFailed({"last_error": "no key", "last_error_detail": {}}))
    chat.apply(HistoryReset({"from_message_id": 1}))
    output = lines(chat.output)
    assert output[0] == "> hello"
    assert "[stopped]" in output
    assert any("no key" in line for line in output)
    assert "edited: the messages from here on are replaced" in output[-1]


def test_compaction_is_noted() -> None:
    notice = {"type": "compaction", "before_tokens": 900, "after_tokens": 90}
    chat = RenderedChat(message(1, "user", "hello"))
    chat.apply(MessageStored({**message(2, "assistant", ""), "content": [notice]}))
    assert lines(chat.output) == ["> hello", "[compacted: a summary, about 90 tokens of 900]"]


def test_long_history_starts_with_its_last_messages() -> None:
    chat = RenderedChat(*(message(number, "user", f"no {number}") for number in range(30)))
    assert "[10 earlier messages; 'chatd show' has them all]" in chat.output
    assert "> no 9\n" not in chat.output
    assert "> no 10\n" in chat.output


def test_long_preview_shows_its_last_lines() -> None:
    text = "\n".join(f"line {number}  " for number in range(50))
    chat = RenderedChat()
    chat.stream(text)
    preview = chat.renderer.render_preview()
    assert preview is not None
    assert lines(COLOURS.sub("", to_ansi([preview], 80, 5)))[-1] == "line 49"
    assert len(lines(to_ansi([preview], 80, 5))) == 5


def test_history_that_a_snapshot_cut_is_noted() -> None:
    chat = RenderedChat()
    data: Any = {"chat": dict(chat.transcript.chat or {}), "queue": [], "parts": []}
    chat.apply(Snapshot({**data, "messages": [message(7, "user", "hi")], "older_cursor": "7"}))
    assert chat.transcript.older_cursor == 7
    assert "earlier messages are not shown" in chat.output
    chat.apply(Snapshot({**data, "messages": [], "older_cursor": None}))
    assert chat.transcript.older_cursor is None
