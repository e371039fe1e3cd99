"""Markdown that is still being said: what is printed for good, and what is drawn anew."""

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


def shown(what: Any) -> str:
    return COLOURS.sub("", to_ansi(what, 80))


class Desk:
    """A paper, and the transcript that it is about."""

    def __init__(self, *messages: Any) -> None:
        self.transcript = Transcript()
        self.paper = TranscriptRenderer(self.transcript)
        chat: Any = {"id": "c", "status": "running", "last_error": None, "queue_length": 0}
        self.out = ""
        self.take(Snapshot({"chat": chat, "messages": [*messages], "queue": [], "parts": []}))

    def take(self, event: Any) -> None:
        self.transcript.apply(event)
        self.out += shown(self.paper.render_event(event))

    def say(self, text: str) -> None:
        self.take(MessagePart({"index": 0, "type": "text", "text": text}))

    def end(self, text: str) -> None:
        self.take(MessageStored(message(9, "assistant", text)))


def message(number: int, role: str, text: str) -> Any:
    return {"id": number, "role": role, "content": [{"type": "text", "text": text}]}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@given(st.lists(st.integers(0, len(ANSWER)), max_size=15))
def test_however_it_is_cut_each_block_is_printed_once(places: list[int]) -> None:
    desk = Desk()
    edges = [0, *sorted(places), len(ANSWER)]
    for start, end in pairwise(edges):
        desk.say(ANSWER[start:end])
    desk.end(ANSWER)
    whole = Desk(message(9, "assistant", ANSWER))
    assert lines(desk.out) == lines(whole.out)
    assert desk.paper.render_preview() is None


def test_only_the_last_block_may_change() -> None:
    assert stable_prefix_length("One para") == 0
    assert stable_prefix_length("One\n\nTwo") == len("One\n\n")
    assert stable_prefix_length("```\nx\n\ny") == 0
    assert stable_prefix_length("") == 0


def test_what_is_being_said_is_drawn_below() -> None:
    desk = Desk()
    desk.say("One.\n\nTw")
    assert lines(desk.out) == ["One."]
    draft = desk.paper.render_preview()
    assert draft is not None
    assert lines(shown([draft])) == ["Tw"]
    desk.take(PreviewReset({}))
    assert desk.paper.render_preview() is None
    assert lines(desk.out)[-1] == "[it starts over]"


def test_what_happened_is_noted() -> None:
    desk = Desk(message(1, "user", "hello"))
    desk.take(StatusChanged({"status": "interrupting", "epoch": 1}))
    desk.take(StatusChanged({"status": "waiting", "epoch": 1}))
    desk.take(TurnFailed({"last_error": "no key", "last_error_detail": {}}))
    desk.take(HistoryReset({"from_message_id": 1}))
    said = lines(desk.out)
    assert said[0] == "> hello"
    assert "[stopped]" in said
    assert any("no key" in line for line in said)
    assert "from here on said differently" in said[-1]


def test_a_long_chat_is_not_told_from_the_beginning() -> None:
    desk = Desk(*(message(number, "user", f"no {number}") for number in range(30)))
    assert "[10 earlier messages; 'chatd show' has them all]" in desk.out
    assert "> no 9\n" not in desk.out
    assert "> no 10\n" in desk.out


def test_a_long_draft_shows_its_end() -> None:
    text = "\n".join(f"line {number}  " for number in range(50))
    desk = Desk()
    desk.say(text)
    draft = desk.paper.render_preview()
    assert draft is not None
    assert lines(COLOURS.sub("", to_ansi([draft], 80, 5)))[-1] == "line 49"
    assert len(lines(to_ansi([draft], 80, 5))) == 5
