"""``chatd openapi``: the OpenAPI document, for client generators and reviews."""

import json

from cyclopts import App

from chatd.cli.output import echo

app = App(
    name="openapi",
    help_epilogue="""Requires neither a configuration nor a database. A running chatd serves the same
document at /openapi.json.

Examples:
  chatd openapi > openapi.json
  chatd openapi | jq '.paths | keys'""",
)


@app.default
def openapi() -> None:
    """Print the OpenAPI description of the HTTP API."""
    from chatd import daemon

    echo(json.dumps(daemon.openapi(), indent=2, sort_keys=True))
