"""Types of text that HTTP carries: headers, and addresses of servers.

Text that no header can hold would fail each request, as if the network were at fault. No reason shows
the value of a header, which may be a secret.
"""

import re
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from chatd.domain.header_text import header_value_problem
from chatd.settings.json_types import MaybeJson
from chatd.settings.types import is_loopback

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token, as RFC 9110 section 5.6.2 has it."""
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding"})
"""Headers that say where the body ends. A wrong one breaks each request."""
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def _check_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is not the name of a header: letters, digits and dashes")
    if name.lower() in _BODY_HEADERS:
        raise ValueError("is set by the HTTP client")
    return name


def _check_header_value(secret: SecretStr) -> SecretStr:
    if reason := header_value_problem(secret.get_secret_value()):
        raise ValueError(f"{reason}, so no HTTP header can carry it (its value is not shown)")
    return secret


def _check_distinct(headers: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, str] = {}
    for name in headers:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ValueError(f"{other} and {name} are the same header")
    return headers


def _check_base_url(url: str) -> str:
    if reason := _base_url_problem(url):
        raise ValueError(f"must be an address such as https://api.example.com/v1: {reason}")
    return url


def _base_url_problem(url: str) -> str | None:
    if not url.isprintable() or " " in url or "\\" in url:
        return "it has a character that no URL has"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        return f"{error}"
    if parts.scheme not in {"http", "https"} or not host:
        return "it must have http:// or https:// and a host"
    return "it must not have a fragment" if "#" in url else None


def _is_private_url(url: str) -> bool:
    """Return whether nobody between here and the server can change or read what is sent."""
    return _base_url_problem(url) is None and (
        url.lower().startswith("https:") or is_loopback(urlsplit(url).hostname or "")
    )


def _check_issuer(url: str) -> str:
    if not _is_private_url(url):
        raise ValueError("must be an https:// URL (http:// only on loopback: it gets credentials)")
    return url


def _check_jwks_source(source: str) -> str:
    is_path = PurePath(source).is_absolute()
    if not (source.isprintable() if is_path else _is_private_url(source)):
        raise ValueError(
            "must be an https:// URL or an absolute path (http:// only on loopback: an attacker on "
            "the network could replace the keys)"
        )
    return source


def _check_origins(origins: list[str]) -> list[str]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an origin: it must look like https://app.example.com, without a path"
            )
    return origins


HeaderName = Annotated[str, AfterValidator(_check_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_check_header_value)]
Headers = Annotated[MaybeJson[dict[HeaderName, HeaderValue]], AfterValidator(_check_distinct)]
BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
JwksSource = Annotated[str, AfterValidator(_check_jwks_source)]
IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]
CorsOrigins = Annotated[MaybeJson[list[str]], AfterValidator(_check_origins)]
