"""Talking through pipes: each line is said when the answer to the one before is there."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from chatd.cli.chat.conversation import Conversation, Quit
from chatd.cli.exit_codes import Exit
from chatd.cli.formatting import plain_text
from chatd.cli.main import print_error
from chatd.cli.output import print_json
from chatd.client import (
    Client,
    Event,
    MessagePart,
    MessageStored,
    PreviewReset,
    Snapshot,
    TurnFailed,
)


class PipedChat:
    """Lines in, answers out: plain text, or with ``json`` one event a line."""

    def __init__(
        self, client: Client, chat_id: str | None, *, model: str | None, json: bool
    ) -> None:
        self._client = client
        self._json = json
        self._conversation = Conversation(client, chat_id, model=model)
        self._cursor: str | None = None
        self._printed_text = ""
        """What of the answer under way was printed."""

    async def run(self) -> int:
        """Say all lines; whether the last one was answered."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._handle_ctrl_c, group.cancel_scope)
            with suppress(Quit):
                await self._follow_until_idle(silent=True)
                async for line in _stdin_lines():
                    shown = await self._conversation.handle_line(line)
                    if shown is not None:
                        print_error(shown)
                    if self._conversation.awaiting_answer:
                        await self._follow_until_idle()
            group.cancel_scope.cancel()
            failed = self._conversation.transcript.status == "error"
            return Exit.FAILED if failed else Exit.DONE
        return Exit.INTERRUPTED

    async def _handle_ctrl_c(self, scope: anyio.CancelScope) -> None:
        """The first stops the answer, the next one all."""
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                if self._conversation.can_stop:
                    await self._conversation.stop()
                else:
                    scope.cancel()

    async def _follow_until_idle(self, *, silent: bool = False) -> None:
        """What happens from where it was left, until the chat rests.

        After a cursor comes what was asked for: the chat sets out before it rests.
        """
        chat_id, transcript = self._conversation.chat_id, self._conversation.transcript
        if chat_id is None:
            return
        set_out = self._cursor is None
        async with self._client.follow(chat_id, self._cursor) as events:
            async for event in events:
                transcript.apply(event)
                self._cursor = events.cursor
                if not silent:
                    self._print_event(event)
                set_out = set_out or not transcript.idle
                if set_out and transcript.idle:
                    return

    def _print_event(self, event: Event) -> None:
        if self._json:
            line = {"event": event.event, "id": event.id, "data": event.data}
            print_json(line, compact=True)
            return
        match event:
            case Snapshot():  # of a chat that was created just now
                for message in event.data["messages"]:
                    self._print_event(MessageStored(message))
                self._print_new_text(self._conversation.transcript.preview_text)
            case MessagePart():
                self._print_new_text(self._conversation.transcript.preview_text)
            case MessageStored() if event.data["role"] == "assistant":
                self._print_new_text(plain_text(event.data["content"]))
                print(flush=True)
                self._printed_text = ""
            case PreviewReset() if self._printed_text:
                print(flush=True)
                print_error("the answer starts over")
                self._printed_text = ""
            case TurnFailed():
                print_error(event.data["last_error"])

    def _print_new_text(self, text: str) -> None:
        """Print what of ``text`` was not printed yet."""
        print(text.removeprefix(self._printed_text), end="", flush=True)
        self._printed_text = text


async def _stdin_lines() -> AsyncIterator[str]:
    """The lines of standard input, read without a thread that nobody could stop."""
    rest = b""
    descriptor = sys.stdin.fileno()
    while True:
        with suppress(PermissionError):  # a plain file: it can always be read
            await anyio.wait_readable(descriptor)
        data = os.read(descriptor, 65536)
        *lines, rest = (rest + data).split(b"\n")
        if not data:
            lines = [rest]
        for line in lines:
            yield line.decode(errors="replace")
        if not data:
            return
