"""Talking in a terminal: one types at the bottom, at any time; what is said rolls by above."""

from collections.abc import Sequence

import anyio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import RenderableType
from rich.text import Text

from chatd.cli.conversation import Conversation, Leave
from chatd.cli.paper import Paper, drawn
from chatd.cli.words import SHORT_ID
from chatd.client import Client, ClientError, Unreachable

_REDRAW_SECONDS = 0.05
_ROOM = 6
"""Lines at the bottom that a long answer under way leaves free."""


class Talk:
    """A person at a terminal, and one chat."""

    def __init__(self, client: Client, chat_id: str | None, *, model: str | None) -> None:
        self._client = client
        self._conversation = Conversation(client, chat_id, model=model)
        self._started = anyio.Event()
        self._paper = Paper(self._conversation.transcript)
        self._trouble = ""
        self._stopping = anyio.Event()
        self._session: PromptSession[str] = PromptSession(
            message=self._above,
            key_bindings=self._keys(),
            erase_when_done=True,
        )
        self._session.app.min_redraw_interval = _REDRAW_SECONDS

    async def run(self) -> str | None:
        """Talk until one leaves; the id of the chat."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            group.start_soon(self._stop)
            await self._type()
            group.cancel_scope.cancel()
        return self._conversation.chat_id

    async def _type(self) -> None:
        draft = ""
        if self._conversation.chat_id is not None:
            self._started.set()
        while not self._conversation.transcript.gone:
            try:
                line = await self._session.prompt_async(default=draft, handle_sigint=False)
            except EOFError:
                return
            draft = ""
            try:
                shown = await self._conversation.take(line)
            except Leave:
                return
            except ClientError as error:
                shown, draft = str(error), line
            if self._conversation.chat_id is not None:
                self._started.set()
            if shown is not None:
                await self._print([Text(shown, style="yellow" if draft else "dim")])

    async def _follow(self) -> None:
        await self._started.wait()
        chat_id = self._conversation.chat_id
        assert chat_id is not None  # noqa: S101 - it has started
        async with self._client.follow(chat_id, on_gap=self._gap) as events:
            async for event in events:
                self._trouble = ""
                self._conversation.transcript.apply(event)
                await self._print([*self._paper.take(event)])
        self._session.app.exit(exception=EOFError)

    async def _stop(self) -> None:
        """Stop the answer each time that Ctrl-C asks for it."""
        while True:
            await self._stopping.wait()
            self._stopping = anyio.Event()
            try:
                await self._conversation.stop()
            except ClientError as error:
                await self._print([Text(str(error), style="yellow")])

    async def _print(self, what: Sequence[RenderableType]) -> None:
        """Above the line that is typed, for good."""
        if what:
            text = drawn(what, self._columns)
            await run_in_terminal(lambda: print(text, end="", flush=True))
        self._session.app.invalidate()

    @property
    def _columns(self) -> int:
        return self._session.app.output.get_size().columns

    def _above(self) -> AnyFormattedText:
        """The answer under way, what the chat is doing, and the sign to type."""
        draft = self._paper.draft()
        room = max(3, self._session.app.output.get_size().rows - _ROOM)
        above = "" if draft is None else drawn([draft], self._columns, room)
        return ANSI(f"{above}\x1b[90m{self._doing()}\x1b[0m\n\x1b[1;36m>\x1b[0m ")

    def _doing(self) -> str:
        """What the chat is doing, and what Ctrl-C would do."""
        transcript = self._conversation.transcript
        chat = transcript.chat
        if self._trouble:
            return self._trouble
        if chat is None:
            return "a new chat | /help | Ctrl-C leaves"
        words = [chat["id"][:SHORT_ID], chat["model"] or "", chat["status"].replace("_", " ")]
        if transcript.retry is not None:
            words.append(f"the model failed; try {transcript.retry['attempt'] + 1} follows")
        if transcript.queue_length:
            words.append(f"{transcript.queue_length} waiting")
        words.append("Ctrl-C stops the answer" if self._conversation.busy else "Ctrl-C leaves")
        return " | ".join(filter(None, words))

    def _gap(self, why: ClientError | None, delay: float) -> None:
        if why is not None:
            what = "no connection" if isinstance(why, Unreachable) else str(why)
            self._trouble = f"{what}; trying again in {delay:.1f} s"
            self._session.app.invalidate()

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(pressed: KeyPressEvent) -> None:
            if self._conversation.stoppable:
                self._stopping.set()
            elif pressed.current_buffer.text:
                pressed.current_buffer.reset()
            else:
                pressed.app.exit(exception=EOFError)

        return keys
