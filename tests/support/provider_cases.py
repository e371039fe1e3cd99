"""One interface to every provider, so that the contract suite is the same for all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chatd.domain.failure import Failure
from chatd.domain.message import Content, Message, Part, Role, fold
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.llm.scripted.script import parse_script
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider
from support.model_server import End, ModelResponse, ModelServer, model_server
from support.wire_formats import WIRE_FORMATS, ModelAnswer, WireFormat

CHAT_ID = UUID("00000000-0000-4000-8000-000000000001")
MODELS = {"openai": "gpt-5.2", "anthropic": "claude-opus-5"}


def message(number: int, role: Role, *parts: Part, finish_reason: str | None = None) -> Message:
    return Message(
        id=number,
        chat_id=CHAT_ID,
        version=number,
        role=role,
        content=parts,
        model_config_id=None,
        usage=None,
        finish_reason=finish_reason,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def text_part(value: str) -> Part:
    return {"type": "text", "text": value}


QUESTION = (
    message(1, Role.SYSTEM, text_part("Be brief.")),
    message(2, Role.USER, text_part("Well?")),
)


def request(kind: str, *more: Message, **options: Any) -> ModelRequest:
    return ModelRequest(model=MODELS.get(kind, "fake"), messages=(*QUESTION, *more), **options)


@dataclass(frozen=True)
class StreamResult:
    deltas: list[Delta]

    @property
    def part_deltas(self) -> list[Part]:
        return [delta.part for delta in self.deltas if isinstance(delta, PartDelta)]

    @property
    def content(self) -> Content:
        return fold(self.part_deltas)

    @property
    def finished(self) -> list[Finished]:
        return [delta for delta in self.deltas if isinstance(delta, Finished)]


def error_response(body: bytes, status: int, **headers: str) -> ModelResponse:
    """Return a response with an error status, which is JSON."""
    return ModelResponse(
        pieces=[body], status=status, content_type="application/json", headers=headers
    )


async def attempt(provider: Provider, kind: str) -> StreamResult | Failure:
    """Make one call. Return its result, or the failure that ``classify`` makes of its error."""
    try:
        return await collect(provider, request(kind))
    except Exception as error:
        failure = classify(error, provider="acme", model="m1")
        if failure is None:
            raise
        return failure


async def collect(provider: Provider, model_request: ModelRequest) -> StreamResult:
    async with provider.stream(model_request) as deltas:
        return StreamResult([delta async for delta in deltas])


def sdk_provider(server: ModelServer, kind: str, **options: Any) -> PydanticAIProvider:
    root = server.url if kind == "anthropic" else f"{server.url}/v1"
    options = {"api_key": "sk-very-secret-key", **options}
    return PydanticAIProvider(name="fake", kind=kind, base_url=root, **options)


class SdkCase:
    """Case of a provider's adapter, against a fake server with its wire format."""

    def __init__(self, wire_format: WireFormat) -> None:
        self.kind = wire_format.kind
        self._wire_format = wire_format

    @asynccontextmanager
    async def answering(
        self, answer: ModelAnswer, *, stream_end: str = "whole"
    ) -> AsyncIterator[Provider]:
        events = self._wire_format.events(answer)
        if stream_end != "whole":
            events = events[: -self._wire_format.trailing_event_count]
        endings = {"whole": End.WHOLE, "cut": End.CLOSE, "hang": End.HANG}
        ending = endings.get(stream_end, End.RESET)
        async with self.responding_with(
            ModelResponse(pieces=[b"".join(events)], end=ending)
        ) as provider:
            yield provider

    @asynccontextmanager
    async def failing(self, status: int, code: str, **headers: str) -> AsyncIterator[Provider]:
        answer = error_response(
            self._wire_format.error("No.", code),
            status,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        )
        async with self.responding_with(answer) as provider:
            yield provider

    @asynccontextmanager
    async def responding_with(self, response: ModelResponse) -> AsyncIterator[Provider]:
        async with model_server(response) as server:
            provider = sdk_provider(server, self.kind)
            try:
                yield provider
            finally:
                await provider.aclose()


class ScriptedCase:
    """Case of the scripted provider, with scripts that behave as the other providers do."""

    kind = "scripted"

    @asynccontextmanager
    async def answering(
        self, answer: ModelAnswer, *, stream_end: str = "whole"
    ) -> AsyncIterator[Provider]:
        steps: list[dict[str, Any]] = [{"reasoning": piece} for piece in answer.reasoning]
        steps += [{"text": piece} for piece in answer.text]
        if answer.tool_args:
            call = {"name": "weather", "args": "".join(answer.tool_args), "id": "call_7"}
            steps.append({"tool_call": call, "chunks": len(answer.tool_args)})
        usage = {"input_tokens": 11, "output_tokens": 5}
        last: dict[str, dict[str, Any]] = {
            "whole": {"finish": {"reason": answer.finish_reason, **usage}},
            "cut": {"cut": True},
            "hang": {"hang": True},
            "reset": {"error": {"transport": "reset"}},
        }
        yield ScriptedProvider(script=parse_script([*steps, last[stream_end]], key="script"))

    @asynccontextmanager
    async def failing(self, status: int, code: str, **headers: str) -> AsyncIterator[Provider]:
        wait = headers.get("retry_after")
        error = {"status": status, "code": code, "message": "No."}
        error |= {"retry_after": float(wait)} if wait else {}
        yield ScriptedProvider(script=parse_script([{"error": error}], key="script"))


ProviderCase = SdkCase | ScriptedCase
PROVIDER_CASES: tuple[ProviderCase, ...] = (
    ScriptedCase(),
    *(SdkCase(dialect) for dialect in WIRE_FORMATS),
)
