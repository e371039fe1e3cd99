"""Providers that a test directs, and catalogs made of them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import anyio
import anyio.lowlevel

from chatd.domain.chat import Usage
from chatd.domain.message import Part
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.llm.scripted.script import parse_script

ProviderFunction = Callable[[ModelRequest], AsyncIterator[Delta]]


ECHO_SCRIPT = [{"text": "You said: {message}", "chunks": 4}]


class FunctionProvider:
    """Provider whose deltas a function yields. ``requests`` holds the requests so far."""

    name = "acted"

    def __init__(
        self,
        respond: ProviderFunction,
        *,
        refuse_file: Callable[[Part], str | None] = lambda _: None,
    ) -> None:
        self.respond = respond
        self.refuse_file = refuse_file
        self.requests: list[ModelRequest] = []

    async def warm(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def file_refusal(self, part: Part) -> str | None:
        return self.refuse_file(part)

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        self.requests.append(request)
        return aclosing(self.respond(request))  # type: ignore[type-var]


def text_delta(text: str, index: int = 0) -> PartDelta:
    return PartDelta({"index": index, "type": "text", "text": text})


def finished(reason: str = "stop") -> Finished:
    return Finished(reason, Usage(input_tokens=1, output_tokens=1))


def tool_call_delta(name: str, call_id: str, args: str = "{}", index: int = 0) -> PartDelta:
    return PartDelta(
        {
            "index": index,
            "type": "tool-call",
            "tool_call_id": call_id,
            "tool_name": name,
            "args": args,
        }
    )


class HeldProvider(FunctionProvider):
    """Provider whose calls last until ``go`` is set, and are counted."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.running_count = self.max_running_count = 0
        self.go = anyio.Event()

    async def _hold(self, _: ModelRequest) -> AsyncIterator[Delta]:
        self.running_count += 1
        self.max_running_count = max(self.max_running_count, self.running_count)
        try:
            await self.go.wait()
        finally:
            self.running_count -= 1
        yield text_delta("done")
        yield finished()


def last_user_text(request: ModelRequest) -> str:
    """Return the text of the last user message."""
    last = [m for m in request.messages if m.role == "user"][-1]
    return "".join(part.get("text", "") for part in last.content)


def catalog(
    provider: Provider, *models: str, title_model: str | None = None, **options: Any
) -> Catalog:
    """Return a catalog of one provider, with the models ``one`` (the default) and ``two``, or as named.

    ``title_model`` writes the titles of the first one's chats. ``options`` are fields of each model.
    """
    names = models or ("one", "two")
    return Catalog(
        models=[
            ModelConfig(
                name=name,
                provider="p",
                model=f"m-{name}",
                default=name == names[0],
                title_model=title_model if name == names[0] else None,
                **options,
            )
            for name in names
        ],
        providers={"p": provider},
    )


def scripted(
    script: Sequence[Mapping[str, Any]] = ECHO_SCRIPT,
    **scripts: Sequence[Mapping[str, Any]],
) -> ScriptedProvider:
    return ScriptedProvider(
        script=parse_script(script, key="script"),
        scripts={
            name.replace("_", "-"): parse_script(steps, key=name) for name, steps in scripts.items()
        },
    )
