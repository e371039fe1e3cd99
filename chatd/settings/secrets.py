"""Secrets of the settings: listed for the log to redact, and database URLs to show without them."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr

from chatd.domain.sanitize import REDACTED
from chatd.settings.keys import setting_values
from chatd.settings.settings import Settings
from chatd.store.database_url import split


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
    parts = split(url)
    if password := parts.login.partition(":")[2]:
        yield password
        yield unquote(password)
    for name, value in parse_qsl(parts.query):
        if "pass" in name:  # password, sslpassword, passfile
            yield value


def redact_url(url: str) -> str:
    """Return a database URL without its password, or nothing of it if it is not plainly a URL.

    A password with an unquoted ``/``, ``?`` or ``#`` lands outside the part that holds the login.
    An ``@`` anywhere else therefore hides everything. The query may hold secrets too.
    """
    parts = split(url)
    if not parts.has_hosts or "@" in parts.path + parts.query + parts.fragment:
        return REDACTED
    user, colon, _ = parts.login.partition(":")
    password = f":{REDACTED}" if colon else ""
    at = "@" if parts.login else ""
    query = f"?{REDACTED}" if parts.query else ""
    return f"{parts.scheme}://{user}{password}{at}{parts.hosts}{parts.path}{query}"
