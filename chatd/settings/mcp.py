"""Section of the MCP servers, whose tools chatd offers to models."""

from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    model_validator,
)

from chatd.settings.http_types import BaseUrl, Headers, IssuerUrl
from chatd.settings.json_types import MaybeJson
from chatd.settings.tools import PermissionWord
from chatd.settings.types import NonEmptyText, Section, check_rules
from chatd.tools.mcp.names import SEPARATOR

_MAX_NAME_LENGTH = 32
"""Half of a tool's name, so that the tool's own part can be read."""


_OAUTH_KEYS = (
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_private_key",
    "oauth_issuer",
    "oauth_scope",
)


def _check_server_name(name: str) -> str:
    if SEPARATOR in name or name.endswith("_"):
        raise ValueError(f"{SEPARATOR} separates the names of a server and of its tool")
    return name


def _check_value(secret: SecretStr) -> SecretStr:
    if "\0" in secret.get_secret_value():
        raise ValueError("it has a NUL, so no variable can hold it (its value is not shown)")
    return secret


McpName = Annotated[
    str,
    StringConstraints(
        pattern=f"^[A-Za-z0-9_-]{{1,{_MAX_NAME_LENGTH}}}$", max_length=_MAX_NAME_LENGTH
    ),
    AfterValidator(_check_server_name),
]
SecretText = Annotated[SecretStr, Field(min_length=1, max_length=20_000)]
VariableName = Annotated[str, StringConstraints(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
VariableValue = Annotated[SecretStr, AfterValidator(_check_value)]


class McpServerSettings(Section):
    """An MCP server, by the name that begins the names of its tools: NAME__tool. It needs the extra mcp.

    Either command or url is required. Other keys are the same for both.
    """

    command: NonEmptyText | None = Field(None, examples=["uvx"])
    """Program that speaks MCP over its standard input and output. chatd starts it, and stops it with all
    that it started. Of chatd's environment it has only PATH, HOME and LANG."""
    args: MaybeJson[list[str]] = Field([], examples=[["mcp-server-time"]])
    """Arguments of the program."""
    env: MaybeJson[dict[VariableName, VariableValue]] = Field({})
    """Further environment variables of the program. As a file: a JSON object."""
    url: BaseUrl | None = Field(None, examples=["https://mcp.example.com/mcp"])
    """Address that speaks MCP over streamable HTTP."""
    headers: Headers = Field({})
    """Additional HTTP headers. As a file: a JSON object."""
    oauth_client_id: NonEmptyText | None = Field(None, examples=["chatd"])
    """Id with which chatd gets access tokens of OAuth, as itself (grant client_credentials). It needs
    oauth_issuer, and oauth_client_secret or oauth_private_key."""
    oauth_client_secret: SecretText | None = None
    """Secret of that client."""
    oauth_private_key: SecretText | None = None
    """Private key of that client in PEM (RSA, EC or Ed25519), which signs its assertions."""
    oauth_issuer: IssuerUrl | None = Field(None, examples=["https://login.example.com"])
    """The authorization server that knows that client, as its own metadata names it. If the MCP server
    names another, it gets nothing."""
    oauth_scope: NonEmptyText | None = Field(None, examples=["tickets:read"])
    """Scopes to ask for, with spaces between them. Not set: those that the server asks for."""
    default: bool = True
    """Offer its tools to chats that do not choose their servers. false: only to those that name it."""
    tools: MaybeJson[list[NonEmptyText]] = Field(["*"])
    """Tools that are offered, by the server's own names for them. * and ? match as in file names."""
    max_tools: PositiveInt = Field(64, le=1000)
    """Maximum tools that are offered: the first in the order of their names."""
    idempotent: MaybeJson[list[NonEmptyText]] = Field([], examples=[["read_*", "list_*"]])
    """Tools whose calls are made again, at most 3 times in all, when their worker died. A call of any
    other tool is not repeated, and its result says that its outcome is unknown."""
    permission: PermissionWord | None = Field(None, examples=["ask"])
    """Permission to run its tools, if no rule of tools.rules is about them. Not set: tools.permission."""
    read_only: MaybeJson[list[NonEmptyText]] = Field([], examples=[["get_*", "list_*"]])
    """Tools that change nothing, so a chat in the mode read_only may run them."""
    trust_hints: bool = False
    """A tool that the server itself calls read-only is one of those."""
    connect_seconds: PositiveFloat = 5
    """Time limit for starting the program or reaching the address, and for the list of tools. A program
    that is downloaded first takes longer. After a failure, the server is not tried for 30 s, then for
    twice as long each time, up to 300 s. A reload has it tried at once."""
    call_seconds: PositiveFloat = 60
    """Time limit for one call."""
    max_calls: PositiveInt = Field(8, le=1000)
    """Maximum calls that run at once. Others wait, within their time limit."""
    idle_seconds: NonNegativeFloat = 600
    """Time without a call after which the program is stopped. The next call starts it again."""

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        if (self.command is None) == (self.url is None):
            check_rules([(("command",), "either command or url is required, and not both")])
        of_url = ("headers", *_OAUTH_KEYS)
        foreign = of_url if self.url is None else ("args", "env")
        reason = "is for a server with " + ("a url" if self.url is None else "a command")
        check_rules(((key,), reason) for key in foreign if getattr(self, key))
        return self

    @model_validator(mode="after")
    def _check_oauth(self) -> Self:
        given = [key for key in _OAUTH_KEYS if getattr(self, key)]
        if given and not self.oauth_client_id:
            check_rules([((given[0],), "needs oauth_client_id")])
        if given and not self.oauth_issuer:
            check_rules([(("oauth_issuer",), "is required with oauth_client_id")])
        if given and (self.oauth_client_secret is None) == (self.oauth_private_key is None):
            reason = "needs either oauth_client_secret or oauth_private_key, and not both"
            check_rules([(("oauth_client_id",), reason)])
        if given and "authorization" in map(str.lower, self.headers):
            check_rules([(("headers",), "Authorization is set by OAuth")])
        return self
