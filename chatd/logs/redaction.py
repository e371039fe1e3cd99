"""What must never be written, wherever it turns up: secrets that are known, and what looks like one."""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from chatd.domain.sanitize import MAX_ERROR_LENGTH, REDACTED, sanitize_error_text

_MIN_SECRET_LENGTH = 6
"""Characters of a secret that is looked for everywhere: a shorter one would be found in any word."""
_SECRET_NAME = re.compile(
    r"(?i)(^|[_-])(api[_-]?key|authorization|cookie|credentials?|passw(or)?d|secret|token)$"
)
_known_secrets: frozenset[str] = frozenset()
_secrets_pattern: re.Pattern[str] | None = None


def register_secrets(secrets: Iterable[str]) -> None:
    """Replace these, from now on, also where nothing around them tells what they are.

    What was hidden before stays hidden: after a reload the old key may still be in use.
    """
    global _known_secrets, _secrets_pattern  # noqa: PLW0603 - the log is one for the process
    spelt = {form for one in secrets for form in (one, quote(one, safe=""), unquote(one))}
    _known_secrets |= {form for form in spelt if len(form) >= _MIN_SECRET_LENGTH}
    longest_first = sorted(_known_secrets, key=len, reverse=True)
    _secrets_pattern = (
        re.compile("|".join(map(re.escape, longest_first))) if _known_secrets else None
    )


def is_secret_name(key: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_NAME.search(key) is not None


def redact_secrets(text: str) -> str:
    """The text, without secrets; one of many lines, such as a traceback, is bounded per line only.

    Unless a key in PEM form may be in it: that is many lines, and can be seen only as a whole.
    """
    if _secrets_pattern is not None:
        text = _secrets_pattern.sub(REDACTED, text)
    if len(text) <= MAX_ERROR_LENGTH or "PRIVATE KEY-----" in text:
        return sanitize_error_text(text)
    return "\n".join(sanitize_error_text(line) for line in text.split("\n"))
