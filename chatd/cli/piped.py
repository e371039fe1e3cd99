"""Talking through pipes: each line is said when the answer to the one before is there."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from chatd.cli.as_json import show_json
from chatd.cli.conversation import Conversation, Leave
from chatd.cli.exits import Exit
from chatd.cli.root import complain
from chatd.cli.words import words_of
from chatd.client import (
    Client,
    Event,
    MessagePart,
    MessageStored,
    PreviewReset,
    Snapshot,
    TurnFailed,
)


class Piped:
    """Lines in, answers out: plain text, or with ``json`` one event a line."""

    def __init__(
        self, client: Client, chat_id: str | None, *, model: str | None, json: bool
    ) -> None:
        self._client = client
        self._json = json
        self._conversation = Conversation(client, chat_id, model=model)
        self._cursor: str | None = None
        self._shown = ""
        """What of the answer under way was printed."""

    async def run(self) -> int:
        """Say all lines; whether the last one was answered."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._heed_ctrl_c, group.cancel_scope)
            with suppress(Leave):
                await self._until_rest(quietly=True)
                async for line in _lines():
                    shown = await self._conversation.take(line)
                    if shown is not None:
                        complain(shown)
                    if self._conversation.asked:
                        await self._until_rest()
            group.cancel_scope.cancel()
            failed = self._conversation.transcript.status == "error"
            return Exit.FAILED if failed else Exit.DONE
        return Exit.STOPPED

    async def _heed_ctrl_c(self, scope: anyio.CancelScope) -> None:
        """The first stops the answer, the next one all."""
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                if self._conversation.stoppable:
                    await self._conversation.stop()
                else:
                    scope.cancel()

    async def _until_rest(self, *, quietly: bool = False) -> None:
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
                if not quietly:
                    self._print(event)
                set_out = set_out or not transcript.at_rest
                if set_out and transcript.at_rest:
                    return

    def _print(self, event: Event) -> None:
        if self._json:
            line = {"event": event.event, "id": event.id, "data": event.data}
            show_json(line, lines=True)
            return
        match event:
            case Snapshot():  # of a chat that was created just now
                for message in event.data["messages"]:
                    self._print(MessageStored(message))
                self._more(self._conversation.transcript.preview_text)
            case MessagePart():
                self._more(self._conversation.transcript.preview_text)
            case MessageStored() if event.data["role"] == "assistant":
                self._more(words_of(event.data["content"]))
                print(flush=True)
                self._shown = ""
            case PreviewReset() if self._shown:
                print(flush=True)
                complain("the answer starts over")
                self._shown = ""
            case TurnFailed():
                complain(event.data["last_error"])

    def _more(self, text: str) -> None:
        """Print what of ``text`` was not printed yet."""
        print(text.removeprefix(self._shown), end="", flush=True)
        self._shown = text


async def _lines() -> AsyncIterator[str]:
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
