"""Configuration of one MCP server, and the limits that are the same for all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from chatd.domain.permission import Permission

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
"""Size of one message of a server. An image of 5 MiB, the most that providers take, fits as base64."""
MAX_LIST_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Size of all that arrives while a server lists its tools."""
MAX_LISTED_TOOLS: Final = 10_000
"""Tools of a list that are read. Reading them all costs a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioEndpoint:
    """A program that speaks MCP over its standard input and output."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables besides PATH, HOME and LANG. It gets no others of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """Credentials of chatd itself, for access tokens: the grant ``client_credentials`` of OAuth.

    It has a ``secret`` or a ``private_key`` in PEM. Neither is sent to another server than ``issuer``.
    """

    client_id: str
    issuer: str
    secret: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """An address that speaks MCP over streamable HTTP."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: ClientCredentials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerConfig:
    """Configuration of one MCP server."""

    name: str
    endpoint: StdioEndpoint | HttpEndpoint
    default: bool = True
    """True if chats have its tools that choose no servers."""
    tools: tuple[str, ...] = ("*",)
    """Patterns of the tools that are offered, as of file names."""
    idempotent: tuple[str, ...] = ()
    """Patterns of the tools that may run again when their worker died."""
    read_only: tuple[str, ...] = ()
    """Patterns of the tools that change nothing."""
    trust_hints: bool = False
    """A tool that the server calls read-only counts as such."""
    permission: Permission | None = None
    """Of its tools, where no rule is about them."""
    max_tools: int = 64
    connect_seconds: float = 5.0
    """Time for starting the program or reaching the address, and for the list of tools."""
    call_seconds: float = 60.0
    max_calls: int = 8
    """Calls that run at once."""
    idle_seconds: float = 600.0
    """Time without a call after which a program is stopped."""

    @property
    def identity(self) -> str:
        """Hash by which the server differs from another one that is configured under its name.

        Keys may be replaced. The address, or the command, may not.
        """
        match self.endpoint:
            case StdioEndpoint(command=command, args=args):
                place = [command, *args]
            case HttpEndpoint(url=url):
                place = [url]
        text = json.dumps([self.name, *place])
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
