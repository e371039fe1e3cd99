"""Secret values of the configuration, for the log to redact."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

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
