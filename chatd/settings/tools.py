"""Sections of the tools that the server runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from chatd.settings.http_types import Headers
from chatd.settings.json_types import JsonTable, MaybeJson
from chatd.settings.types import NonEmptyText, Section, check_rules
from chatd.tools.arguments import InvalidSchema, argument_check
from chatd.tools.http.url_template import KEY_ARGUMENT, placeholders, template_problem

_MAX_DESCRIPTION_LENGTH = 20_000
"""As much as a client may say of a tool."""


def _check_template(url: str) -> str:
    if reason := template_problem(url):
        raise ValueError(f"must be an address such as https://api.example.com/{{city}}: {reason}")
    return url


def _check_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        argument_check(schema)
    except InvalidSchema as error:
        raise ValueError(f"must be a JSON schema: {error}") from None
    return schema


UrlTemplate = Annotated[str, AfterValidator(_check_template)]
ToolParameters = Annotated[JsonTable, AfterValidator(_check_parameters)]
ToolName = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$", max_length=64)]
"""Name that every provider takes."""


MAX_RULES = 200
"""Rules of a configuration. Each call is compared with all of them."""
PermissionWord = Literal["allow", "ask", "deny"]
ToolPattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_*?\[\]!-]{1,64}$", max_length=64)
]
"""Pattern of tool names, as of file names."""


class ToolsSettings(Section):
    """Tools that chatd runs itself when a model calls them."""

    builtin: MaybeJson[list[Literal["ask_user_question"]]] = Field(
        [], examples=[["ask_user_question"]]
    )
    """Built-in tools that chats have. "ask_user_question": the model asks its user, and the chat waits for
    the answer of POST /chats/{id}/actions. Leave it out where nobody would answer."""
    permission: PermissionWord = "allow"
    """Permission to run a tool that neither a rule nor its own section is about. "allow": it runs; "ask": a
    person is asked before each call, and the chat waits; "deny": the model reads that it may not."""
    rules: MaybeJson[dict[ToolPattern, PermissionWord]] = Field(
        {}, max_length=MAX_RULES, examples=[{"github__get_*": "allow", "github__*": "ask"}]
    )
    """Permissions by patterns of tool names, * and ? as in file names. The first that fits counts, but one
    that denies wins wherever it stands. A chat may only make them stricter."""
    approval_seconds: PositiveFloat = 86400
    """Time that people have to answer, before the call counts as not allowed."""
    parallel: PositiveInt = Field(8, le=100)
    """Maximum calls of one answer that run at once. The others follow as these end."""
    timeout_seconds: PositiveFloat = 120
    """Time limit for one call, of a tool that has none of its own."""
    output_bytes: PositiveInt = Field(64 * 1024, ge=1024, le=1024 * 1024)
    """Maximum size of a result. The middle of a longer one is left out. Never more than a third of the
    model's context_limit, at three bytes for a token."""
    keep_bytes: int = Field(1024 * 1024, ge=0, le=1024 * 1024)
    """Size up to which a longer output is kept, so that the model can read what was left out. 0: none
    is kept."""
    keep_days: PositiveFloat = 7
    """Retention of what is kept."""


class HttpToolSettings(Section):
    """A tool that is an HTTP endpoint."""

    description: Annotated[NonEmptyText, StringConstraints(max_length=_MAX_DESCRIPTION_LENGTH)]
    """Purpose of the tool, for the model."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    """Method of the request."""
    url: UrlTemplate
    """Address. {NAME} in its path or query stands for an argument, which is quoted. Other arguments are the
    query of a GET or DELETE, and else the JSON body."""
    parameters: ToolParameters = Field({"type": "object", "properties": {}})
    """JSON schema of the arguments, an object. Others are refused."""
    headers: Headers = Field({})
    """Additional HTTP headers. As a file: a JSON object."""
    policy: Literal["at_most_once", "idempotent", "reattach"] = "at_most_once"
    """Rule for a call whose worker died. "at_most_once": it is not repeated, and its result says
    that its outcome is unknown; "idempotent": it is made again, at most 3 times in all. Each try has the
    same Idempotency-Key header. "reattach": it is not repeated, and result_url is asked for its result."""
    result_url: UrlTemplate | None = Field(
        None, examples=["https://jobs.example/{idempotency_key}"]
    )
    """Address that is asked by GET for the result of a call, with its Idempotency-Key header, if another
    worker made it, its response was lost, or its response was 202. {idempotency_key} and arguments may
    stand in it. 202 means that it still runs (ask again after Retry-After), 404 and 410 that it is lost."""
    timeout_seconds: PositiveFloat | None = Field(None, examples=[10.0])
    """Time limit for one call. Not set: tools.timeout_seconds."""
    default: bool = True
    """Offer it to chats that do not choose their HTTP tools. false: only to those that name it."""
    permission: PermissionWord | None = Field(None, examples=["ask"])
    """Permission to run it, if no rule of tools.rules is about it. Not set: tools.permission."""
    read_only: bool | None = Field(None, examples=[True])
    """True if it changes nothing, so that a chat in the mode read_only may run it. Not set: it does unless
    its method is GET."""

    @model_validator(mode="after")
    def _check_placeholders(self) -> Self:
        for key, url in (("url", self.url), ("result_url", self.result_url or "")):
            if problem := self._placeholder_problem(url):
                check_rules([((key,), problem)])
        return self

    def _placeholder_problem(self, url: str) -> str | None:
        properties = self.parameters.get("properties", {})
        required = self.parameters.get("required", [])
        for name in placeholders(url):
            if name == KEY_ARGUMENT:
                continue
            if name not in properties:
                return f"parameters has no property {name!r}"
            if name not in required:
                return f"its argument {name!r} must be among the required ones of parameters"
        return None

    @model_validator(mode="after")
    def _check_result_url(self) -> Self:
        if KEY_ARGUMENT in self.parameters.get("properties", {}):
            reason = f"{KEY_ARGUMENT!r} is the name of the key of the call, and no argument"
            check_rules([(("parameters",), reason)])
        if (self.policy == "reattach") != (self.result_url is not None):
            reason = 'set both: policy = "reattach" and the result_url that it asks'
            check_rules([(("result_url",), reason)])
        return self
