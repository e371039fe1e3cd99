"""Database URLs as operators have them: parameters of libpq, of poolers and of other drivers.

``parse`` is the one place that understands a URL. It sorts each parameter into one of three:

* *translated* into what asyncpg takes, such as ``sslmode`` or ``options``;
* *dropped*, because it only tunes another client, or because chatd has a setting or a time limit of
  its own, such as ``keepalives`` or ``pgbouncer``;
* *refused* with words: a parameter that nobody knows, one that asks for protection that asyncpg cannot
  give, or a value that does not exist.

``channel_binding`` is dropped although it may ask for protection: asyncpg has no channel binding, and a
provider hands out ``channel_binding=require`` by default. ``sslmode=verify-full`` checks the server.

No problem quotes a value, because a value may be a part of a password that was not percent-encoded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM_ROOTS: Final = "system"
"""Value of ``sslrootcert`` that stands for the certificate authorities of the operating system."""

_PORT_LIMIT: Final = 65536
_MAX_NAME_LENGTH: Final = 40
"""Longest name of an unknown parameter that a problem shows. Longer ones are no names."""
_PARAMETER_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_.-]{{0,{_MAX_NAME_LENGTH - 1}}}")
_ENCODE = "percent-encode @ as %40, # as %23, / as %2F and ? as %3F in the user and the password"

_TLS_PARAMETERS: Final = frozenset(
    {
        *("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "sslnegotiation"),
    }
)
"""Parameters of TLS that asyncpg reads only from a URL."""
_KEYWORDS: Final = frozenset({"passfile", "service", "krbsrvname", "gsslib"})
"""Parameters that are keywords of ``asyncpg.connect``."""
_SERVER_SETTINGS: Final = MappingProxyType(
    {
        "application_name": "application_name",
        "options": "options",
        "search_path": "search_path",
        "schema": "search_path",  # Prisma
        "currentSchema": "search_path",  # JDBC
    }
)
"""Parameters that become settings of the session, by their name here."""
_PLACES: Final = frozenset({"host", "hostaddr", "port", "user", "password", "dbname", "database"})
_DROPPED: Final = frozenset(
    {
        # libpq: chatd detects a silent peer by its own time limits, and always speaks UTF-8.
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("tcp_user_timeout", "fallback_application_name", "client_encoding", "channel_binding"),
        *("sslcompression", "sslsni", "sslcertmode", "gssdelegation", "load_balance_hosts"),
        *("min_protocol_version", "max_protocol_version"),
        # Poolers and other drivers.
        *("pgbouncer", "pool_mode", "pool_timeout", "pool_size", "max_overflow", "supa"),
        *("workaround", "connection_limit", "connect_retries", "socket_timeout", "sslaccept"),
        *("uselibpqcompat", "prepareThreshold", "preparedStatementCacheQueries"),
        *("max_cached_statement_lifetime", "max_cacheable_statement_size", "command_timeout"),
    }
)
_REFUSED: Final = MappingProxyType(
    {
        "require_auth": "chatd cannot insist on a kind of authentication: remove it",
        "requirepeer": "chatd cannot check the account of the server: remove it",
        "sslcrldir": "name one file by sslcrl instead",
        "replication": "chatd needs an ordinary connection: remove it",
        "prepared_statements": "chatd needs prepared statements: remove it, and let the pooler support "
        "them (PgBouncer 1.21 or newer with max_prepared_statements) or pool by session",
    }
)
_TRUE, _FALSE = frozenset({"true", "1", "on", "require"}), frozenset({"false", "0", "off"})
_WRITABLE_SERVERS: Final = frozenset({"any", "primary", "read-write"})


_URL = re.compile(r"(?:([^:/?#]+)://)?([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""Parts of a URL by RFC 3986, appendix B. ``urlsplit`` refuses an IPv6 address beside other hosts, in some
versions of Python."""
_HOSTS = re.compile(r"(\[[^]@]*\]|[^][])*")
"""Hosts whose brackets are balanced."""


class UrlParts(NamedTuple):
    """Parts of a URL as they are spelt. ``login`` is the user, and the password behind a colon."""

    scheme: str
    login: str
    hosts: str
    path: str
    query: str
    fragment: str

    @property
    def has_hosts(self) -> bool:
        """Return whether the hosts can be separated: their brackets are balanced."""
        return _HOSTS.fullmatch(self.hosts) is not None


def split(url: str) -> UrlParts:
    """Return the parts of a URL, whatever they hold. ``login`` ends at the last ``@`` before the path."""
    match = _URL.fullmatch(url)
    assert match is not None  # noqa: S101 - every text has these parts
    scheme, place, *others = (group or "" for group in match.groups())
    login, _, hosts = place.rpartition("@")
    return UrlParts(scheme, login, hosts, *others)


class InvalidDatabaseUrl(ValueError):
    """A database URL that cannot be used. ``problems`` says why, without any value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrl:
    """A parsed database URL, in the terms of ``asyncpg.connect``. Empty texts and None are defaults."""

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    tls: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Parameters of TLS, as libpq spells them."""
    keywords: Mapping[str, str] = field(default_factory=dict)
    server_settings: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_seconds: float | None = None
    statement_cache_size: int | None = None

    def with_login_of(self, other: "DatabaseUrl") -> "DatabaseUrl":
        """Return this URL with the user and the password of another one."""
        return replace(self, user=other.user, password=other.password)

    @property
    def verifies_by_system_roots(self) -> bool:
        return self.tls.get("sslrootcert") == SYSTEM_ROOTS

    def connect_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for ``asyncpg.connect``, without those of the caller's own choice."""
        tls = dict(self.tls)
        if self.verifies_by_system_roots:
            del tls["sslrootcert"]
        if tls.get("sslnegotiation") == "postgres":
            del tls["sslnegotiation"]
        arguments: dict[str, Any] = dict(self.keywords)
        arguments["dsn"] = f"postgresql://?{urlencode(tls)}" if tls else "postgresql://"
        places = {"user": self.user, "password": self.password, "database": self.database}
        arguments |= {name: value for name, value in places.items() if value}
        if self.hosts:
            arguments["host"] = list(self.hosts)
        if self.ports:
            arguments["port"] = list(self.ports)
        if self.statement_cache_size is not None:
            arguments["statement_cache_size"] = self.statement_cache_size
        return arguments


def parse(url: str) -> DatabaseUrl:
    """Return what a URL says. Raise ``InvalidDatabaseUrl`` with every problem."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        driver = scheme.startswith(("postgresql+", "postgres+", "jdbc:postgresql"))
        hint = ", without the name of a driver" if separator and driver else ""
        raise InvalidDatabaseUrl([f"must begin with postgresql://{hint}"])
    parts = split(url)
    if "#" in url or "@" in parts.path + parts.query or not parts.has_hosts:
        raise InvalidDatabaseUrl([f"is not a URL: {_ENCODE}"])
    if "@" in parts.login:
        raise InvalidDatabaseUrl([f"is not a URL: {_ENCODE}"])
    pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    query = {name: value for name, value in pairs if value}
    problems = [*_unknown(query), *_refused(query), *_wrong_values(query)]
    user, _, password = parts.login.partition(":")
    hosts, ports = _places(parts.hosts, query, problems)
    if problems:
        raise InvalidDatabaseUrl(problems)
    timeout = float(query.get("connect_timeout", 0))
    cache_size = query.get("statement_cache_size")
    return DatabaseUrl(
        hosts=hosts,
        ports=ports,
        user=unquote(user) or query.get("user", ""),
        password=unquote(password) or query.get("password", ""),
        database=unquote(parts.path.removeprefix("/"))
        or query.get("dbname", query.get("database", "")),
        tls=_tls(query),
        keywords={
            name: query[name] for name in query if name in _KEYWORDS | {"target_session_attrs"}
        },
        server_settings={
            _SERVER_SETTINGS[name]: query[name] for name in query if name in _SERVER_SETTINGS
        },
        connect_timeout_seconds=timeout if timeout > 0 else None,
        statement_cache_size=int(cache_size) if cache_size else None,
    )


def _unknown(query: Mapping[str, str]) -> Iterator[str]:
    known = {
        *_TLS_PARAMETERS, *_KEYWORDS, *_SERVER_SETTINGS, *_PLACES, *_DROPPED, *_REFUSED,
        *("ssl", "gssencmode", "connect_timeout", "target_session_attrs", "statement_cache_size"),
    }  # fmt: skip
    for name in query:
        if name in known:
            continue
        if not _PARAMETER_NAME.fullmatch(name):
            yield f"has a parameter whose name is none: {_ENCODE}"
        else:
            yield (
                f"chatd does not know the parameter {name}: remove it, or give a setting of the server as "
                f"options=-c%20{name}%3DVALUE"
            )


def _refused(query: Mapping[str, str]) -> Iterator[str]:
    for name, advice in _REFUSED.items():
        if name in query and not (name == "prepared_statements" and query[name] in _TRUE):
            yield f"{name}: {advice}"
    if query.get("gssencmode", "disable") not in {"disable", "prefer"}:
        yield "gssencmode: chatd cannot encrypt by GSSAPI: use disable, and sslmode"
    if query.get("target_session_attrs", "any") not in _WRITABLE_SERVERS:
        yield f"target_session_attrs must be one of {_listed(_WRITABLE_SERVERS)}: chatd writes"


def _wrong_values(query: Mapping[str, str]) -> Iterator[str]:
    yield from _wrong_tls_values(query)
    if not re.fullmatch(r"-?\d{1,6}", query.get("connect_timeout", "0")):
        yield "connect_timeout must be a whole number of seconds"
    if not re.fullmatch(r"\d{1,6}", query.get("statement_cache_size", "0")):
        yield "statement_cache_size must be a whole number"
    if query.get("gsslib", "gssapi") not in {"gssapi", "sspi"}:
        yield "gsslib must be gssapi or sspi"


def _wrong_tls_values(query: Mapping[str, str]) -> Iterator[str]:
    if query.get("sslmode", "prefer") not in {*SSL_MODES, "no-verify"}:
        yield f"sslmode must be one of {', '.join(SSL_MODES)}"
    if query.get("ssl", "true") not in _TRUE | _FALSE | {"no-verify", *SSL_MODES}:
        yield "ssl must be true or false; better use sslmode"
    mode = _tls(query).get("sslmode", "prefer")
    if query.get("sslrootcert") == SYSTEM_ROOTS and mode != "verify-full":
        yield "sslrootcert=system needs sslmode=verify-full"
    negotiation = query.get("sslnegotiation", "postgres")
    if negotiation not in {"postgres", "direct"}:
        yield "sslnegotiation must be postgres or direct"
    elif negotiation == "direct" and SSL_MODES.index(mode) < SSL_MODES.index("require"):
        yield "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full"
    for name in ("ssl_min_protocol_version", "ssl_max_protocol_version"):
        if not re.fullmatch(r"TLSv1(\.[123])?", query.get(name, "TLSv1.2")):
            yield f"{name} must be TLSv1.2 or TLSv1.3"


def _tls(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of TLS. ``ssl`` and ``no-verify`` are spellings of other drivers."""
    tls = {name: query[name] for name in query if name in _TLS_PARAMETERS}
    ssl = query.get("ssl")
    if "sslmode" not in tls and ssl is not None:
        tls["sslmode"] = "require" if ssl in _TRUE else "disable" if ssl in _FALSE else ssl
    if tls.get("sslmode") == "no-verify":
        tls["sslmode"] = "require"
    if tls.get("sslrootcert") == SYSTEM_ROOTS:
        tls.setdefault("sslmode", "verify-full")
    if tls.get("sslmode", "prefer") not in SSL_MODES:
        del tls["sslmode"]  # reported as a problem
    return tls


def _places(
    places: str, query: Mapping[str, str], problems: list[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the hosts and their ports. One port in the query stands for all hosts."""
    pairs = [_host_and_port(each) for each in places.split(",")] if places else []
    if not pairs:
        named = query.get("host") or query.get("hostaddr")
        pairs = [(each.strip("[]"), "") for each in named.split(",")] if named else []
    given = query["port"].split(",") if "port" in query else []
    if len(given) == 1:
        given *= max(len(pairs), 1)
    if given and len(given) != max(len(pairs), 1):
        problems.append("port must have one number, or one for each host")
        return (), ()
    texts = [port for _, port in pairs] or [""]
    texts = [
        text or default for text, default in zip(texts, given or [""] * len(texts), strict=True)
    ]
    if not all(not text or (text.isdecimal() and 0 < int(text) < _PORT_LIMIT) for text in texts):
        problems.append(f"a port must be a number below {_PORT_LIMIT}")
        return (), ()
    hosts = tuple(unquote(host) for host, _ in pairs)
    if hosts and not all(hosts):
        problems.append("a host has no name")
    return hosts, tuple(int(text or 5432) for text in texts) if any(texts) or len(hosts) > 1 else ()


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
