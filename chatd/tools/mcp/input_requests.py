"""Requests of tools for the input of a person, as MCP has had them since 2026-07-28.

A call may end with requests instead of a result. It is made again with the responses and a state that only
the server can read. So nothing has to be kept meanwhile but what is here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatd.domain.question import Question, QuestionKind
from chatd.tools.mcp.config import McpServerConfig
from chatd.tools.mcp.input_schema import Unaskable, form_schema
from chatd.tools.tool import GivenInput, InputNeeded, ToolOutcome

MAX_STATE_BYTES: Final = 64 * 1024
"""Size of the state of a server. It is stored with the call."""
MAX_REQUESTS: Final = 8
"""Forms of one question."""
MAX_MESSAGE_LENGTH: Final = 4000
"""Characters of what a person reads of one form. A longer text is cut."""
_MAX_KEY_LENGTH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """Data that a server gets with the answer: its state, and the keys of its requests, in their order."""

    server: str
    keys: Sequence[str]
    state: str | None

    @classmethod
    def read(cls, stored: bytes) -> "Continuation":
        """Return what ``to_bytes`` made."""
        return cls(**json.loads(stored))

    def to_bytes(self) -> bytes:
        """Return it in ASCII, so that any text of a server can be stored and comes back as it was."""
        return json.dumps({"server": self.server, "keys": self.keys, "state": self.state}).encode()


def is_input_required(raw: Mapping[str, Any]) -> bool:
    """Return whether the result of ``tools/call`` asks for input."""
    return raw.get("resultType") == "input_required"


def state_alone(raw: Mapping[str, Any]) -> str | None:
    """Return the state of a server that only wants to be called again. None: it asks a person."""
    return raw.get("requestState") if not raw.get("inputRequests") else None


def needed_input(raw: Mapping[str, Any], config: McpServerConfig) -> ToolOutcome:
    """Return what a tool asks, or an error if nobody can be asked that."""
    requests, state = raw["inputRequests"], raw.get("requestState")
    try:
        _check_sizes(requests, state)
        question = _question([_form(request) for request in requests.values()])
    except Unaskable as error:
        return ToolOutcome(
            text=f"The tool asks for input in a way that this server does not support: {error}. "
            "It may have had effects.",
            is_error=True,
        )
    continuation = Continuation(server=config.identity, keys=list(requests), state=state)
    return ToolOutcome(needs=InputNeeded(question=question, continuation=continuation.to_bytes()))


def is_for(given: GivenInput, config: McpServerConfig) -> bool:
    """Return whether it is this server that asked for an input."""
    return Continuation.read(given.continuation).server == config.identity


def responses(given: GivenInput) -> tuple[Mapping[str, Mapping[str, Any]], str | None]:
    """Return the responses to the requests of a server, by their keys, and its state."""
    continuation = Continuation.read(given.continuation)
    answer: dict[str, Any] = {"action": given.decision}
    if given.decision != "accept":
        return dict.fromkeys(continuation.keys, answer), continuation.state
    if len(continuation.keys) == 1:
        contents = [given.content]
    else:
        contents = [given.content[str(n)] for n, _ in enumerate(continuation.keys, 1)]
    return {
        key: {**answer, "content": content}
        for key, content in zip(continuation.keys, contents, strict=True)
    }, continuation.state


def _check_sizes(requests: Mapping[str, Any], state: str | None) -> None:
    if state is not None and len(json.dumps(state)) > MAX_STATE_BYTES:
        raise Unaskable(f"its state has more than {MAX_STATE_BYTES // 1024} KiB")
    if len(requests) > MAX_REQUESTS or any(len(key) > _MAX_KEY_LENGTH for key in requests):
        raise Unaskable(f"it has more than {MAX_REQUESTS} requests, or keys that are too long")


def _form(request: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the message and the schema of one request."""
    match request:
        case {
            "method": "elicitation/create",
            "params": {"message": str(message), "requestedSchema": schema},
        }:
            return _shown(message), form_schema(schema)
        case {"method": "elicitation/create"}:
            raise Unaskable("it sends the person to an address")
    raise Unaskable("it asks for something else than a form")


def _question(forms: Sequence[tuple[str, Mapping[str, Any]]]) -> Question:
    """Return one question of all forms. Of several, each is a property, by its number."""
    if len(forms) == 1:
        [(message, schema)] = forms
        return Question(kind=QuestionKind.INPUT, message=message, schema=schema)
    numbered = {str(n): form for n, form in enumerate(forms, 1)}
    return Question(
        kind=QuestionKind.INPUT,
        message="\n".join(f"{n}. {message}" for n, (message, _) in numbered.items()),
        schema={
            "type": "object",
            "properties": {
                n: {**schema, "title": message} for n, (message, schema) in numbered.items()
            },
            "required": list(numbered),
            "additionalProperties": False,
        },
    )


def _shown(message: str) -> str:
    return (
        message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[: MAX_MESSAGE_LENGTH - 1]}…"
    )
