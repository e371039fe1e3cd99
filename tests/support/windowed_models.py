"""Model with a small window: it says so when a request is too long for it, and writes summaries."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from chatd.domain.chat import Usage
from chatd.domain.message import Message, Role
from chatd.domain.outcomes import CallPurpose
from chatd.domain.request_size import result_text
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, Finished, ModelRequest
from chatd.store.database import Database
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, ProviderFunction, text_delta

SUMMARY = "## Goal\nGo on. ## State now\nAll is well."


def tokens_of(request: ModelRequest) -> int:
    """Return the tokens of a request, four characters each."""
    parts = [part for message in request.messages for part in message.content]
    texts = [part.get("text") or part.get("args") or "" for part in parts]
    results = [result_text(part["result"]) for part in parts if part["type"] == "tool-result"]
    return sum(map(len, [*texts, *results])) // 4 + 1


async def answer_with_count(request: ModelRequest) -> AsyncIterator[Delta]:
    """Answer with the number of messages."""
    yield text_delta(f"answer to {len(request.messages)} messages")
    yield finished_with(request)


def finished_with(request: ModelRequest, reason: str = "stop") -> Finished:
    """Return the end of an answer, with the tokens of the request."""
    return Finished(reason, Usage(input_tokens=tokens_of(request), output_tokens=10))


class WindowedModel(FunctionProvider):
    """Provider of a model that holds ``window`` tokens, as ``ModelConfig.context_limit`` may say or not."""

    def __init__(
        self,
        window: int,
        *,
        answer: ProviderFunction = answer_with_count,
        summary: Callable[[ModelRequest], str] = lambda _: SUMMARY,
    ) -> None:
        super().__init__(self._respond)
        self.window = window
        self.may_summarize = asyncio.Event()
        """Set: summaries are written at once."""
        self.may_summarize.set()
        self.summary_failures: list[Exception] = []
        """Errors of the next requests for summaries."""
        self._answer = answer
        self._summary = summary

    @property
    def summaries(self) -> list[ModelRequest]:
        """The requests for summaries so far."""
        return [one for one in self.requests if one.purpose is CallPurpose.SUMMARY]

    @property
    def answers(self) -> list[ModelRequest]:
        """The requests for answers so far."""
        return [one for one in self.requests if one.purpose is CallPurpose.ANSWER]

    async def _respond(self, request: ModelRequest) -> AsyncIterator[Delta]:
        if tokens_of(request) > self.window:
            raise ProviderError(
                f"This model's maximum context length is {self.window} tokens.",
                status_code=400,
                code="context_length_exceeded",
            )
        if request.purpose is CallPurpose.SUMMARY:
            if self.summary_failures:
                raise self.summary_failures.pop()
            await self.may_summarize.wait()
            yield text_delta(self._summary(request))
            yield finished_with(request)
            return
        async for delta in self._answer(request):
            yield delta


def run_with_window(
    dsn: str, model: WindowedModel, options: Mapping[str, Any] | None = None, **sections: Any
) -> AbstractAsyncContextManager[InProcessDaemon]:
    """Return a daemon that knows no histories, since ``insert_turns`` writes into them."""
    worker = {"history_cache_bytes": 0, **sections.pop("worker", {})}
    options = {"context_limit": model.window} if options is None else options
    return running_daemon(dsn, model, model_options=options, worker=worker, **sections)


async def insert_turns(database: Database, chat: dict[str, Any], turns: int, *, size: int) -> None:
    """Store so many turns of a new chat, each of two texts of so many characters.

    No process may know the history of the chat.
    """
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, chat_message_id(1, n + 1), 1, CASE WHEN n % 2 = 1 THEN 'user' ELSE 'assistant' END,"
        " jsonb_build_array(jsonb_build_object('type', 'text', 'text', 'm' || n || repeat(' x', $3)))"
        " FROM generate_series(1, 2 * $2) n",
        UUID(chat["id"]),
        turns,
        size // 2,
    )


def first_summary(request: ModelRequest) -> Message | None:
    """Return the summary that a request has."""
    return next((one for one in request.messages if one.covers_until is not None), None)


def user_texts(request: ModelRequest) -> list[str]:
    """Return what the user said in a request."""
    return [
        part["text"]
        for message in request.messages
        if message.role is Role.USER and message.covers_until is None
        for part in message.content
    ]
