"""Chat in a terminal: a prompt at the bottom, always ready, and the transcript above it."""

from collections.abc import Sequence

import anyio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import RenderableType
from rich.text import Text

from chatd.cli.chat.conversation import Conversation, Quit
from chatd.cli.chat.transcript_renderer import TranscriptRenderer, to_ansi
from chatd.cli.formatting import SHORT_ID
from chatd.cli.output import echo_rendered
from chatd.client import Client, ClientError, ConnectFailed
from chatd.domain.sanitize import visible

_REDRAW_SECONDS = 0.05
_RESERVED_LINES = 6
"""Lines at the bottom that the preview of a long answer leaves free."""


class InteractiveChat:
    """One chat at a terminal."""

    def __init__(self, client: Client, chat_id: str | None, *, model: str | None) -> None:
        self._client = client
        self._conversation = Conversation(client, chat_id, model=model)
        self._chat_started = anyio.Event()
        self._renderer = TranscriptRenderer(self._conversation.transcript)
        self._connection_problem = ""
        self._stop_requested = anyio.Event()
        self._session: PromptSession[str] = PromptSession(
            message=self._prompt_message,
            key_bindings=self._key_bindings(),
            erase_when_done=True,
        )
        self._session.app.min_redraw_interval = _REDRAW_SECONDS

    async def run(self) -> str | None:
        """Run until the person quits, and return the id of the chat, if there is one."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            group.start_soon(self._stop_on_request)
            await self._read_lines()
            group.cancel_scope.cancel()
        return self._conversation.chat_id

    async def _read_lines(self) -> None:
        draft = ""
        if self._conversation.chat_id is not None:
            self._chat_started.set()
        while not self._conversation.transcript.deleted:
            try:
                line = await self._session.prompt_async(default=draft, handle_sigint=False)
            except EOFError:
                return
            draft = ""
            try:
                reply = await self._conversation.handle_line(line)
            except Quit:
                return
            except ClientError as error:
                reply, draft = str(error), line
            if self._conversation.chat_id is not None:
                self._chat_started.set()
            if reply is not None:
                await self._print(
                    [Text(visible(reply, keep="\n"), style="yellow" if draft else "dim")]
                )

    async def _follow(self) -> None:
        await self._chat_started.wait()
        chat_id = self._conversation.chat_id
        assert chat_id is not None  # noqa: S101 - _chat_started is set after chat_id
        async with self._client.follow(chat_id, on_reconnect=self._on_reconnect) as events:
            async for event in events:
                self._connection_problem = ""
                self._conversation.transcript.apply(event)
                await self._print([*self._renderer.render_event(event)])
        self._session.app.exit(exception=EOFError)

    async def _stop_on_request(self) -> None:
        """Interrupt the turn each time that Ctrl-C requests it."""
        while True:
            await self._stop_requested.wait()
            self._stop_requested = anyio.Event()
            try:
                await self._conversation.stop()
            except ClientError as error:
                await self._print([Text(visible(str(error)), style="yellow")])

    async def _print(self, renderables: Sequence[RenderableType]) -> None:
        """Print above the prompt, permanently."""
        if renderables:
            text = to_ansi(renderables, self._columns)
            await run_in_terminal(lambda: echo_rendered(text.encode(errors="replace")))
        self._session.app.invalidate()

    @property
    def _columns(self) -> int:
        return self._session.app.output.get_size().columns

    def _prompt_message(self) -> AnyFormattedText:
        """Return the preview of the answer, the status line and the prompt."""
        preview = self._renderer.render_preview(self._conversation.questions.lines())
        max_lines = max(3, self._session.app.output.get_size().rows - _RESERVED_LINES)
        text = "" if preview is None else to_ansi([preview], self._columns, max_lines)
        return ANSI(f"{text}\x1b[90m{visible(self._status_text())}\x1b[0m\n\x1b[1;36m>\x1b[0m ")

    def _status_text(self) -> str:
        """Return the status of the chat, and the effect of Ctrl-C."""
        transcript = self._conversation.transcript
        chat = transcript.chat
        if self._connection_problem:
            return self._connection_problem
        if chat is None:
            return "new chat | /help | Ctrl-C quits"
        facts = [chat["id"][:SHORT_ID], chat["model"] or "", chat["status"].replace("_", " ")]
        if transcript.retry is not None:
            facts.append(
                f"the model call failed; attempt {transcript.retry['attempt'] + 1} follows"
            )
        if transcript.queue_length:
            facts.append(f"{transcript.queue_length} queued")
        facts.append("Ctrl-C stops the answer" if self._conversation.busy else "Ctrl-C quits")
        return " | ".join(filter(None, facts))

    def _on_reconnect(self, error: ClientError | None, delay: float) -> None:
        if error is not None:
            problem = "no connection" if isinstance(error, ConnectFailed) else str(error)
            self._connection_problem = f"{problem}; retrying in {delay:.1f} s"
            self._session.app.invalidate()

    def _key_bindings(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(pressed: KeyPressEvent) -> None:
            if self._conversation.can_stop:
                self._stop_requested.set()
            elif pressed.current_buffer.text:
                pressed.current_buffer.reset()
            else:
                pressed.app.exit(exception=EOFError)

        return keys
