"""A provider over pydantic-ai's model classes (no Agent), which are imported when first needed.

Importing an SDK takes about a second of CPU, so none is imported with this module: ``client`` and the
connectors are loaded by name, in a worker thread, at ``warm()`` or at the first call.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread

from chatd.domain.message import Part
from chatd.llm.provider import Delta, ModelRequest
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.llm.vendors.files import refusal

if TYPE_CHECKING:
    from chatd.llm.vendors.client import ProviderClient
_PACKAGE = "chatd.llm.vendors"


class PydanticAIProvider:
    """A provider whose API is called through its SDK.

    ``kind`` is a key of ``PROVIDER_KINDS`` that has a connector. ``connect_seconds`` bounds the opening of
    a connection.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        base_url: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        connect_seconds: float = 5.0,
    ) -> None:
        self._name = name
        self._kind = kind
        self._base_url = base_url
        self._api_key = api_key
        self._headers = dict(headers or {})
        self._connect_seconds = connect_seconds
        self._client_lock = anyio.Lock()
        self._client: ProviderClient | None = None

    @property
    def name(self) -> str:
        return self._name

    async def warm(self) -> None:
        await self._get_client()

    def file_refusal(self, part: Part) -> str | None:
        return refusal(part, file_types=PROVIDER_KINDS[self._kind].history.file_types)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        client = await self._get_client()
        async with client.call(request) as deltas:
            yield deltas

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _get_client(self) -> "ProviderClient":
        if self._client is None:
            async with self._client_lock:
                if self._client is None:
                    self._client = await anyio.to_thread.run_sync(
                        self._create_client, abandon_on_cancel=True
                    )
        return self._client

    def _create_client(self) -> "ProviderClient":
        kind = PROVIDER_KINDS[self._kind]
        endpoint = import_module(f"{_PACKAGE}.client").ProviderEndpoint(
            name=self._name,
            rules=kind.history,
            base_url=self._base_url or kind.base_url,
            takes_max_completion_tokens=kind.takes_max_completion_tokens,
            api_key=self._api_key,
            headers=self._headers,
            connect_seconds=self._connect_seconds,
        )
        module, _, function = (kind.connector or "").partition(":")
        connect = cast(
            "Callable[[object], ProviderClient]",
            getattr(import_module(f"{_PACKAGE}.{module}"), function),
        )
        return connect(endpoint)
