"""Chat through pipes: each line is sent after the answer to the previous one."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio

from chatd.cli.chat.conversation import Conversation, Quit
from chatd.cli.exit_codes import Exit
from chatd.cli.formatting import plain_text
from chatd.cli.output import echo, print_error, print_json
from chatd.cli.tool_calls import args_of, call_lines
from chatd.client import (
    ChatEvent,
    Client,
    Message,
    MessagePart,
    MessageStored,
    PreviewReset,
    Snapshot,
    TurnFailed,
)


class PipedChat:
    """One chat over pipes: lines in, answers out as plain text, or with ``json`` one event per line."""

    def __init__(
        self, client: Client, chat_id: str | None, *, model: str | None, json: bool
    ) -> None:
        self._client = client
        self._json = json
        self._conversation = Conversation(client, chat_id, model=model)
        self._cursor: str | None = None
        self._printed_text = ""
        """Printed part of the current answer."""
        self._args_by_id: dict[str, str] = {}
        """Arguments of the calls of the last answer."""

    async def run(self) -> int:
        """Send all lines, and return the exit code: whether the last turn succeeded."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._handle_ctrl_c, group.cancel_scope)
            with suppress(Quit):
                await self._follow_until_idle(silent=True)
                async for line in _stdin_lines():
                    reply = await self._conversation.handle_line(line)
                    if reply is not None:
                        print_error(reply)
                    if self._conversation.awaiting_answer:
                        await self._follow_until_idle()
            group.cancel_scope.cancel()
            return self._exit_code()
        return Exit.INTERRUPTED

    def _exit_code(self) -> Exit:
        """Return whether the last turn succeeded. One that asks something has not."""
        if self._conversation.questions.current is not None:
            print_error(f"the chat waits for an answer: chatd chat {self._conversation.chat_id}")
            return Exit.FAILED
        return Exit.FAILED if self._conversation.transcript.status == "error" else Exit.DONE

    async def _handle_ctrl_c(self, scope: anyio.CancelScope) -> None:
        """Interrupt the turn at the first Ctrl-C, and quit at the next one."""
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                if self._conversation.can_stop:
                    await self._conversation.stop()
                else:
                    scope.cancel()

    async def _follow_until_idle(self, *, silent: bool = False) -> None:
        """Follow the chat from the last event until it is idle or asks a person, and print the events.

        After a cursor, the events of the new turn follow: the chat leaves its idle status first.
        """
        chat_id, transcript = self._conversation.chat_id, self._conversation.transcript
        if chat_id is None:
            return
        turn_started = self._cursor is None
        async with self._client.follow(chat_id, self._cursor) as events:
            async for event in events:
                transcript.apply(event)
                self._cursor = events.cursor
                if not silent:
                    self._print_event(event)
                turn_started = turn_started or not transcript.idle
                if turn_started and (transcript.idle or self._asks()):
                    return

    def _asks(self) -> bool:
        """Return whether the chat asks a person something. The question is printed."""
        lines = self._conversation.questions.lines()
        if not self._json:
            for line in lines:
                echo(line, error=True)
        return bool(lines)

    def _print_event(self, event: ChatEvent) -> None:
        if self._json:
            line = {"event": event.event, "id": event.id, "data": event.data}
            print_json(line, compact=True)
            return
        match event:
            case Snapshot():  # of a chat that was created just now
                for message in event.data["messages"]:
                    self._print_event(MessageStored(message))
                self._print_new_text(self._conversation.transcript.preview_text)
                if error := event.data["chat"]["last_error"]:  # the turn failed before this stream
                    print_error(error)
            case MessagePart():
                self._print_new_text(self._conversation.transcript.preview_text)
            case MessageStored():
                self._print_message(event.data)
            case PreviewReset() if self._printed_text:
                echo()
                print_error("the answer restarts")
                self._printed_text = ""
            case TurnFailed():
                print_error(event.data["last_error"])

    def _print_message(self, message: Message) -> None:
        """Print an answer. What came of tool calls goes to standard error: a file gets answers alone."""
        content = message["content"]
        if message["role"] == "tool":
            for call_line in call_lines(content, self._args_by_id):
                echo(call_line, error=True)
        elif message["role"] == "assistant":
            self._args_by_id = args_of(content)
            text = plain_text([part for part in content if part["type"] != "tool-call"])
            if text or self._printed_text:
                self._print_new_text(text)
                echo()
            self._printed_text = ""

    def _print_new_text(self, text: str) -> None:
        """Print the part of ``text`` that was not printed yet."""
        echo(text.removeprefix(self._printed_text), end="")
        self._printed_text = text


async def _stdin_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input, read without a thread, which could not be cancelled."""
    incomplete = b""
    descriptor = sys.stdin.fileno()
    while True:
        with suppress(
            PermissionError
        ):  # epoll does not accept a plain file, which is always readable
            await anyio.wait_readable(descriptor)
        data = os.read(descriptor, 65536)
        *lines, incomplete = (incomplete + data).split(b"\n")
        if not data:
            lines = [incomplete]
        for line in lines:
            yield line.decode(errors="replace")
        if not data:
            return
