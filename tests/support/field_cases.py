"""Cases of the field suite: the bytes that a provider sends, and what chatd makes of them.

A case is a row: its ``report`` names the public issue (``owner/repo#number``) or the documentation page
that the bytes come from. ``run_case`` gives the bytes to the provider of the case's kind, through the SDK,
without a database, and compares. A field of the case that is None is not compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chatd.domain.chat import Usage
from chatd.domain.failure import Failure, FailureKind
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider
from support.model_server import End, ModelResponse, Pause, model_server
from support.provider_cases import StreamResult, attempt

VARIATION = "a variation of our own"
"""The report of an input that nobody reported in this spelling."""
CHAT = "openai-compatible"
RESPONSES = "openai"
ANTHROPIC = "anthropic"


@dataclass(frozen=True, kw_only=True)
class FieldCase:
    """Bytes of a provider, and the outcome of the call.

    ``reason`` is the finish reason. CUT stands for an answer without an end, and ``failure`` for a
    classified failure, whose message holds ``words``.
    """

    name: str
    report: str
    pieces: Sequence[bytes | Pause]
    kind: str = CHAT
    status: int = 200
    content_type: str | None = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    end: End = End.WHOLE
    text: str | None = None
    reasoning: str | None = None
    calls: Sequence[tuple[str, str]] | None = None
    """Names and arguments of the tool calls."""
    ids: Sequence[str] | None = None
    reason: str | None = None
    usage: Usage | None = None
    failure: FailureKind | None = None
    words: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def response(self) -> ModelResponse:
        return ModelResponse(
            pieces=self.pieces,
            status=self.status,
            content_type=self.content_type,
            headers=self.headers,
            end=self.end,
        )


CUT = "(no end)"
"""The reason of an answer that has no end."""


async def call(response: ModelResponse, kind: str) -> StreamResult | Failure:
    """Call a provider of ``kind`` once. Raise what is no failure of a provider."""
    async with model_server(response) as server:
        root = server.url if kind == ANTHROPIC else f"{server.url}/v1"
        provider = PydanticAIProvider(name="acme", kind=kind, base_url=root, api_key="sk-secret")
        try:
            return await attempt(provider, kind)
        finally:
            await provider.aclose()


async def run_case(case: FieldCase) -> None:
    """Run a case and compare its outcome."""
    check_case(case, await call(case.response, case.kind))


async def run_split_case(case: FieldCase) -> None:
    """Run a case with its bytes one by one."""
    body = b"".join(piece for piece in case.pieces if isinstance(piece, bytes))
    await run_case(replace(case, pieces=[body[at : at + 1] for at in range(len(body))]))


def check_case(case: FieldCase, outcome: StreamResult | Failure) -> None:
    """Compare an outcome with the expectation of its case."""
    if isinstance(outcome, Failure):
        assert outcome.kind is case.failure, outcome
        assert case.words.lower() in outcome.message.lower(), outcome.message
        return
    assert case.failure is None, outcome
    ends = [finished.reason for finished in outcome.finished] or [CUT]
    content = outcome.content
    calls = [part for part in content if part["type"] == "tool-call"]
    for expected, seen in (
        (case.reason, ends[0]),
        (case.text, _joined(content, "text")),
        (case.reasoning, _joined(content, "reasoning")),
        (case.calls, [(part["tool_name"], part["args"]) for part in calls]),
        (case.ids, [part["tool_call_id"] for part in calls]),
        (case.usage, outcome.finished[0].usage if outcome.finished else None),
    ):
        assert expected is None or seen == (
            list(expected)
            if isinstance(expected, Sequence) and not isinstance(expected, str)
            else expected
        ), (expected, seen)
    assert len(ends) == 1


def _joined(content: Sequence[Any], kind: str) -> str:
    return "".join(part["text"] for part in content if part["type"] == kind)


def sse(data: object, event: str | None = None) -> bytes:
    """Return one server-sent event."""
    name = f"event: {event}\n" if event else ""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"{name}data: {text}\n\n".encode()


def chunk(delta: object = None, reason: object = None, **more: Any) -> bytes:
    """Return one chunk of a chat completion."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": reason}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return sse({**head, "choices": [choice], **more})


def text(*words: str) -> bytes:
    """Return chunks of text."""
    return b"".join(chunk({"content": word}) for word in words)


def tool_call(index: object, call_id: object = None, name: object = None, args: object = "") -> Any:
    """Return the piece of a tool call in a chunk."""
    piece: dict[str, Any] = {"index": index, "function": {"arguments": args}}
    if call_id is not None:
        piece |= {"id": call_id, "type": "function"}
    if name is not None:
        piece["function"]["name"] = name
    return piece


DONE = b"data: [DONE]\n\n"
STOP = chunk({}, "stop")
