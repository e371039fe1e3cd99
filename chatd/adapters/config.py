"""Configuration of the adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from chatd.api.adapter import Adapter
from chatd.api.scope import ADAPTER


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """Values of the settings. ``system_prompt`` and ``tools`` are for requests that have none."""

    enabled: Sequence[str] = ()
    expire_minutes: float = 30
    """Time after which the chat of a request that keeps none is deleted."""
    system_prompt: str = ""
    tools: Sequence[Mapping[str, Any]] = ()
    trust_system: bool = True
    """True to take the system prompt of a request."""

    @property
    def expires_in_seconds(self) -> float:
        """The same time, as the store takes it."""
        return self.expire_minutes * 60

    def system_prompt_of(self, given: str | None) -> str | None:
        """Return the system prompt of a new chat whose request has ``given``."""
        return (self.trust_system and given) or self.system_prompt or None


async def adapter_config(request: Request) -> AdapterConfig:
    """Return the configuration that the adapter of this path was built with."""
    adapter: Adapter = request.scope[ADAPTER]
    assert isinstance(adapter.config, AdapterConfig)  # noqa: S101 - ``registry`` puts it there
    return adapter.config


Config = Annotated[AdapterConfig, Depends(adapter_config)]
