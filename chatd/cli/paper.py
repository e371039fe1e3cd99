"""A chat on paper that only rolls forward: what is settled is printed once, the rest is redrawn.

Markdown that is still being said may yet change its looks, but only in its last block. So all blocks
but the last are printed for good, and the last is drawn anew with each piece, until it is settled too.
"""

import io
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from chatd.cli.words import words_of
from chatd.client import (
    ActionRequired,
    Deleted,
    Event,
    HistoryReset,
    Message,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    Snapshot,
    Transcript,
    TurnFailed,
)

REMEMBERED = 20
"""Messages of an old chat that are shown at the start."""


class Paper:
    """What to print for each event of a chat, and what to draw below it for now."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._printed: set[int] = set()
        self._settled = ""
        """What of the answer under way was printed."""

    def take(self, event: Event) -> Iterable[RenderableType]:
        """What ``event``, which the transcript has taken already, adds for good."""
        match event:
            case Snapshot():
                yield from self._history(event.data["messages"])
            case MessagePart():
                yield from self._settle()
            case MessageStored():
                yield from self._message(event.data)
            case PreviewReset() if self._settled:
                self._settled = ""
                yield _aside("it starts over")
            case HistoryReset():
                self._settled = ""
                yield Rule("from here on said differently", style="dim")
            case QueueChanged() if event.data["added"] is not None:
                yield _aside(f"waits in line ({event.data['queue_length']})")
            case TurnFailed():
                yield Text(f"{event.data['last_error']}  (/retry tries again)", style="red")
            case ActionRequired():
                names = ", ".join(call["tool_name"] for call in event.data["calls"])
                yield _aside(f"waits for another client to run {names}")
            case Deleted():
                yield _aside("the chat was deleted")

    def draft(self) -> RenderableType | None:
        """The block that is being said."""
        text = self._transcript.preview_text
        text = text.removeprefix(self._settled)
        if text.strip():
            return _answer(text)
        return Text("...", style="dim") if self._transcript.preview and not text else None

    def _history(self, messages: list[Message]) -> Iterable[RenderableType]:
        new = [message for message in messages if message["id"] not in self._printed]
        if len(new) > REMEMBERED:
            yield _aside(f"{len(new) - REMEMBERED} earlier messages; 'chatd show' has them all")
        self._printed.update(message["id"] for message in new)
        for message in new[-REMEMBERED:]:
            yield from self._message(message)
        chat = self._transcript.chat
        if chat is not None and chat["last_error"]:
            yield Text(f"{chat['last_error']}  (/retry tries again)", style="red")
        yield from self._settle()

    def _message(self, message: Message) -> Iterable[RenderableType]:
        self._printed.add(message["id"])
        words = words_of(message["content"])
        if message["role"] == "user":
            yield Padding(Text(f"> {words}", style="bold cyan"), (1, 0, 1, 0))
            return
        if message["role"] != "assistant":
            yield _aside(words)
            return
        said, self._settled = self._settled, ""
        if not words.startswith(said):
            yield _aside("said differently in the end")
            said = ""
        if words[len(said) :].strip():
            yield _answer(words[len(said) :])

    def _settle(self) -> Iterable[RenderableType]:
        """The blocks of the answer under way that can no longer change."""
        rest = self._transcript.preview_text[len(self._settled) :]
        done = rest[: settled(rest)]
        if done.strip():
            self._settled += done
            yield _answer(done)


def settled(markdown: str) -> int:
    """How many characters belong to blocks that what follows cannot change: all but the last one."""
    starts = [token.map[0] for token in Markdown(markdown).parsed if not token.level and token.map]
    if len(starts) < _TWO:
        return 0
    lines = markdown.splitlines(keepends=True)
    return sum(len(line) for line in lines[: starts[-1]])


_TWO = 2


def drawn(what: Iterable[RenderableType], width: int, most_lines: int | None = None) -> str:
    """The text for a terminal of so many columns; at most the last so many lines of it."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system="standard")
    console.print(Group(*what), end="")
    lines = out.getvalue().rstrip("\n").split("\n")
    return "\n".join(lines if most_lines is None else lines[-most_lines:])


def _answer(text: str) -> RenderableType:
    return Padding(Markdown(text), (0, 0, 1, 0))


def _aside(text: str) -> RenderableType:
    return Text(f"[{text}]", style="dim")
