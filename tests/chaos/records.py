"""Records of a run: requests, model calls, effects of tools, processes, and what subscribers were shown."""

from dataclasses import dataclass, field
from typing import Any

from chaos.plan import Fault


@dataclass(slots=True, kw_only=True)
class Request:
    """One request of a client, with all its attempts.

    ``status`` is None as long as no attempt was answered: nobody knows whether it was carried out.
    """

    number: int
    operation: str
    method: str
    path: str
    body: Any = None
    key: str | None = None
    chat_id: str | None = None
    text: str | None = None
    """The message that it sends, unlike that of every other request."""
    lost_attempts: int = 0
    status: int | None = None
    response: Any = None
    replays: list[tuple[int, Any]] = field(default_factory=list)
    """Answers to repeats after it was answered."""

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def code(self) -> str | None:
        """The code of the problem, if it was refused."""
        return None if self.accepted or not self.response else str(self.response.get("code"))


@dataclass(slots=True, kw_only=True)
class ModelCall:
    """One call of the model. ``text`` is its whole answer, which a fault may have kept from the caller."""

    number: int
    replica: str
    asked: str
    fault: str | None
    text: str
    began: float
    ended: float | None = None
    breaches: list[str] = field(default_factory=list)
    """What the provider's API would have refused in the request."""


@dataclass(slots=True, kw_only=True)
class Effect:
    """One request that the tool server got. ``end`` is None if the server was killed while it ran.

    ``sent`` and ``closed`` are when the kernel had the request, and the end of a connection that the caller
    closed before the answer. A stopped server reads both late: ``began`` and ``ended`` are its own times.
    Of the pipe of a program the kernel does not tell, so they are None.
    """

    number: str
    key: str
    tool: str
    replica: str
    asked: str
    call: int
    how: str
    sent: float | None
    began: float
    ended: float | None = None
    closed: float | None = None
    end: str | None = None
    text: str = ""
    """The whole answer, or its beginning if it is large."""


@dataclass(slots=True, kw_only=True)
class Life:
    """One process from its start to its end."""

    replica: str
    pid: int
    began: float
    worker_id: str | None = None
    signals: list[tuple[float, str]] = field(default_factory=list)
    ended: float | None = None
    exit_code: int | None = None
    hung: bool = False
    """True if it did not end in time after SIGTERM, and was killed."""
    events: dict[str, int] = field(default_factory=dict)
    notable: list[dict[str, Any]] = field(default_factory=list)
    """Log lines above level info, those with an exception, and those that are no log line."""
    last_lines: list[str] = field(default_factory=list)

    @property
    def killed_at(self) -> float | None:
        return next((at for at, name in self.signals if name == "SIGKILL"), None)


@dataclass(slots=True, kw_only=True)
class Picture:
    """What one subscriber shows of a chat in the end, and what it noticed on the way."""

    subscriber: str
    chat_id: str
    connections: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    preview: list[dict[str, Any]] = field(default_factory=list)
    status: str | None = None
    title: str | None = None
    archived: bool | None = None
    queue_length: int | None = None
    version: int = 0
    deleted: bool = False
    findings: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Names of what must not be seen on a stream, each with its evidence."""


@dataclass(slots=True, kw_only=True)
class InjectedFault:
    """A fault that was carried out, at a time of the clock."""

    fault: Fault
    at: float
    hit: bool = True
    """False if there was nothing to do it to, such as a process that was not running."""
