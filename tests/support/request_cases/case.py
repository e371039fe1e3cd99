"""What the requests of all dialects share."""

import base64
from collections.abc import Mapping
from typing import Any

from support.request_rules import Body

Refused = Mapping[str, Body | tuple[Body, ...]]
"""Requests that a provider refuses, by the name of the rule that says so."""

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
}


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Body:
    return {"role": "assistant", "content": content, **more}
