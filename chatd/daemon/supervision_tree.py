"""The supervision tree: the one list of the actors of a process."""

from collections.abc import Sequence

from chatd.daemon.wiring.actors import Actors
from chatd.settings import Settings
from chatd.supervision.child import ChildSpec, Restart, StartFunction
from chatd.supervision.supervisor import Supervisor
from chatd.tools.mcp.server import McpServer
from chatd.tools.mcp.servers import ServerChanges

_HTTP_SHUTDOWN_SECONDS = 8.0
"""Time for ending streams and answering the last requests, once draining is over."""
_RELEASE_SECONDS = 10.0
"""Time for releasing chats whose turns did not end within the grace period."""
_MCP_SHUTDOWN_SECONDS = 6.0
"""Time for ending a program that ignores its end of input and SIGTERM."""
_DEFAULT_SHUTDOWN_SECONDS = 5.0
_RESTARTS_OF_OTHERS = 5
"""Restart budget of each row that is not essential, so that it takes none of the others' share."""


def supervision_tree(actors: Actors, settings: Settings) -> Sequence[ChildSpec]:
    """Return the children of the root supervisor, which restarts them one for one.

    They start from the first row to the last, each when the one before it has reported ready, and stop in
    reverse. So the process is ready when every row has reported ready once, and the order of the rows
    decides only who may rely on whom: a row may use what is above it, both when it starts and when it
    stops. Rows of an actor that the settings switch off are left out.
    """
    worker, auth, indexer = actors.worker, actors.auth, actors.search_indexer
    grace = settings.worker.shutdown_grace_seconds + _RELEASE_SECONDS
    drain = settings.http.drain_seconds + _HTTP_SHUTDOWN_SECONDS
    # A row: name, start, depends_on (restarted with these), restart (else permanent), shutdown in seconds.
    # fmt: off
    rows = [
        # HTTP answers probes from the first moment on. "admission", the last row, opens it to requests.
        _row("http",             actors.server.run),
        _row("database",         actors.database.run),
        # Notifications from and to other processes. The notifier is one of the last to stop, so that the
        # notifications of released chats go out.
        _row("listener",         actors.listener.run),
        _row("notifier",         actors.notifier.run),
        # The worker. The deregistration stops after the heartbeat, because it deletes the row that the
        # heartbeat renews. Chats stop while everything that stores and shares their messages still runs.
        _row("deregistration",   worker and worker.deregistration.run),
        _row("heartbeat",        worker and worker.heartbeat.run),
        _row("watchdog",         worker and worker.watchdog.run),
        _row("flusher",          worker and worker.flusher.run),
        _row("titler",           worker and worker.titler.run, essential=False),
        *map(mcp_row, worker.mcp.servers if worker else ()),
        _row("chats",            worker and worker.chat_tasks.run, shutdown=grace),
        _row("activity",         worker and worker.activity_reporter.run),
        _row("claimer",          worker and worker.claimer.run, depends_on=("chats",)),
        _row("waker",            worker and worker.waker.run),
        _row("reaper",           worker and worker.reaper.run),
        _row("pending sweep",    worker and worker.pending_sweep.run),
        _row("janitor",          worker and worker.janitor.run, essential=False),
        # What requests and streams use.
        _row("chat poller",      actors.chat_poller.run),
        _row("list poller",      actors.list_poller.run),
        _row("authenticator",    auth.run),
        _row("database probe",   actors.database_probe.run),
        # No other row relies on these.
        _row("stats collector",  actors.stats_collector.run, essential=False),
        _row("metrics history",  actors.history_sampler.run, essential=False),
        _row("search indexer",   indexer.run if indexer else None, essential=False),
        _row("provider preload", actors.preload_providers, restart=Restart.TEMPORARY),
        # Requests come when everything that they use has started, and are the first to end.
        _row("admission",        actors.server.admit, shutdown=drain),
    ]
    # fmt: on
    return [row for row in rows if row is not None]


def mcp_row(server: McpServer) -> ChildSpec:
    """Return the row of an MCP server. It is not essential: without it, its calls fail."""
    return ChildSpec(
        name=f"mcp {server.config.name}",
        start=server.run,
        essential=False,
        restarts=_RESTARTS_OF_OTHERS,
        shutdown_seconds=_MCP_SHUTDOWN_SECONDS,
    )


def replace_mcp_servers(supervisor: Supervisor, changes: ServerChanges) -> None:
    """Have the actors of MCP servers come and go. Those that leave end the calls that they make."""
    supervisor.replace(
        {mcp_row(server).name: server.drain for server in changes.leaving},
        [mcp_row(server) for server in changes.coming],
        before="chats",
    )


def _row(
    name: str,
    start: StartFunction | None,
    *,
    depends_on: tuple[str, ...] = (),
    restart: Restart = Restart.PERMANENT,
    essential: bool = True,
    shutdown: float = _DEFAULT_SHUTDOWN_SECONDS,
) -> ChildSpec | None:
    if start is None:
        return None
    return ChildSpec(
        name=name,
        start=start,
        depends_on=depends_on,
        restart=restart,
        shutdown_seconds=shutdown,
        essential=essential,
        restarts=None if essential else _RESTARTS_OF_OTHERS,
    )
