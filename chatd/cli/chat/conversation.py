"""One chat, and what a line that somebody types does to it."""

from collections.abc import Awaitable, Callable

from chatd.client import Client, Message, Transcript

_HELP = """\
TEXT             say it; while an answer is under way it waits in line
/queue TEXT      say it when the answer is done
/interrupt TEXT  stop the answer and say this instead; without TEXT, only stop
/edit TEXT       say your last message differently; what came after it is dropped
/retry           try again what failed
/help            this
/quit            leave; the chat goes on without you, and 'chatd chat ID' comes back to it
//TEXT           say something that begins with a slash"""


class Quit(Exception):
    """Whoever talks has had enough."""


class Conversation:
    """Somebody's side of a chat. Without ``chat_id`` it is created with the first words."""

    def __init__(self, client: Client, chat_id: str | None, *, model: str | None) -> None:
        self._client = client
        self._model = model
        self.chat_id = chat_id
        self.transcript = Transcript()
        self.awaiting_answer = False
        """The last line asked for an answer."""

    @property
    def busy(self) -> bool:
        """An answer is under way, or about to be."""
        return self.transcript.chat is not None and not self.transcript.idle

    @property
    def can_stop(self) -> bool:
        """There is an answer to stop, and nobody did."""
        return self.busy and self.transcript.status != "interrupting"

    async def handle_line(self, line: str) -> str | None:
        """Do what ``line`` says; what to show in return, if anything. Raises ``Quit``."""
        line = line.strip()
        self.awaiting_answer = False
        if not line:
            return None
        if not line.startswith("/") or line.startswith("//"):
            await self._send(line.removeprefix("/") if line.startswith("//") else line)
            return None
        command, _, words = line[1:].partition(" ")
        commands: dict[str, Callable[[str], Awaitable[str | None]]] = {
            "queue": self._queue,
            "interrupt": self._interrupt,
            "edit": self._edit,
            "retry": self._retry,
            "help": self._help,
            "quit": self._quit,
        }
        if command not in commands:
            return f"There is no /{command}; /help lists what there is."
        return await commands[command](words.strip())

    async def stop(self) -> None:
        """Stop the answer that is under way."""
        if self.chat_id is not None:
            await self._client.chats.interrupt(self.chat_id)

    async def _send(self, text: str) -> None:
        if self.chat_id is None:
            self.chat_id = (await self._client.chats.create(text, model=self._model))["id"]
        else:
            await self._client.messages.send(self.chat_id, text, model=self._model)
        self.awaiting_answer = True

    async def _queue(self, text: str) -> str | None:
        if not text:
            return "Say what: /queue TEXT"
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
            return "Say what instead: /edit TEXT"
        mine: list[Message] = [m for m in self.transcript.messages if m["role"] == "user"]
        if self.chat_id is None or not mine:
            return "You have said nothing yet."
        await self._client.messages.edit(self.chat_id, mine[-1]["id"], text)
        self.awaiting_answer = True
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
