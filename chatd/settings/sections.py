"""The fixed sections of the tree. Durations are plain seconds, with the unit in the name.

A ``timedelta`` would take ``5`` from TOML and refuse ``"7"`` from the environment. Each default
mirrors the keyword of the actor that uses it; each description stands in ``config.example.toml``.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

T = TypeVar("T")

RELOADABLE = object()
Reloadable = Annotated[T, RELOADABLE]
"""The type of a key or section that SIGHUP reloads. All others need a restart."""

STRICT = ConfigDict(
    extra="forbid",
    frozen=True,
    allow_inf_nan=False,
    hide_input_in_errors=True,
    validate_default=True,
)
"""Every table of the tree: nothing unknown, nothing changed later, no secret in an error."""


class DatabaseSettings(BaseModel):
    """PostgreSQL, the one thing chatd needs."""

    model_config = STRICT

    url: SecretStr = Field(
        default=SecretStr("postgresql:///chatd"),
        description="Where the database is: a postgresql:// URL. A secret; it may hold a password.",
    )
    direct_url: SecretStr | None = Field(
        default=None,
        description="A URL past any connection pooler, for LISTEN, session locks and migrations, "
        "when url goes through one. Not set: url serves for these too.",
    )
    pool_size: int = Field(
        default=10, ge=2, le=1000, description="The most pooled connections of one process."
    )
    migrate_on_start: bool = Field(
        default=False,
        description="Whether run applies pending migrations itself. Otherwise it refuses to start "
        "until 'chatd migrate up' was run.",
    )
    connect_timeout_seconds: float = Field(
        default=10, gt=0, description="How long one attempt to connect may take."
    )
    statement_timeout_seconds: float = Field(
        default=10,
        gt=0,
        description="How long one statement may take, and how long a free connection may be waited "
        "for, before the database counts as away. Keep it below worker.lease_seconds - "
        "worker.heartbeat_seconds (15), or one stalled statement loses the chat.",
    )


class HttpSettings(BaseModel):
    """The HTTP server."""

    model_config = STRICT

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="The address to listen on. Without authentication it must be a loopback one.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="The port to listen on; 0 picks a free one."
    )
    max_body_bytes: Reloadable[int] = Field(
        default=4 * 1024 * 1024,
        ge=0,
        description="The largest request body that is read; a larger one is answered 413. "
        "0: unlimited.",
    )
    sse_keepalive_seconds: Reloadable[float] = Field(
        default=15,
        gt=0,
        description="How often a silent stream sends a comment, so that proxies keep it open.",
    )
    keepalive_timeout_seconds: float = Field(
        default=75,
        gt=0,
        description="How long a connection without a request is kept. Keep it longer than clients "
        "and proxies keep theirs, or one of them sends a request just as it is closed.",
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        description="How long after TERM requests are still taken while /readyz says no, so that a "
        "balancer that asks it sends nothing more by the time the port closes.",
    )
    cors_origins: list[str] = Field(
        default=[],
        description="Web sites whose pages may call from a browser, such as "
        '"https://app.example.com". Pages that come from the address of chatd itself may always.',
    )
    idempotency_retention_hours: float = Field(
        default=24,
        gt=0,
        description="How long the answer to a request with an Idempotency-Key is kept, so that the "
        "same request, repeated, changes nothing and gets the same answer.",
    )


class AuthSettings(BaseModel):
    """Who may call, and whose chats a caller sees."""

    model_config = STRICT

    mode: Literal["none", "token", "jwt"] = Field(
        default="none",
        description='How callers prove who they are. "none": not at all, for loopback only; "token": '
        "with a token of 'chatd token create'; \"jwt\": with a JWT that an identity provider signed.",
    )
    jwks: str | None = Field(
        default=None,
        description="The provider's public keys, as a JSON Web Key Set: an https:// URL (http:// on "
        "loopback), or the absolute path of a file. It is read again every five minutes, and when a "
        "token names a key that is not in it. This and the next two are required for jwt. A JWT must be "
        "signed with RS256 to RS512, PS256 to PS512, ES256 to ES512 or EdDSA, and have exp, iss and "
        "aud; its iat and nbf may be 3 s ahead of this clock.",
    )
    issuer: str | None = Field(
        default=None, min_length=1, description="Who must have made a JWT: its claim iss."
    )
    audience: str | None = Field(
        default=None,
        min_length=1,
        description="Whom a JWT must be for: its claim aud, or one of several in it.",
    )
    owner_claim: str = Field(
        default="sub", min_length=1, description="The claim of a JWT that names the owner."
    )
    admin_claim: str | None = Field(
        default=None,
        min_length=1,
        description="The claim of a JWT that must be true for an admin. Not set: no JWT is an admin.",
    )


class LimitSettings(BaseModel):
    """What one owner may ask for; 0 always means unlimited. What is beyond a limit is refused with a
    problem that names it. See also http.max_body_bytes and worker.max_queued_messages.
    """

    model_config = STRICT

    max_content_parts: int = Field(default=100, ge=0, description="The most parts of one message.")
    max_labels: int = Field(default=64, ge=0, description="The most labels of one chat.")
    max_chats_in_flight: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="The most chats of one owner that are pending, running, interrupting or waiting "
        "for tool results, on all replicas together.",
    )
    max_streams: int = Field(
        default=1000, ge=0, description="The most streams one owner has open on one process."
    )
    requests_per_second: int = Field(
        default=500,
        ge=0,
        description="The most requests of one owner to one process per second; after a pause, as "
        "many at once.",
    )


class WorkerSettings(BaseModel):
    """Claiming chats, holding them, and taking over those of the dead."""

    model_config = STRICT

    enabled: bool = Field(
        default=True, description="Whether this process works on chats; false only serves HTTP."
    )
    max_chats: Reloadable[int] = Field(
        default=100, gt=0, description="The most chats that one worker has in hand at once."
    )
    poll_seconds: float = Field(
        default=1, gt=0, description="How often to look for work when no hint came."
    )
    heartbeat_seconds: float = Field(
        default=5,
        gt=0,
        description="How often a worker renews the leases of all its chats in hand.",
    )
    lease_seconds: float = Field(
        default=20,
        gt=0,
        description="How long a lease is: how old the last renewal may be before others take the "
        "chat. At least three times heartbeat_seconds; the same on every replica.",
    )
    reap_interval_seconds: float = Field(
        default=1, gt=0, description="How often to look for chats whose worker has gone."
    )
    max_recoveries: int = Field(
        default=3,
        ge=0,
        description="How many workers a chat may lose without progress before it fails.",
    )
    shutdown_grace_seconds: float = Field(
        default=10,
        ge=0,
        description="How long turns may go on after TERM before their chats are handed back.",
    )
    max_queued_messages: Reloadable[int] = Field(
        default=20,
        ge=0,
        description="The most messages that may wait in one chat's queue. 0: unlimited.",
    )


class TurnSettings(BaseModel):
    """The limits of one turn: from a user's message to the model's final answer."""

    model_config = STRICT

    max_steps: int = Field(default=50, gt=0, description="The most model calls in one turn.")
    max_attempts: int = Field(
        default=5, gt=0, description="How often one model call is tried, the first try included."
    )
    backoff_seconds: float = Field(
        default=1,
        gt=0,
        description="The pause after a first failed attempt; it doubles each time.",
    )
    backoff_max_seconds: float = Field(
        default=60,
        gt=0,
        description="The longest pause; a provider that asks for a longer one ends the turn.",
    )
    stream_idle_timeout_seconds: float = Field(
        default=60, gt=0, description="How long a model may stream nothing before the call is cut."
    )
    model_call_timeout_seconds: float = Field(
        default=600, gt=0, description="How long one model call may take in all."
    )
    timeout_seconds: float = Field(
        default=3600, gt=0, description="How long one turn may take in all."
    )
    client_tool_timeout_seconds: float = Field(
        default=300, gt=0, description="How long a client may take to hand in its tool results."
    )
    max_tools: int = Field(
        default=64,
        ge=0,
        description="The most tools of one chat that its client runs. 0: unlimited.",
    )


class StreamSettings(BaseModel):
    """What clients follow while a turn runs."""

    model_config = STRICT

    flush_interval_seconds: float = Field(
        default=0.1, gt=0, description="How often streamed parts are shared with other replicas."
    )
    flush_bytes: int = Field(
        default=4096, gt=0, description="How much may collect before parts are shared sooner."
    )
    subscriber_buffer: int = Field(
        default=1024,
        gt=0,
        description="How many events a reader may be behind before its stream ends; it resumes.",
    )
    event_retention_days: float = Field(
        default=7,
        gt=0,
        description="How many days a stream can be resumed; older events go.",
    )


class MetricsSettings(BaseModel):
    """What operators watch."""

    model_config = STRICT

    public: bool = Field(
        default=False,
        description="Whether /metrics is shown to everybody. Otherwise, with authentication, it takes "
        "an admin's token, as it speaks of all owners together.",
    )
    refresh_interval_seconds: float = Field(
        default=5,
        gt=0,
        description="How often the database is asked what it has, such as chats by status; /metrics "
        "shows the last answer.",
    )
    stalled_after_seconds: float = Field(
        default=120,
        gt=0,
        description="How long a chat in hand may make no progress before it is counted as one that "
        "does not.",
    )


class LogSettings(BaseModel):
    """The log, on standard error."""

    model_config = STRICT

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least serious level that is written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description='"json": one object per line; "console": readable text; "auto": console on a '
        "terminal, else json.",
    )
    loop_blocked_seconds: float = Field(
        default=1,
        gt=0,
        description="How long the event loop may be blocked before the stack of what blocks it is logged.",
    )
    slow_request_seconds: float = Field(
        default=1,
        gt=0,
        description="How long a request may take before it is logged at level info (a quicker one: "
        "debug).",
    )
