"""One chat, and the effect of each line that a person types."""

from collections.abc import Awaitable, Callable

from chatd.cli.chat.questions import Questions
from chatd.client import Client, Message, Transcript

_HELP = """\
TEXT             send a message; during an answer it is queued
/queue TEXT      send a message, to be answered after the current answer
/interrupt TEXT  stop the answer and send this instead; without TEXT, only stop
/edit TEXT       replace your last message; the messages after it are removed
/regenerate      have your last message answered again, instead of the answer so far
/compact [TEXT]  have the model go on from a summary; TEXT says what to keep in it
/retry           retry the failed turn
/decline         answer no to what is asked
/help            show this list
/quit            quit; the chat continues, and 'chatd chat ID' opens it again
y, n, always     answer what is asked, while something is
//TEXT           send a message that begins with a slash"""


class Quit(Exception):
    """The person wants to quit."""


class Conversation:
    """The user's side of a chat. Without ``chat_id``, the first message creates the chat."""

    def __init__(self, client: Client, chat_id: str | None, *, model: str | None) -> None:
        self._client = client
        self._model = model
        self.chat_id = chat_id
        self.transcript = Transcript()
        self.questions = Questions(client, self.transcript)
        self.awaiting_answer = False
        """True if the last line starts a turn."""

    @property
    def busy(self) -> bool:
        """True while a turn is running or pending."""
        return self.transcript.chat is not None and not self.transcript.idle

    @property
    def can_stop(self) -> bool:
        """True while a turn can be interrupted."""
        return self.busy and self.transcript.status != "interrupting"

    async def handle_line(self, line: str) -> str | None:
        """Execute a line and return text to show, if any. Raises ``Quit``."""
        line = line.strip()
        self.awaiting_answer = False
        if self.questions.current is not None and not line.startswith("/"):
            return await self._answer(line)
        if not line:
            return None
        if not line.startswith("/") or line.startswith("//"):
            await self._send(line.removeprefix("/") if line.startswith("//") else line)
            return None
        command, _, text = line[1:].partition(" ")
        commands: dict[str, Callable[[str], Awaitable[str | None]]] = {
            "queue": self._queue,
            "interrupt": self._interrupt,
            "edit": self._edit,
            "regenerate": self._regenerate,
            "compact": self._compact,
            "retry": self._retry,
            "decline": self._decline,
            "help": self._help,
            "quit": self._quit,
        }
        if command not in commands:
            return f"Unknown command /{command}. /help lists the commands."
        return await commands[command](text.strip())

    async def stop(self) -> None:
        """Interrupt the running turn."""
        if self.chat_id is not None:
            await self._client.chats.interrupt(self.chat_id)

    async def _answer(self, line: str) -> str | None:
        assert self.chat_id is not None  # noqa: S101 - a chat asks
        self.awaiting_answer, reply = await self.questions.answer(self.chat_id, line)
        return reply

    async def _decline(self, _: str) -> str | None:
        if self.chat_id is None:
            return "Nothing is asked."
        self.awaiting_answer, reply = await self.questions.decline(self.chat_id)
        return reply

    async def _send(self, text: str) -> None:
        if self.chat_id is None:
            self.chat_id = (await self._client.chats.create(text, model=self._model))["id"]
        else:
            await self._client.messages.send(self.chat_id, text, model=self._model)
        self.awaiting_answer = True

    async def _queue(self, text: str) -> str | None:
        if not text:
            return "The message is missing: /queue TEXT"
        await self._send(text)
        return None

    async def _interrupt(self, text: str) -> str | None:
        if self.chat_id is None:
            return "There is nothing to stop yet."
        if text:
            await self._client.messages.send(
                self.chat_id, text, model=self._model, busy_behavior="interrupt"
            )
            self.awaiting_answer = True
        else:
            await self.stop()
        return None

    async def _edit(self, text: str) -> str | None:
        if not text:
            return "The message is missing: /edit TEXT"
        sent = await self._last_sent()
        if self.chat_id is None or sent is None:
            return "You have sent no message yet."
        await self._client.messages.edit(self.chat_id, sent["id"], text)
        self.awaiting_answer = True
        return None

    async def _regenerate(self, _: str) -> str | None:
        sent = await self._last_sent()
        if self.chat_id is None or sent is None:
            return "You have sent no message yet."
        await self._client.messages.regenerate(self.chat_id, sent["id"])
        self.awaiting_answer = True
        return None

    async def _compact(self, text: str) -> str | None:
        if self.chat_id is None:
            return "There is nothing to compact yet."
        await self._client.chats.compact(self.chat_id, instructions=text or None)
        self.awaiting_answer = True
        return None

    async def _last_sent(self) -> Message | None:
        """Return the user's last message, also if it is older than what the transcript holds."""
        message: Message
        for message in reversed(self.transcript.messages):
            if message["role"] == "user":
                return message
        before_id = self.transcript.older_cursor
        if self.chat_id is None or before_id is None:
            return None
        async for message in self._client.messages.list_older(self.chat_id, before_id):
            if message["role"] == "user":
                return message
        return None

    async def _retry(self, _: str) -> str | None:
        if self.chat_id is None:
            return "There is nothing to retry yet."
        await self._client.chats.retry(self.chat_id)
        self.awaiting_answer = True
        return None

    async def _help(self, _: str) -> str | None:
        return _HELP

    async def _quit(self, _: str) -> str | None:
        raise Quit
