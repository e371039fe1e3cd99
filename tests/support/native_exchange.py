"""A chat with a provider that runs native tools: its answers, and what it is sent back."""

import json
from typing import Any

from chatd.domain.message import Message, Part, Role, public_part
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import ModelRequest, ToolSpec
from support.model_server import ModelResponse, model_server
from support.provider_cases import MODELS, collect, message, sdk_provider, text_part
from support.request_rules import DIALECTS, violations

ALL: dict[str, tuple[NativeTool, ...]] = {
    "openai": (NativeTool(kind="web_search"), NativeTool(kind="code_execution")),
    "anthropic": (
        NativeTool(kind="web_search", options={"max_uses": 3}),
        NativeTool(kind="web_fetch"),
        NativeTool(kind="code_execution"),
    ),
}
WEATHER = ToolSpec(name="weather", description="", parameters={"type": "object"})
QUESTION = message(1, Role.USER, text_part("Weather?"))
FOLLOW_UP = message(9, Role.USER, text_part("And then?"))


class Exchange:
    """Answers of one provider, and what was sent to it."""

    def __init__(self, kind: str, *answers: bytes) -> None:
        self.kind = kind
        self._responses = [ModelResponse(pieces=[answer]) for answer in answers]
        self.history: list[Message] = [QUESTION]
        self.shown: list[Part] = []
        self.bodies: list[dict[str, Any]] = []

    async def run(self, *then: Message, native_tools: tuple[NativeTool, ...] | None = None) -> None:
        """Have the answers given in turn, with ``then`` between them."""
        offered = ALL[self.kind] if native_tools is None else native_tools
        async with model_server(*self._responses) as server:
            provider = sdk_provider(server, self.kind)
            for number, _ in enumerate(self._responses):
                asked = ModelRequest(
                    model=MODELS[self.kind],
                    messages=tuple(self.history),
                    tools=(WEATHER,),
                    native_tools=offered,
                )
                answer = await collect(provider, asked)
                self.shown = [public_part(part) for part in answer.content]
                reason = answer.finished[0].reason
                stored = json.loads(json.dumps(answer.content))
                self.history.append(message(2, Role.ASSISTANT, *stored, finish_reason=reason))
                self.history += then[number : number + 1]
            await provider.aclose()
        self.bodies = [request.body for request in server.requests]
        for body in self.bodies:
            assert violations(body, DIALECTS[self.kind]) == []
