"""URL templates: ``{name}`` in the path or the query stands for an argument, quoted."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
KEY_ARGUMENT = "idempotency_key"
"""Name that stands for the key of the call."""
_NO_SEGMENTS = frozenset({"", ".", ".."})
"""Values that would make another path of the template."""


class BadUrlArgument(Exception):
    """A value cannot stand in the URL. The message says why, for the model."""


def placeholders(template: str) -> tuple[str, ...]:
    """Return the names of the arguments that a template takes, in their order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))


def template_problem(template: str) -> str | None:
    """Return why a text is no URL template. None: it is one."""
    if not template.isprintable() or " " in template or "\\" in template:
        return "it has a character that no URL has"
    if "{" in _PLACEHOLDER.sub("", template) or "}" in _PLACEHOLDER.sub("", template):
        return "a brace is not closed"
    for name in placeholders(template):
        if not _NAME.fullmatch(name):
            return f"{{{name}}} is not the name of an argument"
    try:
        parts = urlsplit(template)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not host:
        return "it must have http:// or https:// and a host"
    if "{" in parts.netloc:
        return "an argument may stand in the path and the query only"
    return "it must not have a fragment" if "#" in template else None


def expand(template: str, args: Mapping[str, Any]) -> str:
    """Return the URL of a call. Raise ``BadUrlArgument``.

    Every value is quoted as one segment, so it adds no segment, no query and no fragment.
    """
    path, question_mark, query = template.partition("?")
    return (
        _PLACEHOLDER.sub(lambda match: _quoted(match[1], args, in_path=True), path)
        + question_mark
        + _PLACEHOLDER.sub(lambda match: _quoted(match[1], args, in_path=False), query)
    )


def _quoted(name: str, args: Mapping[str, Any], *, in_path: bool) -> str:
    value = args.get(name)
    match value:
        case bool():
            text = "true" if value else "false"
        case str() | int() | float():
            text = str(value)
        case _:
            raise BadUrlArgument(
                f"{name}: it must be text or a number, because it is part of a URL"
            )
    if in_path and text in _NO_SEGMENTS:
        raise BadUrlArgument(f"{name}: {text!r} cannot be a part of a path")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BadUrlArgument(f"{name}: it has half of a surrogate pair") from None
