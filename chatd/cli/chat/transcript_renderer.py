"""A chat on paper that only rolls forward: what is settled is printed once, the rest is redrawn.

Markdown that is still being said may yet change its looks, but only in its last block. So all blocks
but the last are printed for good, and the last is drawn anew with each piece, until it is settled too.
"""

import io
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.rule import Rule
from rich.text import Text

from chatd.cli.formatting import plain_text
from chatd.client import (
    ActionRequired,
    ChatDeleted,
    Event,
    HistoryReset,
    Message,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    Snapshot,
    StatusChanged,
    Transcript,
    TurnFailed,
)

_MAX_HISTORY_MESSAGES = 20
"""Messages of an old chat that are shown at the start."""


class TranscriptRenderer:
    """What to print for each event of a chat, and what to draw below it for now."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._printed_message_ids: set[int] = set()
        self._printed_text = ""
        """What of the answer under way was printed."""
        self._interrupting = False

    def render_event(self, event: Event) -> Iterable[RenderableType]:
        """What ``event``, which the transcript has taken already, adds for good."""
        match event:
            case Snapshot():
                yield from self._render_history(event.data["messages"])
            case MessagePart():
                yield from self._render_stable_blocks()
            case MessageStored():
                yield from self._render_message(event.data)
            case HistoryReset():
                self._printed_text = ""
                yield Rule("from here on said differently", style="dim")
            case PreviewReset() if self._printed_text:
                self._printed_text = ""
                yield _dim_note("it starts over")
            case TurnFailed():
                yield _error_text(event.data["last_error"])
            case _:
                yield from map(_dim_note, self._notices(event))

    def _notices(self, event: Event) -> Iterable[str]:
        """What happened beside what was said."""
        match event:
            case StatusChanged():
                if self._interrupting:
                    yield "stopped"
                self._interrupting = event.data["status"] == "interrupting"
            case QueueChanged() if event.data["added"] is not None:
                yield f"waits in line ({event.data['queue_length']})"
            case ActionRequired():
                names = ", ".join(call["tool_name"] for call in event.data["calls"])
                yield f"waits for another client to run {names}"
            case ChatDeleted():
                yield "the chat was deleted"

    def render_preview(self) -> RenderableType | None:
        """The block that is being said."""
        text = self._transcript.preview_text
        text = text.removeprefix(self._printed_text)
        if text.strip():
            return Markdown(text)
        return Text("...", style="dim") if self._transcript.preview and not text else None

    def _render_history(self, messages: list[Message]) -> Iterable[RenderableType]:
        new = [message for message in messages if message["id"] not in self._printed_message_ids]
        if len(new) > _MAX_HISTORY_MESSAGES:
            yield _dim_note(
                f"{len(new) - _MAX_HISTORY_MESSAGES} earlier messages; 'chatd show' has them all"
            )
        self._printed_message_ids.update(message["id"] for message in new)
        for message in new[-_MAX_HISTORY_MESSAGES:]:
            yield from self._render_message(message)
        chat = self._transcript.chat
        if chat is not None and chat["last_error"]:
            yield _error_text(chat["last_error"])
        yield from self._render_stable_blocks()

    def _render_message(self, message: Message) -> Iterable[RenderableType]:
        self._printed_message_ids.add(message["id"])
        words = plain_text(message["content"])
        if message["role"] == "user":
            yield Text(f"> {words}", style="bold cyan")
            return
        if message["role"] != "assistant":
            yield _dim_note(words)
            return
        said, self._printed_text = self._printed_text, ""
        if not words.startswith(said):
            yield _dim_note("said differently in the end")
            said = ""
        if words[len(said) :].strip():
            yield Markdown(words[len(said) :])

    def _render_stable_blocks(self) -> Iterable[RenderableType]:
        """The blocks of the answer under way that can no longer change."""
        rest = self._transcript.preview_text[len(self._printed_text) :]
        done = rest[: stable_prefix_length(rest)]
        if done.strip():
            self._printed_text += done
            yield Markdown(done)


def stable_prefix_length(markdown: str) -> int:
    """How many characters belong to blocks that what follows cannot change: all but the last one."""
    starts = [token.map[0] for token in Markdown(markdown).parsed if not token.level and token.map]
    if not starts[1:]:
        return 0
    lines = markdown.splitlines(keepends=True)
    return sum(len(line) for line in lines[: starts[-1]])


def to_ansi(renderables: Iterable[RenderableType], width: int, max_lines: int | None = None) -> str:
    """Text for a terminal of so many columns, an empty line after each; at most the last lines of it."""
    blocks = []
    for one in renderables:
        out = io.StringIO()
        Console(file=out, width=width, force_terminal=True, color_system="standard").print(one)
        lines = out.getvalue().split("\n")
        while lines and not lines[0].strip():
            del lines[0]
        while lines and not lines[-1].strip():
            del lines[-1]
        blocks.append("\n".join(lines[-(max_lines or 0) :]))
    return "".join(f"{block}\n\n" for block in blocks)


def _dim_note(text: str) -> RenderableType:
    return Text(f"[{text}]", style="dim")


def _error_text(last_error: str) -> RenderableType:
    return Text(f"{last_error}  (/retry tries again)", style="red")
