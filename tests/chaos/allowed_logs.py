"""Log lines above level info that faults may cause, each with its reason. No other may be logged."""

ALLOWED = {
    "outage.began": "the database cannot be reached: faults of connections, of the server and of the role",
    "database.access_denied": "a process starts while its role may not log in",
    "chat.failed": "the model refuses a call, or fails more often than turn.max_attempts",
    "chat.lost": "an edit, a delete, or a lease that ran out in a pause or an outage",
    "chat.summary_refused": "a chat is compacted that is hardly longer than its summary",
    "chat.reaped": "a worker died, or was stopped or cut off for longer than its lease",
    "worker.deregister_failed": "the database is unavailable when the process stops",
    "janitor.sweep_failed": "the database is slow or unavailable in the middle of a sweep",
    "http.request": "a request is answered 503 while the database is unavailable",
    "http.database_unavailable": "the same, with its reason",
    "loop.blocked": "SIGSTOP, and a machine that is busier than it has cores",
    "loop.unblocked": "the same",
    "process.paused": "SIGSTOP",
    "config.rejected": "SIGHUP while the database is unavailable: the models could not be stored",
    "mcp.failed": "an MCP server is killed or stopped while it is connected to",
    "mcp.lost": "an MCP server is killed, or ends as a call of the model wishes",
    "mcp.notice": "a turn begins while an MCP server is not available",
    "llm.answer_unreadable": "the model sends garbage",
}
