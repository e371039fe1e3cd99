"""The bodies of requests as they would go out, without a network."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx2

from chatd.domain.files import ReadFiles
from chatd.domain.message import Message
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import ModelRequest, ToolSpec
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.llm.vendors.anthropic import connect_anthropic
from chatd.llm.vendors.client import ProviderClient, ProviderEndpoint
from chatd.llm.vendors.history_rules import HistoryRules
from chatd.llm.vendors.openai import connect_compatible, connect_openai
from chatd.llm.vendors.wire.http import NormalizerFactory, NormalizingClient
from support.files import read_files
from support.provider_cases import MODELS
from support.request_rules import DIALECTS, violations


class _Endpoint(ProviderEndpoint):
    """Endpoint whose requests end in ``handle``."""

    def http_client(self, normalizer: NormalizerFactory) -> NormalizingClient:
        return NormalizingClient(normalizer=normalizer, transport=httpx2.MockTransport(_refuse))


_bodies: list[bytes] = []


def _refuse(request: httpx2.Request) -> httpx2.Response:
    _bodies.append(request.content)
    return httpx2.Response(400, json={"error": {"message": "captured", "type": "invalid"}})


CONNECTORS = {
    "openai": connect_openai,
    "anthropic": connect_anthropic,
    "openai-compatible": connect_compatible,
    "mistral": connect_compatible,
}


class CapturingProvider:
    """Provider of one kind whose requests are captured."""

    def __init__(self, kind: str, *, name: str, model: str | None = None) -> None:
        self.kind, self.name = kind, name
        self.model = model or MODELS.get(kind, "fake")
        self.file_types = rules_of(kind).file_types
        self._client = self._connect()

    def _connect(self) -> ProviderClient:
        endpoint = _Endpoint(
            name=self.name,
            rules=rules_of(self.kind),
            base_url="http://provider.test/v1",
            api_key="k",
            headers={},
            connect_seconds=1,
        )
        return CONNECTORS[self.kind](endpoint)

    async def body(
        self,
        messages: Sequence[Message],
        *,
        tools: tuple[ToolSpec, ...] = (),
        native_tools: tuple[NativeTool, ...] = (),
        read_files: ReadFiles = read_files,
        **settings: Any,
    ) -> dict[str, Any]:
        """Return the body of the request for this history. Raise what the client raises before it."""
        request = ModelRequest(
            model=self.model,
            messages=tuple(messages),
            tools=tools,
            native_tools=native_tools,
            settings=settings,
            read_files=read_files,
        )
        _bodies.clear()
        try:
            async with self._client.call(request):
                pass
        except Exception:
            if not _bodies:
                raise
        body: dict[str, Any] = json.loads(_bodies[0])
        return body

    async def aclose(self) -> None:
        await self._client.aclose()


def rules_of(kind: str) -> HistoryRules:
    """Return the facts of a kind about histories."""
    return PROVIDER_KINDS[kind].history


_TOOL = ToolSpec(name="any", description="", parameters={"type": "object"})


async def request_breaches(
    histories: Iterable[Sequence[Message]],
    *,
    kinds: Sequence[str] = ("openai", "anthropic", "openai-compatible"),
    provider: str = "p",
) -> list[str]:
    """Return the rules of the APIs that requests for these histories break.

    ``provider`` is the name of the provider that the answers came from.
    """
    breaches = []
    for kind in kinds:
        capturing = CapturingProvider(kind, name=provider)
        for history in histories:
            body = await capturing.body(history, tools=(_TOOL,))
            breaches += [f"{kind}: {breach}" for breach in violations(body, DIALECTS[kind])]
        await capturing.aclose()
    return breaches
