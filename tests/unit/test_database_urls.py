"""Database URLs as providers hand them out, and every parameter: translated, dropped or refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.certificates import Certificates, make_certificates
from support.provider_urls import AUTHORITY, PROVIDER_URLS, SECRET

from chatd.cli.main import main
from chatd.settings import ConfigurationError, load
from chatd.store.database_url import DatabaseUrl, InvalidDatabaseUrl, parse

MODEL = '[providers.p]\nkind = "scripted"\n[models.m]\nprovider = "p"\nmodel = "m"\n'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("url", PROVIDER_URLS.values(), ids=PROVIDER_URLS.keys())
def test_url_of_a_provider_is_accepted(
    url: str, certificates: Certificates, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config_check(url.replace(AUTHORITY, str(certificates.authority)), tmp_path) == 0
    assert SECRET not in capsys.readouterr().out
    parsed = parse(url)
    assert parsed.password == SECRET
    arguments = parsed.connect_arguments()
    assert arguments["host"]
    assert "channel_binding" not in str(arguments)


def config_check(url: str, folder: Path) -> int:
    config = folder / "config.toml"
    config.write_text(f"[database]\nurl = {json.dumps(url)}\n{MODEL}")
    return main(["config", "check", "--config", str(config), "--json"])


H = "postgresql://u:p@h/d"
TRANSLATED: dict[str, tuple[str, Callable[[DatabaseUrl], object], object]] = {
    "socket": (
        "postgresql://u@/d?host=/cloudsql/a:b:c",
        lambda url: (url.hosts, url.ports, url.database),
        (("/cloudsql/a:b:c",), (), "d"),
    ),
    "socket in the place of the host": (
        "postgresql://%2Fcloudsql%2Fa%3Ab%3Ac:6432/d",
        lambda url: (url.hosts, url.ports),
        (("/cloudsql/a:b:c",), (6432,)),
    ),
    "several hosts": (
        "postgresql://a:1,b,[::1]:3/d",
        lambda url: (url.hosts, url.ports),
        (("a", "b", "::1"), (1, 5432, 3)),
    ),
    "hosts and one port": (
        "postgresql:///d?host=a,b&port=7",
        lambda url: (url.hosts, url.ports),
        (("a", "b"), (7, 7)),
    ),
    "hosts and ports": (
        "postgresql:///d?host=a,b&port=7,8",
        lambda url: (url.hosts, url.ports),
        (("a", "b"), (7, 8)),
    ),
    "hostaddr": ("postgresql:///d?hostaddr=10.0.0.1", lambda url: url.hosts, ("10.0.0.1",)),
    "port alone": ("postgresql:///d?port=7", lambda url: (url.hosts, url.ports), ((), (7,))),
    "login in the query": (
        "postgresql://h?user=me&password=x%2By&dbname=d",
        lambda url: (url.user, url.password, url.database),
        ("me", "x+y", "d"),
    ),
    "plus is no space": ("postgresql://u:a+b@h/d?user=x+y", lambda url: url.password, "a+b"),
    "mode": (f"{H}?sslmode=require", lambda url: url.tls, {"sslmode": "require"}),
    "mode of Node": (f"{H}?sslmode=no-verify", lambda url: url.tls, {"sslmode": "require"}),
    "ssl=true": (f"{H}?ssl=true", lambda url: url.tls, {"sslmode": "require"}),
    "ssl=0": (f"{H}?ssl=0", lambda url: url.tls, {"sslmode": "disable"}),
    "system": (
        f"{H}?sslrootcert=system",
        lambda url: (url.tls["sslmode"], url.verifies_by_system_roots),
        ("verify-full", True),
    ),
    "direct": (
        f"{H}?sslmode=require&sslnegotiation=direct",
        lambda url: url.connect_arguments()["dsn"],
        "postgresql://?sslmode=require&sslnegotiation=direct",
    ),
    "options": (
        f"{H}?options=-c%20search_path%3Dx",
        lambda url: url.server_settings,
        {"options": "-c search_path=x"},
    ),
    "options of Neon": (
        f"{H}?options=endpoint%3Dep-x",
        lambda url: url.server_settings,
        {"options": "endpoint=ep-x"},
    ),
    "application_name": (
        f"{H}?application_name=mine&fallback_application_name=no",
        lambda url: url.server_settings,
        {"application_name": "mine"},
    ),
    "schema of Prisma": (
        f"{H}?schema=app",
        lambda url: url.server_settings,
        {"search_path": "app"},
    ),
    "schema of JDBC": (
        f"{H}?currentSchema=app",
        lambda url: url.server_settings,
        {"search_path": "app"},
    ),
    "connect_timeout": (f"{H}?connect_timeout=3", lambda url: url.connect_timeout_seconds, 3),
    "no connect_timeout": (f"{H}?connect_timeout=0", lambda url: url.connect_timeout_seconds, None),
    "statement_cache_size": (
        f"{H}?statement_cache_size=0",
        lambda url: url.connect_arguments()["statement_cache_size"],
        0,
    ),
    "target_session_attrs": (
        f"{H}?target_session_attrs=read-write",
        lambda url: url.connect_arguments()["target_session_attrs"],
        "read-write",
    ),
    "service": ("postgresql://?service=x", lambda url: url.keywords, {"service": "x"}),
    "gssencmode": (f"{H}?gssencmode=prefer", lambda url: url.tls, {}),
    "prepared statements": (f"{H}?prepared_statements=true", lambda url: url.keywords, {}),
    "default": ("postgresql:///chatd", lambda url: url.connect_arguments(), {
        "dsn": "postgresql://", "database": "chatd",
    }),
}  # fmt: skip


@pytest.mark.parametrize(("url", "shown", "expected"), TRANSLATED.values(), ids=list(TRANSLATED))
def test_parameter_is_translated(
    url: str, shown: Callable[[DatabaseUrl], object], expected: object
) -> None:
    assert shown(parse(url)) == expected


@pytest.mark.parametrize(
    "parameter",
    [
        *("channel_binding=require", "gssencmode=disable", "keepalives=1", "keepalives_idle=30"),
        *("keepalives_interval=5", "keepalives_count=3", "tcp_user_timeout=1000", "sslsni=1"),
        *("fallback_application_name=x", "client_encoding=UTF8", "load_balance_hosts=random"),
        *("pgbouncer=true", "pool_mode=transaction", "supa=base-pooler.x", "connection_limit=1"),
        *("workaround=supabase-pooler.vercel", "uselibpqcompat=true", "sslaccept=strict"),
        *("sslmode=", "prepareThreshold=0", "sslcompression=0", "pool_timeout=10"),
    ],
)
def test_parameter_is_dropped(parameter: str) -> None:
    assert parse(f"{H}?{parameter}") == parse(H)


REFUSED = {
    "unknown": (f"{H}?sslmod=require", "does not know the parameter sslmod: remove it"),
    "server setting": (f"{H}?statement_timeout=5", "as options=-c%20statement_timeout%3DVALUE"),
    "mode": (f"{H}?sslmode=bogus", "sslmode must be one of disable, allow, prefer, require"),
    "weak mode with system": (f"{H}?sslmode=require&sslrootcert=system", "needs sslmode=verify-full"),
    "weak mode with direct": (f"{H}?sslnegotiation=direct", "needs sslmode=require"),
    "negotiation": (f"{H}?sslnegotiation=x", "sslnegotiation must be postgres or direct"),
    "ssl": (f"{H}?ssl=maybe", "ssl must be true or false"),
    "TLS version": (f"{H}?ssl_min_protocol_version=3", "must be TLSv1.2 or TLSv1.3"),
    "GSSAPI": (f"{H}?gssencmode=require", "gssencmode: chatd cannot encrypt by GSSAPI"),
    "gsslib": (f"{H}?gsslib=x", "gsslib must be"),
    "standby": (f"{H}?target_session_attrs=standby", "must be one of any, primary, read-write"),
    "authentication": (f"{H}?require_auth=scram-sha-256", "require_auth: chatd cannot insist"),
    "account": (f"{H}?requirepeer=postgres", "requirepeer: chatd cannot check"),
    "prepared": (f"{H}?prepared_statements=false", "needs prepared statements"),
    "timeout": (f"{H}?connect_timeout=soon", "connect_timeout must be a whole number"),
    "cache": (f"{H}?statement_cache_size=-1", "statement_cache_size must be a whole number"),
    "ports": ("postgresql://a,b/d?port=1,2,3", "port must have one number, or one for each host"),
    "port 0": ("postgresql://h:0/d", "a port must be a number below 65536"),
    "host": ("postgresql://a,/d", "a host has no name"),
    "driver": ("postgresql+asyncpg://u:p@h/d", "postgresql://, without the name of a driver"),
    "JDBC": ("jdbc:postgresql://h/d", "postgresql://, without the name of a driver"),
    "keywords": ("host=h dbname=d", "must begin with postgresql://"),
    "MySQL": ("mysql://u:p@h/d", "must begin with postgresql://"),
    "missing root": (f"{H}?sslmode=verify-full&sslrootcert=/no/ca.pem", "sslrootcert: cannot read /no/ca"),
    "missing CRL": (f"{H}?sslmode=require&sslcrl=/no/crl.pem", "sslcrl: cannot read /no/crl.pem"),
    "missing certificate": (f"{H}?sslmode=require&sslcert=/no/c.pem", "sslcert: cannot read /no/c.pem"),
    "missing key": (f"{H}?sslmode=require&sslcert=/no/c&sslkey=/no/k", "sslkey: cannot read /no/k"),
    "missing passfile": (f"{H}?passfile=/no/pgpass", "passfile: cannot read /no/pgpass"),
    "no root at all": (f"{H}?sslmode=verify-ca", "sslmode=verify-ca needs sslrootcert"),
    "root is no certificate": (f"{H}?sslmode=require&sslrootcert=/dev/null", "holds no certificates"),
    "folder as root": (f"{H}?sslmode=require&sslrootcert=/", "sslrootcert: cannot read /"),
    "password with @": (f"postgresql://u:{SECRET}@x@h/d", "percent-encode @ as %40"),
    "password with #": (f"postgresql://u:x#{SECRET}@h/d", "percent-encode @ as %40"),
    "password with /": (f"postgresql://u:x/{SECRET}@h/d", "percent-encode @ as %40"),
    "password with ?": (f"postgresql://u:x?{SECRET}&y@h/d", "percent-encode @ as %40"),
    "name that is none": (f"{H}?{SECRET}%20{SECRET}=1", "a parameter whose name is none"),
}  # fmt: skip


@pytest.mark.parametrize(("url", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_mistake_is_refused_in_words_without_the_secret(
    url: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_check(url, tmp_path) == 78
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert problem["key"] == "database.url"
    assert expected in problem["reason"]
    assert SECRET not in problem["reason"]


def test_every_mistake_of_a_url_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatabaseUrl) as raised:
        parse(f"{H}?sslmode=x&one=1&two=2&port=z")
    assert len(raised.value.problems) == 4
    config = tmp_path / "config.toml"
    config.write_text(f"[database]\nurl = '{H}?one=1'\ndirect_url = '{H}?two=2'\n")
    with pytest.raises(ConfigurationError) as error:
        load(config, {})
    assert [each.key for each in error.value.problems] == ["database.url", "database.direct_url"]


def test_certificate_and_key_must_fit(certificates: Certificates, tmp_path: Path) -> None:
    pair = f"{H}?sslmode=require&sslcert={certificates.certificate}"
    assert config_check(f"{pair}&sslkey={certificates.key}", tmp_path) == 0
    assert config_check(f"{pair}&sslkey={certificates.other_key}", tmp_path) == 78
    assert config_check(f"{pair}&sslkey={certificates.locked_key}", tmp_path) == 78
    locked = f"{pair}&sslkey={certificates.locked_key}&sslpassword={certificates.password}"
    assert config_check(locked, tmp_path) == 0


def test_disabled_tls_needs_no_files(tmp_path: Path) -> None:
    assert config_check(f"{H}?sslmode=disable&sslrootcert=/no/ca.pem", tmp_path) == 0
