"""Titles by a model: after the first finished turn, beside everything else, and never in its way."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
import pytest
from structlog.testing import capture_logs
from support.eventually import eventually
from support.factories import OWNER, insert_chat, text_content
from support.in_process import InProcessDaemon, running_daemon
from support.list_streams import LIST_STREAM, ListView
from support.metrics import MetricsObserver
from support.providers import FunctionProvider, catalog, finished, text_delta
from support.sse_client import ChatView
from support.streams import stream_events

from chatd.domain.chat import Chat, TitleSource, Usage
from chatd.domain.message import Message, Role
from chatd.domain.outcomes import TitleOutcome
from chatd.llm.catalog import ModelConfig
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, Finished, ModelRequest
from chatd.store.database import Database
from chatd.store.titles import Titles
from chatd.supervision.child import ChildHandle
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.worker.titler import Titler

TITLER = "two"
"""The model that writes titles."""
USAGE = Usage(30, 4)


def writes_title(request: ModelRequest) -> bool:
    return request.model == f"m-{TITLER}"


@dataclass
class Conversation:
    """A provider of both models: it answers with an echo, and writes a title once it may."""

    written: Sequence[Delta] = (
        text_delta("Colour of "),
        text_delta("the sky"),
        Finished("stop", USAGE),
    )
    may_answer: anyio.Event = field(default_factory=anyio.Event)
    may_title: anyio.Event = field(default_factory=anyio.Event)
    answering: int = 0

    def __post_init__(self) -> None:
        self.may_answer.set()
        self.may_title.set()
        self.provider = FunctionProvider(self._respond)

    async def _respond(self, request: ModelRequest) -> AsyncIterator[Delta]:
        if writes_title(request):
            await self.may_title.wait()
            for delta in self.written:
                yield delta
            return
        self.answering += 1
        yield text_delta("It ")
        await self.may_answer.wait()
        yield text_delta("scatters.")
        yield finished()

    @property
    def title_requests(self) -> list[ModelRequest]:
        return [request for request in self.provider.requests if writes_title(request)]


@asynccontextmanager
async def titling(dsn: str, talk: Conversation) -> AsyncIterator[InProcessDaemon]:
    async with running_daemon(dsn, talk.provider, title_model=TITLER) as chatd:
        yield chatd


async def wait_for_title(chatd: InProcessDaemon, chat_id: str, title: str) -> dict[str, Any]:
    async def titled() -> dict[str, Any] | None:
        chat = await chatd.api.chat(chat_id)
        return chat if chat["title"] == title else None

    return dict(await eventually(titled))


async def test_first_finished_turn_is_titled(dsn: str) -> None:
    talk = Conversation()
    async with titling(dsn, talk) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create(
            "Why is the **sky** blue?" + " x" * 5000, system_prompt="Be kind."
        )
        assert chat["title"].startswith("Why is the sky blue?")
        titled = await wait_for_title(chatd, chat["id"], "Colour of the sky")
        assert titled["usage"]["input_tokens"] == 1 + USAGE.input_tokens
        assert titled["usage"]["output_tokens"] == 1 + USAGE.output_tokens
        [request] = talk.title_requests
        assert (request.tools, request.native_tools) == ((), ())
        assert request.settings["thinking"] is False
        system, quoted = request.messages
        assert (system.role, quoted.role) == (Role.SYSTEM, Role.USER)
        assert "Be kind." not in str(request.messages)
        assert "Why is the **sky** blue?" in quoted.content[0]["text"]
        assert "It scatters." in quoted.content[0]["text"]
        assert len(quoted.content[0]["text"]) < 5000

        await chatd.api.send(chat["id"], "and at night?")
        await eventually(lambda: talk.answering == 2)
        again = await chatd.api.wait_for_status(chat["id"], "waiting")
        assert again["title"] == "Colour of the sky"
        assert len(talk.title_requests) == 1, "it is titled once"
        await meter.wait_for_increase("chatd_titles_total", outcome="stored")
        assert await meter.increase("chatd_tokens_total", model="two", purpose="title") == 34
        assert await meter.increase("chatd_provider_calls_total", purpose="title") == 1
        assert await meter.increase("chatd_provider_calls_total", purpose="answer") == 2


async def test_running_turn_notices_no_title(dsn: str) -> None:
    """A title comes in the middle of the second turn. Its stream goes on, and lists show the title."""
    talk = Conversation()
    talk.may_title = anyio.Event()
    async with titling(dsn, talk) as chatd, anyio.create_task_group() as followers:
        chat = await chatd.api.create("Why is the sky blue?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await eventually(lambda: talk.title_requests)
        talk.may_answer = anyio.Event()
        view, listed = ChatView(), ListView()

        async def follow_list() -> None:
            async with aclosing(stream_events(chatd, LIST_STREAM, None)) as events:
                async for event in events:
                    listed.apply(event)

        followers.start_soon(follow_list)
        followers.start_soon(
            chatd.api.follow, chat["id"], view, lambda view: len(view.messages) == 4
        )
        await eventually(lambda: view.status and listed.chats)
        await chatd.api.send(chat["id"], "and at night?")
        await eventually(lambda: view.preview == "It ")

        talk.may_title.set()
        titled = await wait_for_title(chatd, chat["id"], "Colour of the sky")
        assert titled["status"] == "running"
        await eventually(lambda: listed.chats[chat["id"]]["title"] == "Colour of the sky")
        talk.may_answer.set()
        await eventually(lambda: len(view.messages) == 4)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        followers.cancel_scope.cancel()
        statuses = [event.data["status"] for event in view.events if event.event == "status"]
        assert statuses == ["pending", "running"]
        parts = [event.data["text"] for event in view.events if event.event == "message_part"]
        assert "".join(parts) == "It scatters.", "no part came twice"
        [told] = [event.data for event in view.events if event.event == "chat"]
        assert told["title"] == "Colour of the sky"
        assert not [event for event in view.events if event.event == "preview_reset"]
        journal = await chatd.journal(chat["id"])
        assert [entry["version"] for entry in journal] == list(range(1, len(journal) + 1))
        [entry] = [entry for entry in journal if entry["transition"] == "set_title"]
        assert (entry["status"], entry["epoch"]) == ("running", 2)
        assert not chatd.logged("chat.lost")


async def test_title_of_the_caller_wins_while_the_model_writes(dsn: str) -> None:
    talk = Conversation()
    talk.may_title = anyio.Event()
    async with titling(dsn, talk) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("Why is the sky blue?")
        await eventually(lambda: talk.title_requests)
        path = f"/api/v1/chats/{chat['id']}"
        assert (await chatd.api.http.patch(path, json={"title": "Mine"})).status_code == 200
        talk.may_title.set()
        await meter.wait_for_increase("chatd_titles_total", outcome="superseded")
        assert (await chatd.api.chat(chat["id"]))["title"] == "Mine"


async def test_chats_with_a_title_or_a_model_without_title_model_are_not_titled(dsn: str) -> None:
    talk = Conversation()
    async with titling(dsn, talk) as chatd:
        chats = [
            await chatd.api.create("hello", title="Mine"),
            await chatd.api.create("hello", model=TITLER),
        ]
        for chat in chats:
            await chatd.api.wait_for_status(chat["id"], "waiting")
        titled = await chatd.api.create("hello")
        await wait_for_title(chatd, titled["id"], "Colour of the sky")
        assert len([r for r in talk.title_requests if "User:" in str(r.messages)]) == 1


# -- the actor alone ------------------------------------------------------------------------------


def message(text: str, role: Role = Role.USER, number: int = 1) -> Message:
    return Message(
        id=number,
        chat_id=uuid4(),
        version=1,
        role=role,
        content=text_content(text),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=datetime.now(UTC),
    )


async def stored_chat(database: Database, **columns: Any) -> Chat:
    model = ModelConfig(name="one", provider="p", model="m-one")
    await database.fetch(
        "INSERT INTO chat_model_configs (id, name, provider, model) VALUES ($1, 'one', 'p', 'm')"
        " ON CONFLICT DO NOTHING",
        model.id,
    )
    columns = {"title": "first words", "last_model_config_id": model.id, **columns}
    return await insert_chat(database, **columns)


def titler_over(database: Database, provider: FunctionProvider, **more: Any) -> Titler:
    models = catalog(provider, title_model=TITLER)
    return Titler(Titles(database), catalog=lambda: models, **more)


def offer(titler: Titler, chat: Chat) -> None:
    titler.offer(chat, [message("why?")], text_content("because"))


async def title_now(chat: Chat, database: Database) -> tuple[str, str]:
    row = await database.fetchrow("SELECT title, title_by FROM chats WHERE id = $1", chat.id)
    assert row is not None
    return row["title"], row["title_by"]


async def fails(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("Colour of ")
    raise ProviderError("the chat said hello", code="rate_limit_exceeded")


async def breaks(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("Colour of ")
    raise KeyError("a bug")


async def ends_early(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("Colour of ")


async def hangs(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("Colour of ")
    await anyio.sleep_forever()


async def never_ends(_: ModelRequest) -> AsyncIterator[Delta]:
    while True:
        await anyio.lowlevel.checkpoint()
        yield text_delta("x" * 100)


@pytest.mark.parametrize(
    ("respond", "outcome", "kind"),
    [
        (fails, TitleOutcome.FAILED, "rate_limit"),
        (breaks, TitleOutcome.FAILED, "panic"),
        (ends_early, TitleOutcome.FAILED, "truncated"),
        (hangs, TitleOutcome.FAILED, "timeout"),
        (never_ends, TitleOutcome.UNUSABLE, None),
    ],
)
async def test_call_that_yields_no_title_is_not_repeated(
    database: Database, respond: Any, outcome: TitleOutcome, kind: str | None
) -> None:
    chat, provider = await stored_chat(database), FunctionProvider(respond)
    titler = titler_over(database, provider, timeout_seconds=0.1)
    offer(titler, chat)
    with capture_logs() as logs:
        assert await titler.step() is outcome
    assert len(provider.requests) == 1
    assert [line.get("kind") for line in logs if line["event"] == "title.failed"] == [kind] * (
        kind is not None
    )
    assert "hello" not in str(logs)
    assert await title_now(chat, database) == ("first words", "words")


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ([text_delta("# **Colour**\n\nof \x1b[1mthe sky."), finished()], "Colour of the sky"),
        ([text_delta("x" * 10_000), finished()], None),
        ([text_delta("I cannot"), finished("refusal")], None),
        ([text_delta(" \n"), finished()], None),
        ([finished()], None),
    ],
)
async def test_what_the_model_writes_is_cleaned(
    database: Database, written: list[Delta], title: str | None
) -> None:
    chat = await stored_chat(database)
    titler = titler_over(database, Conversation(written).provider)
    offer(titler, chat)
    outcome = await titler.step()
    assert outcome is (TitleOutcome.UNUSABLE if title is None else TitleOutcome.STORED)
    expected = ("first words", "words") if title is None else (title, "model")
    assert await title_now(chat, database) == expected


async def test_full_list_drops_and_never_waits(database: Database) -> None:
    """Two calls run, a hundred chats wait, and the others keep their first words."""
    chat, metrics = await stored_chat(database), TurnMetrics()
    talk = Conversation()
    talk.may_title = anyio.Event()
    titler = titler_over(database, talk.provider, metrics=metrics)
    async with anyio.create_task_group() as tasks:
        child = ChildHandle("titler")
        tasks.start_soon(titler.run, child)
        for _ in range(2):
            offer(titler, chat)
        await eventually(lambda: len(talk.title_requests) == 2)
        with capture_logs() as logs:
            for _ in range(103):
                offer(titler, chat)
        assert len([line for line in logs if line["event"] == "title.dropped"]) == 3
        assert len(talk.title_requests) == 2, "no more than two calls at once"
        talk.may_title.set()
        await eventually(lambda: len(talk.title_requests) == 102)
        child.stopping.set()


@pytest.mark.parametrize(
    ("history", "offered"),
    [
        ([message("why?")], True),
        ([message("be kind", Role.SYSTEM), message("why?", number=2)], True),
        ([message("why?"), message("again?", number=2)], True),
        ([message("why?"), message("a step", Role.ASSISTANT, 2), message("r", Role.TOOL, 3)], True),
        ([message("a"), message("b", Role.ASSISTANT, 2), message("c", number=3)], False),
    ],
)
async def test_only_the_first_turn_is_titled(
    database: Database, history: list[Message], offered: bool
) -> None:
    chat = await stored_chat(database)
    titler = titler_over(database, Conversation().provider)
    titler.offer(chat, history, text_content("because"))
    assert titler.waiting == offered


@pytest.mark.parametrize("title_by", [TitleSource.MODEL, TitleSource.CALLER])
async def test_chat_with_a_title_is_not_offered(database: Database, title_by: TitleSource) -> None:
    chat = await stored_chat(database, title_by=title_by.value)
    titler = titler_over(database, Conversation().provider)
    offer(titler, chat)
    assert titler.waiting == 0


async def test_chat_that_is_in_no_list_is_not_offered(database: Database) -> None:
    parent = await stored_chat(database)
    child = await stored_chat(database, parent_chat_id=parent.id, root_chat_id=parent.id)
    expiring = await stored_chat(database, expires_at="now")
    titler = titler_over(database, Conversation().provider)
    offer(titler, child)
    offer(titler, expiring)
    assert titler.waiting == 0
    assert child.owner_id == OWNER
