"""``chatd run``: the daemon. ``chatd.daemon`` puts it together."""

from cyclopts import App

from chatd.cli.start import Config, configured

app = App(
    name="run",
    help_epilogue="""Serves HTTP and works on chats until it is told to stop. Any number of these
may share one database. It refuses to start when the schema is not the one it
needs (see 'chatd migrate').

Examples:
  chatd run --config /etc/chatd/config.toml
  CHATD_HTTP__PORT=0 chatd run             (the log event http.listening has it)
  CHATD_WORKER__ENABLED=false chatd run    (only HTTP; others do the work)

Signals: TERM and INT stop cleanly within worker.shutdown_grace_seconds, a
second one at once. HUP reloads models, providers, limits and the log level; a
configuration with a mistake is refused and the old one stays. A database that
is away is waited for.
Exit codes: 78 the configuration is not usable, 65 the schema does not fit, 70
a part failed more often than it may.""",
)


@app.default
def run(*, config: Config = None) -> int:
    """Run the daemon."""
    settings = configured(config)
    from chatd.daemon import run as serve  # noqa: PLC0415  (only a good configuration pays for it)
    from chatd.settings import load  # noqa: PLC0415

    return serve(settings, reread=lambda: load(config))
