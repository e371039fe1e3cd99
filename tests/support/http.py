"""HTTP clients of a daemon on loopback."""

import ssl
from typing import Any

import httpx2

from support.eventually import TIMEOUT_SECONDS
from support.openapi_conformance import assert_documented

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""One context for all clients, without certificates: loading them costs 24 ms, and no test uses TLS."""


def http_client(url: str, **more: Any) -> httpx2.AsyncClient:
    """Return an HTTP client of the daemon at ``url`` that holds every response to the document."""
    return httpx2.AsyncClient(
        base_url=url,
        timeout=TIMEOUT_SECONDS,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        event_hooks={"response": [assert_documented]},
        verify=NO_TLS,
        **more,
    )
