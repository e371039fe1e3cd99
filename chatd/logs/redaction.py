"""Redaction of secrets: registered ones, and texts that look like one."""

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote

from chatd.domain.sanitize import MAX_ERROR_LENGTH, REDACTED, sanitize_error_text

_MIN_SECRET_LENGTH = 6
"""Minimum length of a registered secret. A shorter one would match parts of ordinary words."""
_MAX_WORD_LENGTH = 32
"""Characters of a text that is kept with its redacted form: an outcome, the name of a model, a reason."""
_SECRET_NAME = re.compile(
    r"(?i)(^|[_-])(api[_-]?key|authorization|cookie|credentials?|passw(or)?d|secret|token)$"
)
_known_secrets: frozenset[str] = frozenset()
_secrets_pattern: re.Pattern[str] | None = None


def register_secrets(secrets: Iterable[str]) -> None:
    """Redact these texts in all later lines.

    Earlier secrets stay redacted, because after a reload the old key may still be in use.
    """
    global _known_secrets, _secrets_pattern  # noqa: PLW0603 - one log per process
    forms = {
        form for secret in secrets for form in (secret, quote(secret, safe=""), unquote(secret))
    }
    _known_secrets |= {form for form in forms if len(form) >= _MIN_SECRET_LENGTH}
    longest_first = sorted(_known_secrets, key=len, reverse=True)
    _secrets_pattern = (
        re.compile("|".join(map(re.escape, longest_first))) if _known_secrets else None
    )
    _redact_word.cache_clear()


@lru_cache(maxsize=1024)
def is_secret_name(key: str) -> bool:
    """Return whether a field with this name holds a secret."""
    return _SECRET_NAME.search(key) is not None


def redact_secrets(text: str) -> str:
    """Return the text without secrets. The same few short words are in most lines, so they are kept.

    The length of a text of many lines, such as a traceback, is limited per line. A text that may
    contain a PEM key is cleaned as a whole, because the key has many lines.
    """
    return _redact_word(text) if len(text) <= _MAX_WORD_LENGTH else _redact(text)


def _redact(text: str) -> str:
    if _secrets_pattern is not None:
        text = _secrets_pattern.sub(REDACTED, text)
    if len(text) <= MAX_ERROR_LENGTH or "PRIVATE KEY-----" in text:
        return sanitize_error_text(text)
    return "\n".join(sanitize_error_text(line) for line in text.split("\n"))


@lru_cache(maxsize=1024)
def _redact_word(text: str) -> str:
    return _redact(text)
