"""Every provider behind one handle, so that the suite need not know which one it is trying."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from dialects import DIALECTS, Dialect, Said
from fake_vendor import Answer, Ending, FakeVendor, fake_vendor

from chatd.domain.message import Content, Message, Part, Role, fold
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.llm.pydantic_ai import PydanticAIProvider
from chatd.llm.script import parse_script
from chatd.llm.scripted import ScriptedProvider

CHAT = UUID("00000000-0000-4000-8000-000000000001")
MODELS = {"openai": "gpt-5.2", "anthropic": "claude-opus-5"}


def message(number: int, role: Role, *parts: Part) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=number,
        role=role,
        content=parts,
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def text(words: str) -> Part:
    return {"type": "text", "text": words}


QUESTION = (message(1, Role.SYSTEM, text("Be brief.")), message(2, Role.USER, text("Well?")))


def request(kind: str, *more: Message, **options: Any) -> ModelRequest:
    return ModelRequest(model=MODELS.get(kind, "fake"), messages=(*QUESTION, *more), **options)


@dataclass(frozen=True)
class Heard:
    deltas: list[Delta]

    @property
    def fragments(self) -> list[Part]:
        return [delta.part for delta in self.deltas if isinstance(delta, PartDelta)]

    @property
    def content(self) -> Content:
        return fold(self.fragments)

    @property
    def finished(self) -> list[Finished]:
        return [delta for delta in self.deltas if isinstance(delta, Finished)]


async def listen(provider: Provider, asked: ModelRequest) -> Heard:
    async with provider.stream(asked) as deltas:
        return Heard([delta async for delta in deltas])


def vendor_provider(vendor: FakeVendor, kind: str, **options: Any) -> PydanticAIProvider:
    root = vendor.url if kind == "anthropic" else f"{vendor.url}/v1"
    options = {"api_key": "sk-very-secret-key", **options}
    return PydanticAIProvider(name="fake", kind=kind, base_url=root, **options)


class Vendor:
    """A vendor's adapter against a fake vendor that speaks its dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.kind = dialect.kind
        self._dialect = dialect

    @asynccontextmanager
    async def says(self, said: Said, *, end: str = "whole") -> AsyncIterator[Provider]:
        events = self._dialect.events(said)
        if end != "whole":
            events = events[: -self._dialect.farewell]
        endings = {"whole": Ending.CHUNKED, "cut": Ending.CLOSE, "hang": Ending.HANG}
        ending = endings.get(end, Ending.RESET)
        async with self.answers(Answer(b"".join(events), ending=ending)) as provider:
            yield provider

    @asynccontextmanager
    async def fails(self, status: int, code: str, **headers: str) -> AsyncIterator[Provider]:
        answer = Answer(self._dialect.error("No.", code), status=status)
        answer.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.answers(answer) as provider:
            yield provider

    @asynccontextmanager
    async def answers(self, answer: Answer) -> AsyncIterator[Provider]:
        async with fake_vendor(answer) as vendor:
            provider = vendor_provider(vendor, self.kind)
            try:
                yield provider
            finally:
                await provider.aclose()


class Scripted:
    """The scripted provider, told to behave as the vendors do."""

    kind = "scripted"

    @asynccontextmanager
    async def says(self, said: Said, *, end: str = "whole") -> AsyncIterator[Provider]:
        steps: list[dict[str, Any]] = [{"reasoning": piece} for piece in said.reasoning]
        steps += [{"text": piece} for piece in said.text]
        if said.tool_args:
            call = {"name": "weather", "args": "".join(said.tool_args), "id": "call_7"}
            steps.append({"tool_call": call, "chunks": len(said.tool_args)})
        usage = {"input_tokens": 11, "output_tokens": 5}
        last: dict[str, dict[str, Any]] = {
            "whole": {"finish": {"reason": said.reason, **usage}},
            "cut": {"cut": True},
            "hang": {"hang": True},
            "reset": {"error": {"transport": "reset"}},
        }
        yield ScriptedProvider(script=parse_script([*steps, last[end]], key="script"))

    @asynccontextmanager
    async def fails(self, status: int, code: str, **headers: str) -> AsyncIterator[Provider]:
        wait = headers.get("retry_after")
        error = {"status": status, "code": code, "message": "No."}
        error |= {"retry_after": float(wait)} if wait else {}
        yield ScriptedProvider(script=parse_script([{"error": error}], key="script"))


Subject = Vendor | Scripted
SUBJECTS: tuple[Subject, ...] = (Scripted(), *(Vendor(dialect) for dialect in DIALECTS))
