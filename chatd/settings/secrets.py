"""Secrets of the settings: listed for the log to redact, and database URLs to show without them."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from chatd.domain.sanitize import REDACTED
from chatd.settings.keys import setting_values
from chatd.settings.settings import Settings


def secret_values(settings: Settings) -> Iterator[str]:
    """Yield every secret value, and of a URL also its secret parts alone."""
    for _, value in setting_values(settings):
        for secret in value.values() if isinstance(value, dict) else (value,):
            if isinstance(secret, SecretStr):
                text = secret.get_secret_value()
                yield text
                if "://" in text:
                    yield from _url_secrets(text)


def _url_secrets(url: str) -> Iterator[str]:
    """Yield the password of a URL, and query values with a name like ``password``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    login, _, _ = parts.netloc.rpartition("@")
    if password := login.partition(":")[2]:
        yield password
    for name, value in parse_qsl(parts.query):
        if "pass" in name:  # password, sslpassword, passfile
            yield value


def redact_url(url: str) -> str:
    """Return a database URL without its password, or nothing of it if it is not plainly a URL.

    A password with an unquoted ``/``, ``?`` or ``#`` lands outside the part that holds the login.
    An ``@`` anywhere else therefore hides everything. The query may hold secrets too.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    if "@" in parts.path + parts.query + parts.fragment:
        return REDACTED
    login, at, host = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    password = f":{REDACTED}" if colon else ""
    query = f"?{REDACTED}" if parts.query else ""
    return f"{parts.scheme}://{user}{password}{at}{host}{parts.path}{query}"
