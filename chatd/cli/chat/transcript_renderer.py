"""Renderer of a transcript for a terminal that only scrolls: each part is printed once.

While Markdown is streamed, only its last block can still change its appearance. All other blocks are
printed permanently. The last one is a preview that is redrawn with each delta.
"""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.rule import Rule
from rich.text import Text

from chatd.cli.chat.call_lines import (
    native_call_lines,
    question_lines,
    result_lines,
    running_call_lines,
)
from chatd.cli.chat.questions import action_notices
from chatd.cli.formatting import plain_text
from chatd.cli.output import TEXT_LAYOUT
from chatd.cli.tool_calls import args_of
from chatd.client import (
    ActionAnswered,
    ActionRequired,
    ChatDeleted,
    ChatEvent,
    HistoryReset,
    Message,
    MessagePart,
    MessageStored,
    NoticesGiven,
    PreviewReset,
    QueueChanged,
    Snapshot,
    StatusChanged,
    Transcript,
    TurnFailed,
    text_of,
)
from chatd.domain.sanitize import visible

_MAX_HISTORY_MESSAGES = 20
"""Messages of an existing chat that are shown at the start."""


class TranscriptRenderer:
    """Renderer of the events of a chat: permanent output, and a preview below it."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._printed_message_ids: set[int] = set()
        self._printed_text = ""
        """Printed part of the current answer."""
        self._args_by_id: dict[str, str] = {}
        """Arguments of the calls of the last answer."""
        self._interrupting = False

    def render_event(self, event: ChatEvent) -> Iterable[RenderableType]:
        """Yield the permanent output of an event that the transcript has already applied."""
        match event:
            case Snapshot():
                yield from self._render_history(event.data["messages"])
            case MessagePart():
                yield from self._render_stable_blocks()
            case MessageStored():
                yield from self._render_message(event.data)
            case HistoryReset():
                self._printed_text = ""
                yield Rule("edited: the messages from here on are replaced", style="dim")
            case PreviewReset() if self._printed_text:
                self._printed_text = ""
                yield _dim_note("the answer restarts")
            case TurnFailed():
                yield _error_text(event.data["last_error"])
            case _:
                yield from map(_dim_note, self._notices(event))

    def _notices(self, event: ChatEvent) -> Iterable[str]:
        """Yield short notes on events that are no messages."""
        match event:
            case StatusChanged():
                if self._interrupting:
                    yield "stopped"
                self._interrupting = event.data["status"] == "interrupting"
            case QueueChanged() if event.data["added"] is not None:
                yield f"queued ({event.data['queue_length']})"
            case ActionRequired() | ActionAnswered():
                yield from action_notices(event)
            case NoticesGiven():
                for notice in event.data["notices"]:
                    yield f"{notice['server']}: {notice['message']}"
            case ChatDeleted():
                yield "the chat was deleted"

    def render_preview(self, question: Sequence[str] = ()) -> RenderableType | None:
        """Return the last block of the current answer, which may still change, or a question."""
        text = self._transcript.preview_text
        text = text.removeprefix(self._printed_text)
        if text.strip():
            return _markdown(text)
        calls = self._transcript.running_calls
        if calls or question:
            action = self._transcript.action_required
            return Group(*running_call_lines(calls, action), *question_lines(question))
        return Text("...", style="dim") if self._transcript.preview and not text else None

    def _render_history(self, messages: list[Message]) -> Iterable[RenderableType]:
        new = [message for message in messages if message["id"] not in self._printed_message_ids]
        hidden = max(len(new) - _MAX_HISTORY_MESSAGES, 0)
        if self._transcript.older_cursor is not None:
            yield _dim_note("earlier messages are not shown; 'chatd show' has them all")
        elif hidden:
            yield _dim_note(f"{hidden} earlier messages; 'chatd show' has them all")
        self._printed_message_ids.update(message["id"] for message in new)
        for message in new[-_MAX_HISTORY_MESSAGES:]:
            yield from self._render_message(message)
        chat = self._transcript.chat
        if chat is not None and chat["last_error"]:
            yield _error_text(chat["last_error"])
        yield from self._render_stable_blocks()

    def _render_message(self, message: Message) -> Iterable[RenderableType]:
        self._printed_message_ids.add(message["id"])
        content = message["content"]
        text = plain_text(content)
        if message["role"] == "user":
            yield _text(f"> {text}", "bold cyan")
            return
        if message["role"] == "tool":
            yield Group(*result_lines(content, self._args_by_id))
            return
        if message["role"] != "assistant":
            yield _dim_note(text)
            return
        self._args_by_id = args_of(content)
        text = text_of(content)
        printed, self._printed_text = self._printed_text, ""
        if not text.startswith(printed):
            yield _dim_note("the stored answer differs from the streamed one")
            printed = ""
        if text[len(printed) :].strip():
            yield _markdown(text[len(printed) :])
        if native := [*native_call_lines(content)]:
            yield Group(*native)
        if others := plain_text([one for one in content if one["type"] in {"file", "compaction"}]):
            yield _text(others, "dim")

    def _render_stable_blocks(self) -> Iterable[RenderableType]:
        """Yield the blocks of the current answer that can no longer change."""
        unprinted = self._transcript.preview_text[len(self._printed_text) :]
        stable = unprinted[: stable_prefix_length(unprinted)]
        if stable.strip():
            self._printed_text += stable
            yield _markdown(stable)


def stable_prefix_length(markdown: str) -> int:
    """Return the length of all blocks but the last, which later text cannot change."""
    starts = [token.map[0] for token in Markdown(markdown).parsed if not token.level and token.map]
    if not starts[1:]:
        return 0
    lines = markdown.splitlines(keepends=True)
    return sum(len(line) for line in lines[: starts[-1]])


def to_ansi(renderables: Iterable[RenderableType], width: int, max_lines: int | None = None) -> str:
    """Return the text of renderables for a terminal of ``width`` columns, each followed by an empty line.

    ``max_lines`` keeps only the last lines of each.
    """
    blocks = []
    for renderable in renderables:
        out = io.StringIO()
        Console(file=out, width=width, force_terminal=True, color_system="standard").print(
            renderable
        )
        lines = out.getvalue().split("\n")
        while lines and not lines[0].strip():
            del lines[0]
        while lines and not lines[-1].strip():
            del lines[-1]
        blocks.append("\n".join(lines[-(max_lines or 0) :]))
    return "".join(f"{block}\n\n" for block in blocks)


def _text(text: str, style: str) -> RenderableType:
    return Text(visible(text, keep=TEXT_LAYOUT), style=style)


def _markdown(text: str) -> RenderableType:
    """Return Markdown with visible marks, also for characters that it spells as ``&#x202e;``."""
    markdown = Markdown(text, hyperlinks=False)
    for token in markdown.parsed:
        for part in (token, *(token.children or ())):
            part.content = visible(part.content, keep=TEXT_LAYOUT)
    return markdown


def _dim_note(text: str) -> RenderableType:
    return _text(f"[{text}]", "dim")


def _error_text(last_error: str) -> RenderableType:
    return _text(f"{last_error}  (/retry retries the turn)", "red")
