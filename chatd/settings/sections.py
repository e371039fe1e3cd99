"""Sections of the settings. Durations are plain numbers, with the unit in the name.

A ``timedelta`` would accept ``5`` from TOML and reject ``"7"`` from the environment. A field holds
everything about its key: type, limits, default, whether a reload applies it, and its description, which
is the text below it.
``config.example.toml`` and the reference page are generated from these fields.
"""

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)

from chatd.settings.http_types import CorsOrigins, JwksSource
from chatd.settings.types import (
    DatabaseUrl,
    NonEmptyText,
    Reloadable,
    Section,
    check_rules,
)

RENEWALS_PER_LEASE = 3
"""Renewals that must fit into a lease: one may be lost and one late without losing chats."""


class DatabaseSettings(Section):
    """PostgreSQL, the only service that chatd needs."""

    url: DatabaseUrl = SecretStr("postgresql:///chatd")
    """Address of the database: a postgresql:// URL. It may hold a password."""
    direct_url: DatabaseUrl | None = Field(None, examples=["postgresql:///chatd"])
    """Address that bypasses a connection pooler, for LISTEN, session locks and migrations. Needed if url
    goes through a pooler. Not set: url."""
    pool_size: int = Field(10, ge=2, le=1000)
    """Maximum pooled connections of one process."""
    max_searches: int = Field(4, ge=1, le=1000)
    """Maximum searches of all owners that run at once on one process, fewer than pool_size in any case. The
    other connections are for everything else."""
    search_timeout_seconds: PositiveFloat = 3
    """Time limit for one search."""
    index_messages: bool = True
    """Index the words of messages, so that they can be searched. All processes should agree."""
    text_search_config: NonEmptyText = "simple"
    """Text search configuration of PostgreSQL for words of messages. simple takes words as they are. That
    of a language, such as english, also finds other forms of a word."""
    migrate_on_start: bool = False
    """Apply pending migrations at start. If false, chatd refuses to start until 'chatd migrate up' has
    run."""
    connect_timeout_seconds: PositiveFloat = 10
    """Time limit for one attempt to connect."""
    access_denied_seconds: NonNegativeFloat = 30
    """Time for which a start waits while the server refuses the login or a privilege, because an operator
    may be changing that. Then the process ends with exit code 78. 0: at once."""
    statement_timeout_seconds: PositiveFloat = 10
    """Time limit for one statement, and for waiting for a free connection, after which the database
    counts as unavailable. Keep it below worker.lease_seconds - worker.heartbeat_seconds (15), or one slow
    statement loses the chat."""


class HttpSettings(Section):
    """The HTTP server."""

    host: NonEmptyText = "127.0.0.1"
    """Address to listen on. chatd speaks no TLS: terminate TLS in front. Without authentication it must be
    a loopback address, and only requests to localhost, 127.0.0.1 or [::1] are served."""
    behind_tls_proxy: bool = False
    """A proxy in front terminates TLS. If false, chatd warns when it listens beyond this host."""
    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on. 0: any free port."""
    max_body_bytes: Reloadable[NonNegativeInt] = 4 * 1024 * 1024
    """Maximum size of a request body. Larger ones get 413. 0: unlimited."""
    max_head_bytes: int = Field(128 * 1024, ge=8192, le=16 * 1024 * 1024)
    """Maximum size of the head of a request: its URL and headers. Larger ones get 431."""
    max_connections: PositiveInt = 10_000
    """Maximum connections of clients to one process, and never more than it may have open files. One more
    gets 503 too_many_connections and is closed."""
    head_timeout_seconds: PositiveFloat = 30
    """Time within which the head of a request must arrive, from the connection on. Then it is closed."""
    body_timeout_seconds: PositiveFloat = 120
    """Time within which the body of a request must arrive."""
    sse_keepalive_seconds: Reloadable[PositiveFloat] = 15
    """Interval of comments on a stream without events, so that proxies keep it open."""
    keepalive_timeout_seconds: PositiveFloat = 75
    """Time after which a connection without a request is closed. Keep it longer than the timeout of
    clients and proxies, or one of them sends a request while it is being closed."""
    drain_seconds: NonNegativeFloat = 0
    """Time after SIGTERM during which requests are still served while /readyz reports failure, so that a
    load balancer stops sending requests before the port closes."""
    cors_origins: CorsOrigins = Field([])
    """Origins of web pages that may call from a browser, such as "https://app.example.com". Pages served
    from chatd's own address always may. Those of other origins get 403 for what changes anything."""
    idempotency_retention_hours: float = Field(24, gt=0, le=876_000)
    """Time for which a request with an Idempotency-Key is remembered, so that a repeat changes nothing and
    gets a response with the same ids."""


class AuthSettings(Section):
    """Authentication of callers. The owner it yields decides which chats a caller sees."""

    mode: Literal["none", "token", "jwt"] = "none"
    """Method. "none": no authentication, on loopback only; "token": tokens of 'chatd token create';
    "jwt": JWTs signed by an identity provider."""
    jwks: JwksSource | None = Field(
        None, examples=["https://login.example.com/.well-known/jwks.json"]
    )
    """Public keys of the identity provider, as a JSON Web Key Set: an https:// URL (http:// on loopback),
    or the absolute path of a file. Read again every five minutes, and when a token names an unknown key.
    Required for jwt, like issuer and audience. A JWT must be signed with RS256 to RS512, PS256 to PS512,
    ES256 to ES512 or EdDSA, and have exp, iss and aud. Its iat and nbf may be 3 s ahead of this clock."""
    issuer: NonEmptyText | None = Field(None, examples=["https://login.example.com/"])
    """Required claim iss of a JWT."""
    audience: NonEmptyText | None = Field(None, examples=["chatd"])
    """Required claim aud of a JWT, or one of several values in it."""
    owner_claim: NonEmptyText = "sub"
    """Claim of a JWT that names the owner."""
    scope_claim: NonEmptyText | None = Field(None, examples=["chatd_scopes"])
    """Claim of a JWT that names its scopes, as a list or a text with spaces between. A JWT that names
    none of chats, act-for, read-all, operate and metrics there has the scope chats. Not set: so has
    every JWT."""

    @model_validator(mode="after")
    def _check_jwt_keys(self) -> Self:
        required = ("jwks", "issuer", "audience") if self.mode == "jwt" else ()
        check_rules(
            ((name,), 'is required when auth.mode is "jwt"')
            for name in required
            if getattr(self, name) is None
        )
        return self


class LimitSettings(Section):
    """Limits per owner. 0 always means unlimited.

    A request beyond a limit is rejected with a problem that names the limit. See also
    http.max_body_bytes and worker.max_queued_messages.
    """

    max_content_parts: NonNegativeInt = 100
    """Maximum parts of one message."""
    max_chat_bytes: NonNegativeInt = 128 * 1024 * 1024
    """Maximum size of the messages, tools and files of one chat. A message that does not fit gets 413. The
    model's answers count too, and are always stored."""
    max_owner_bytes: NonNegativeInt = 10 * 1024 * 1024 * 1024
    """Maximum size of all large chats of one owner, those of at least 64 KiB. It is checked when a message
    or a result brings 64 KiB or more. Deleted chats give their space back."""
    max_labels: NonNegativeInt = 64
    """Maximum labels of one chat."""
    max_active_chats: int = Field(1000, ge=0, le=1_000_000)
    """Maximum chats of one owner that are pending, running, interrupting, parked or waiting for tool
    results, on all replicas together. Agents do not count."""
    max_running_per_owner: Reloadable[NonNegativeInt] = 0
    """Maximum chats of one owner that run at the same time, on all replicas together. Further ones are
    pending, and claimed as others end. A chat that waits for tool results, for its agents or for its next
    attempt does not count."""
    max_streams: NonNegativeInt = 1000
    """Maximum open streams of one owner on one process."""
    max_searches: NonNegativeInt = 1
    """Maximum searches of one owner that run at once on one process. A search is a list of chats with a
    filter. Others wait for a second."""
    max_requests: NonNegativeInt = 8
    """Maximum requests of one owner that one process works on at once. It is a quarter of that, and at
    least 1, while other owners have had a request within the last minute. Others wait for up to ten
    seconds. A request whose body still arrives is none of them, nor is an open stream."""
    requests_per_second: NonNegativeInt = 500
    """Maximum requests per second of one owner to one process. After a pause, as many are accepted at
    once."""


class WorkerSettings(Section):
    """Claiming and running chats, and recovering those of dead workers."""

    enabled: bool = True
    """Run chats on this process. If false, it only serves HTTP."""
    max_chats: Reloadable[PositiveInt] = 100
    """Maximum chats that the worker leases at once."""
    history_cache_bytes: NonNegativeInt = 64 * 1024 * 1024
    """Memory for the histories of chats whose turns ended last, so that their next turn reads none. 0: none
    is kept."""
    poll_seconds: PositiveFloat = 1
    """Interval of checks for pending chats when no notification arrives."""
    heartbeat_seconds: PositiveFloat = 5
    """Interval at which a worker renews its leases."""
    lease_seconds: PositiveFloat = 20
    """Age of the last renewal at which other workers may take the chat. At least three times
    heartbeat_seconds. The same on every replica."""
    reap_interval_seconds: PositiveFloat = 1
    """Interval of checks for chats of dead workers."""
    max_recoveries: NonNegativeInt = 3
    """Number of workers a chat may lose without progress before it fails."""
    unserved_model_seconds: PositiveFloat = 60
    """Time after which a pending chat fails because no running worker has its model. Longer than a rolling
    deploy that adds a model takes until the first worker has it."""
    shutdown_grace_seconds: NonNegativeFloat = 10
    """Time that turns may take to finish after SIGTERM, before their chats are released."""
    max_queued_messages: Reloadable[NonNegativeInt] = 20
    """Maximum messages in the queue of one chat. 0: unlimited."""

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        least = RENEWALS_PER_LEASE * self.heartbeat_seconds
        if self.lease_seconds < least:
            reason = (
                f"must be at least {RENEWALS_PER_LEASE} times worker.heartbeat_seconds ({least:g}), "
                f"got {self.lease_seconds:g}: one late renewal would lose chats"
            )
            check_rules([(("lease_seconds",), reason)])
        return self


class TurnSettings(Section):
    """Limits of one turn, from a user's message to the model's final answer."""

    max_steps: PositiveInt = 50
    """Maximum model calls in one turn."""
    max_repeated_calls: int = Field(5, ge=0)
    """Maximum answers in a row that make the same tool calls and get the same results. Then the turn fails,
    kind tool_loop. 0: any number of them."""
    max_attempts: PositiveInt = 5
    """Maximum attempts of one model call, the first included."""
    backoff_seconds: PositiveFloat = 1
    """Pause after the first failed attempt. It doubles each time."""
    backoff_max_seconds: PositiveFloat = 60
    """Longest pause of chatd's own. A longer one that a provider asks for is waited for, if the turn
    may last that long."""
    stream_idle_timeout_seconds: PositiveFloat = 60
    """Time after which a model call is aborted if its provider sends nothing, not even a ping."""
    model_call_timeout_seconds: PositiveFloat = 600
    """Time limit for one model call."""
    compaction_timeout_seconds: PositiveFloat = 120
    """Time limit for writing the summary of a chat that has become too long for its model."""
    timeout_seconds: PositiveFloat = 3600
    """Time limit for the whole turn."""
    client_tool_timeout_seconds: PositiveFloat = 300
    """Time limit for a client to submit its tool results."""
    max_tools: NonNegativeInt = 64
    """Maximum client-run tools of one chat. 0: unlimited."""

    @model_validator(mode="after")
    def _check_backoff(self) -> Self:
        if self.backoff_max_seconds < self.backoff_seconds:
            reason = (
                f"must not be less than turn.backoff_seconds ({self.backoff_seconds:g}), "
                f"got {self.backoff_max_seconds:g}"
            )
            check_rules([(("backoff_max_seconds",), reason)])
        return self


class StreamSettings(Section):
    """Streams of events to clients."""

    flush_interval_seconds: PositiveFloat = 0.1
    """Interval at which streamed parts are shared with other replicas."""
    flush_bytes: PositiveInt = 4096
    """Amount of unshared parts that is shared before the interval ends."""
    subscriber_buffer: PositiveInt = 1024
    """Maximum undelivered events of one subscriber. Beyond that its stream ends, and the client resumes
    it."""
    event_retention_days: float = Field(7, gt=0, le=36_500)
    """Days during which a stream can be resumed. Older events are deleted. Not shorter than
    http.idempotency_retention_hours."""


class MetricsSettings(Section):
    """Metrics for operators."""

    public: bool = False
    """Serve /metrics to everybody. If false, and with authentication, it takes a token with the scope
    metrics, because it covers all owners."""
    refresh_interval_seconds: PositiveFloat = 5
    """Interval at which database-wide figures, such as chats by status, are collected for /metrics."""
    stalled_after_seconds: PositiveFloat = 120
    """Time without progress after which a leased chat counts as stalled."""


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """Format. "json": one object per line; "console": readable text; "auto": console on a terminal,
    otherwise json."""
    loop_blocked_seconds: PositiveFloat = 1
    """Time after which a blocked event loop is logged, with the stack that blocks it."""
    slow_request_seconds: PositiveFloat = 1
    """Duration from which a request is logged at level info. Quicker ones: debug."""
