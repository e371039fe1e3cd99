"""The secrets that are configured, for those who must keep them out of what they write."""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, SecretStr

from chatd.settings.settings import Settings


def secret_values(settings: Settings) -> Iterator[str]:
    """Every secret value; of a URL also what is secret in it alone."""
    for secret in _walk_secrets(settings):
        yield secret
        if "://" in secret:
            yield from _url_secrets(secret)


def _walk_secrets(value: object) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for field in type(value).model_fields:
                yield from _walk_secrets(getattr(value, field))
        case Mapping():
            for inner in value.values():
                yield from _walk_secrets(inner)
        case list() | tuple():
            for inner in value:
                yield from _walk_secrets(inner)
        case _:
            return


def _url_secrets(url: str) -> Iterator[str]:
    """The password of a URL, and the values of its query that are named like one."""
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
