"""Sanitizers of foreign text, so that it can be stored, logged and shown."""

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
"""Text that replaces a secret, wherever it is shown or written."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what a terminal executes or hides, or what changes how other text is shown.

They are controls, formats (of direction and of zero width), surrogates, and separators of lines.
"""
_FRAGMENT_KEYS = frozenset({"index", "type", "text"})
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SECRET_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.VERBOSE | re.DOTALL)
    for pattern in (
        r"()-----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*-----|\Z)",
        r"""((?:api[-_ ]?key|(?:access|refresh|auth|id)[-_]token|secret|passwd|password|authorization)
             ["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?)
            [^\s"',;&}]{6,}""",
        r"(\b(?:bearer|basic)\s+)(?=\S*\d)[\w.~+/\-]{8,}=*",
        r"([?&](?:key|token|sig|signature)=)[^&\s\"']+",
        r"(://)[^/\s:@]*:[^/\s@]+(?=@)",
        r"""()\b(?:(?:sk|pk|rk)[-_][\w\-*]{8,} | gh[pousr]_\w{16,} | github_pat_\w{16,}
             | (?:key|tok|hf|glpat)[-_](?=\S*\d)[\w\-]{16,} | xox[a-z]-[\w\-]{8,}
             | AKIA[0-9A-Z]{12,} | AIza[\w\-]{20,} | eyJ[\w\-]{8,}\.[\w\-]{4,}(?:\.[\w\-]*)?)""",
    )
)
"""Patterns of secrets. Group 1 is the text before the secret, which is kept."""

MAX_ERROR_LENGTH = 2_000
"""Characters of an error text that are kept."""
_MAX_SCANNED_LENGTH = 4 * MAX_ERROR_LENGTH
"""Characters of an error text that are searched for secrets. The rest is dropped."""


def replace_unstorable(text: str) -> str:
    """Replace characters that PostgreSQL cannot hold in text or jsonb: NUL and lone surrogates."""
    if "\0" not in text and (text.isascii() or _is_unicode(text)):
        return text
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _is_unicode(text: str) -> bool:
    """Return whether there is no lone surrogate. The pattern would take 10 ms for a million characters.

    Callers ask ``isascii`` first, which most texts are.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_storable_fragment(delta: Mapping[str, Any]) -> bool:
    """Return True for a delta of nothing but storable text, which needs no change. Most deltas are one."""
    text = delta.get("text")
    return (
        delta.keys() == _FRAGMENT_KEYS
        and isinstance(text, str)
        and isinstance(delta["index"], int)
        and delta["type"] in ("text", "reasoning")
        and "\0" not in text
        and (text.isascii() or _is_unicode(text))
    )


def visible(text: str, *, keep: str = "") -> str:
    """Return text for a terminal: with marks such as ``\\x1b`` and ``\\u202e`` for hidden characters.

    Those in ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        or character in keep
        or unicodedata.category(character) not in _HIDDEN_CATEGORIES
        else ascii(character)[1:-1]
        for character in text
    )


def sanitize_error_text(text: str) -> str:
    """Return an error text fit to be stored and shown: storable, bounded, and without secrets."""
    if len(text) > _MAX_SCANNED_LENGTH:
        # Cut at a space, so that no half of a secret is left unrecognised.
        text = text[:_MAX_SCANNED_LENGTH].rpartition(" ")[0] or text[:MAX_ERROR_LENGTH]
    text = replace_unstorable(text)
    for secret in _SECRET_PATTERNS:
        text = secret.sub(rf"\1{REDACTED}", text)
    return text[:MAX_ERROR_LENGTH]


def replace_unstorable_json(value: Any) -> Any:
    """Apply ``replace_unstorable`` to every string in a JSON value; replace NaN and infinity by null."""
    kind = type(value)  # first, since ``Mapping`` is looked up by a call
    if kind is str:
        return replace_unstorable(value)
    if kind is dict:
        return {replace_unstorable(str(k)): replace_unstorable_json(v) for k, v in value.items()}
    match value:
        case str():
            return replace_unstorable(value)
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {
                replace_unstorable(str(k)): replace_unstorable_json(v) for k, v in value.items()
            }
        case list() | tuple():
            return [replace_unstorable_json(v) for v in value]
        case _:
            return value
