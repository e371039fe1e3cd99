"""What a model provider is to the rest of the house: a stream of deltas, ended by ``Finished``."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatd.domain.chat import Usage
from chatd.domain.message import Message, Part


@dataclass(frozen=True, slots=True)
class PartDelta:
    """A piece of the answer, shaped as in ``domain.message``: ``index``, ``type``, and the piece.

    The last fragment of a part may carry ``provider``: what its vendor wants back with it (an id, a
    signature). It is opaque, it is stored with the part, and only that vendor is ever sent it.
    """

    part: Part


@dataclass(frozen=True, slots=True)
class Finished:
    """The model said that it is done, and why. A stream that ends without it was cut."""

    reason: str
    """``stop``, ``length``, ``tool_call_delta``, ``content_filter`` or the provider's own word."""
    usage: Usage


Delta = PartDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool the model may call. ``key_arguments`` is a JSON schema of type ``object``."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of one model: the whole history, oldest first."""

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()


class Provider(Protocol):
    """A vendor's API, or something that behaves like one."""

    @property
    def name(self) -> str:
        """The name it was configured under."""
        ...

    async def warm(self) -> None:
        """Do what is slow and needed once (imports), off the event loop, before the first call."""
        ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Call the model. Leaving the context closes the vendor's connection.

        Raises whatever the vendor's library raises; ``classify`` turns that into a ``Failure``.
        """
        ...

    async def aclose(self) -> None:
        """Close connections that are kept between calls."""
        ...
