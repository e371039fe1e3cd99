"""``chatd health``: one question to the process beside this one, for container health checks."""

import http.client
import json as json_format
import sys
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from chatd.cli.exit_codes import Exit
from chatd.cli.options import Config
from chatd.cli.output import Json, print_json

app = App(
    name="health",
    help_epilogue="""Asks /readyz on the port of the configuration, or at --url, and needs nothing
else: no database, no token. The exit code is 0 when it is ready and 1 when it
is not, with the reason on standard error.

Examples:
  chatd health
  chatd health --url http://127.0.0.1:8080 --seconds 5
  HEALTHCHECK CMD ["chatd", "health"]            (in a Containerfile)""",
)

_WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what it may listen on, not what it asks
"""Who listens everywhere is asked on the loopback address."""


def _validate_url(_: type, url: str | None) -> None:
    """Raises ``ValueError``, also for a port that is none."""
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.port == 0:
            raise ValueError("it must look like http://HOST:PORT")


@app.default
def health(
    *,
    url: Annotated[
        str | None,
        Parameter(
            validator=_validate_url, help="Where chatd is; with it, no configuration is read."
        ),
    ] = None,
    seconds: Annotated[float, Parameter(help="How long an answer may take.")] = 3.0,
    json: Json = False,
    config: Config = None,
) -> int:
    """Ask the running chatd whether it is ready."""
    host, port = _host_and_port(url) if url is not None else _configured_host_and_port(config)
    why = _not_ready_reason(host, port, seconds)
    if json:
        print_json({"ready": why is None, "reason": why}, compact=True)
    elif why is None:
        print("ready")
    else:
        print(f"chatd: {why}", file=sys.stderr)
    return Exit.DONE if why is None else Exit.FAILED


def _not_ready_reason(host: str, port: int, seconds: float) -> str | None:
    """Why it is not ready; None: it is."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{host} port {port} does not answer: {error}"
    finally:
        connection.close()
    if answer.status == http.HTTPStatus.OK:
        return None
    return _problem_detail(text) or f"{host} port {port} answered {answer.status}"


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _configured_host_and_port(config: Config) -> tuple[str, int]:
    from chatd.settings import load

    given = load(config).http
    host = given.host.strip("[]")
    return _WILDCARD_HOSTS.get(host, host), given.port


def _problem_detail(text: str) -> str | None:
    try:
        return str(json_format.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return None
