"""The vendors, through pydantic-ai's model classes (no Agent), imported when first needed.

Importing a vendor's SDK takes about a second of CPU, so nothing here is imported with the module:
``connection`` and its neighbours are loaded by name, in a worker thread, at ``warm()`` or at the
first call.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread

from chatd.llm.errors import ProviderConfigError
from chatd.llm.provider import Delta, ModelRequest

if TYPE_CHECKING:
    from chatd.llm.vendors.client import ProviderClient

CONNECTORS = {
    "openai": ("chatd.llm.vendors.openai", "connect_openai"),
    "openai-compatible": ("chatd.llm.vendors.openai", "connect_compatible"),
    "anthropic": ("chatd.llm.vendors.anthropic", "connect_anthropic"),
}
"""The kinds of provider, and where each one's connector stands."""

_KINDS_WITHOUT_KEY = frozenset({"openai-compatible"})


class PydanticAIProvider:
    """A vendor's API.

    ``kind`` is a key of ``CONNECTORS``; ``connect_seconds`` bounds the opening of a connection.
    Raises ``ProviderConfigError`` when the vendor could not possibly be reached with what is given.
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
        if not api_key and kind not in _KINDS_WITHOUT_KEY:
            raise ProviderConfigError(f"providers.{name}.api_key", f"kind {kind!r} needs a key")
        if not base_url and kind == "openai-compatible":
            raise ProviderConfigError(
                f"providers.{name}.base_url", f"kind {kind!r} needs an address"
            )
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

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        connection = await self._get_client()
        async with connection.call(request) as deltas:
            yield deltas

    async def aclose(self) -> None:
        connection, self._client = self._client, None
        if connection is not None:
            await connection.aclose()

    async def _get_client(self) -> "ProviderClient":
        if self._client is None:
            async with self._client_lock:
                if self._client is None:
                    self._client = await anyio.to_thread.run_sync(
                        self._create_client, abandon_on_cancel=True
                    )
        return self._client

    def _create_client(self) -> "ProviderClient":
        reach = import_module("chatd.llm.vendors.client").ProviderEndpoint(
            name=self._name,
            base_url=self._base_url,
            api_key=self._api_key,
            headers=self._headers,
            connect_seconds=self._connect_seconds,
        )
        module, connector = CONNECTORS[self._kind]
        connect = cast(
            "Callable[[object], ProviderClient]", getattr(import_module(module), connector)
        )
        return connect(reach)
