"""``chatd run``: the daemon. ``chatd.daemon`` puts it together."""

from cyclopts import App

from chatd.cli.options import Config, load_settings

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
configuration with a mistake is refused and the old one stays. While the
database is away, it waits.
Exit codes: 78 the configuration is not usable, 65 the schema does not fit, 70
a part of the daemon failed too often.""",
)


@app.default
def run(*, config: Config = None) -> int:
    """Run the daemon."""
    try:
        settings = load_settings(config)
        from chatd.daemon import run as serve
        from chatd.settings import load

        return serve(settings, reload_settings=lambda: load(config))
    except Exception as error:
        _log_failure(error)
        raise


def _log_failure(error: Exception) -> None:
    """Say it as an event: whoever searches the log does not find the line for people."""
    import structlog

    from chatd import logs
    from chatd.logs.exceptions import loggable_message

    if not structlog.is_configured():  # the configuration would have said how
        logs.configure()
    _log = structlog.get_logger()
    _log.error("daemon.failed", error=type(error).__name__, reason=loggable_message(error))
