"""``chatd health``: one readiness check of a running chatd, for container health checks."""

import http.client
import json as json_format
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from chatd.cli.exit_codes import Exit
from chatd.cli.options import Config
from chatd.cli.output import Json, echo, print_error, print_json

app = App(
    name="health",
    help_epilogue="""Requests /readyz on the configured port, or at --url. Requires no database and no
token. The exit code is 0 if chatd is ready and 1 if it is not, with the reason
on standard error.

Examples:
  chatd health
  chatd health --url http://127.0.0.1:8080 --seconds 5
  HEALTHCHECK CMD ["chatd", "health"]            (in a Containerfile)""",
)

_WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address chatd may listen on; nothing listens here
"""Loopback address to request when chatd listens on all addresses."""


def _validate_url(_: type, url: str | None) -> None:
    """Raise ``ValueError`` unless the URL is http with a host and a valid port."""
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.port == 0:
            raise ValueError("it must look like http://HOST:PORT")


@app.default
def health(
    *,
    url: Annotated[
        str | None,
        Parameter(validator=_validate_url, help="URL of chatd. Replaces the configuration."),
    ] = None,
    seconds: Annotated[float, Parameter(help="Time limit for the response.")] = 3.0,
    json: Json = False,
    config: Config = None,
) -> int:
    """Report whether the running chatd is ready."""
    host, port = _host_and_port(url) if url is not None else _configured_host_and_port(config)
    reason = _not_ready_reason(host, port, seconds)
    if json:
        print_json({"ready": reason is None, "reason": reason}, compact=True)
    elif reason is None:
        echo("ready")
    else:
        print_error(reason)
    return Exit.DONE if reason is None else Exit.FAILED


def _not_ready_reason(host: str, port: int, seconds: float) -> str | None:
    """Return why chatd is not ready, or None if it is."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{host} port {port} does not respond: {error}"
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        return None
    return _problem_detail(text) or f"{host} port {port} responded with {response.status}"


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _configured_host_and_port(config: Config) -> tuple[str, int]:
    from chatd.settings import load

    settings = load(config).http
    host = settings.host.strip("[]")
    return _WILDCARD_HOSTS.get(host, host), settings.port


def _problem_detail(text: str) -> str | None:
    try:
        return str(json_format.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return None
