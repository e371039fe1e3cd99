"""``chatd run``: the daemon, which ``chatd.daemon`` assembles."""

from cyclopts import App

from chatd.cli.options import Config, load_settings

app = App(
    name="run",
    help_epilogue="""Serves HTTP and runs chats until it receives a signal. Any number of processes
may share one database. It refuses to start if the schema does not match (see
'chatd migrate'). While the database is unavailable, it waits.

Examples:
  chatd run --config /etc/chatd/config.toml
  CHATD_HTTP__PORT=0 chatd run             (the log event http.listening has it)
  CHATD_WORKER__ENABLED=false chatd run    (HTTP only; other processes run chats)

Signals: TERM and INT stop it in order, within worker.shutdown_grace_seconds. A
second one stops it at once. HUP reloads models, providers, limits and the log
level. If the new configuration has a mistake, the old one stays in force.
Exit codes: 78 invalid configuration, 65 the schema does not match, 70 an actor
of the daemon failed too often.""",
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
    """Log the failure as an event too, for searches in the log."""
    import structlog

    from chatd import logs
    from chatd.logs.exceptions import loggable_message

    if not structlog.is_configured():  # the settings that configure it could not be read
        logs.configure()
    _log = structlog.get_logger()
    _log.error("daemon.failed", error=type(error).__name__, reason=loggable_message(error))
