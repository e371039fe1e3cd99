"""Protocol of model providers: a stream of deltas, ended by ``Finished``."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatd.domain.chat import Usage
from chatd.domain.files import ReadFiles, read_no_files
from chatd.domain.message import Message, Part
from chatd.domain.outcomes import CallPurpose
from chatd.llm.native_tools import NativeTool


@dataclass(frozen=True, slots=True)
class PartDelta:
    """Streamed piece of a response, shaped as in ``domain.message``: ``index``, ``type`` and the piece.

    The last delta of a part may carry ``provider``: data that the provider wants back with the part (an id,
    a signature). It is opaque, it is stored with the part, and only that provider is ever sent it. A
    part of type ``file`` comes whole, with ``media_type`` and ``data``, its bytes.
    """

    part: Part


@dataclass(frozen=True, slots=True)
class Finished:
    """End of a response, with its reason. A stream that ends without it was truncated."""

    reason: str
    """``stop``, ``length``, ``tool_call``, ``content_filter`` or the provider's own word."""
    usage: Usage


Delta = PartDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool that the model may call. ``parameters`` is a JSON schema of type ``object``."""

    name: str
    description: str
    parameters: Mapping[str, Any]


def _ignore_bytes() -> None:
    """Do nothing: the caller does not ask when bytes arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of one model. ``messages`` is the whole history, oldest first.

    ``on_bytes`` is called whenever bytes of the response arrive, also those of no delta: a comment that
    keeps the connection open, or an event that says that the model is thinking. ``read_files`` returns
    bytes of the files that the messages refer to.
    """

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()
    native_tools: Sequence[NativeTool] = ()
    purpose: CallPurpose = CallPurpose.ANSWER
    on_bytes: Callable[[], None] = field(default=_ignore_bytes, repr=False, compare=False)
    read_files: ReadFiles = field(default=read_no_files, repr=False, compare=False)


class Provider(Protocol):
    """The API of a provider, or a stand-in for one."""

    @property
    def name(self) -> str:
        """The name under which it is configured."""
        ...

    async def warm(self) -> None:
        """Do the slow work that is needed once (imports), off the event loop, before the first call."""
        ...

    def file_refusal(self, part: Part) -> str | None:
        """Return why no model of this provider takes a file part, naming its media type. None: it may."""
        ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Call the model. Leaving the context closes the connection.

        Raise whatever the SDK raises. ``classify`` turns that into a ``Failure``.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections that are kept between calls."""
        ...
