"""Sessions of the console: what a cookie proves, and for how long."""

from dataclasses import replace
from typing import Any

import pytest

from chatd.console.config import ConsoleConfig
from chatd.console.page import local_path
from chatd.console.session import (
    MAX_CREDENTIAL_LENGTH,
    begin_session,
    clear_cookie,
    is_storable,
    read_session,
    set_cookie,
)

CONFIG = ConsoleConfig(
    signs_in=True,
    secret="s" * 32,
    session_hours=1,
    behind_tls_proxy=False,
    loopback_only=False,
    allowed_origins=(),
)
NOW = 1_800_000_000.5
TOKEN = "chatd_abc.def-GHI"


def request(cookie: str, scheme: str = "http") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(b"cookie", cookie.encode())]}


def cookie_of(credential: str = TOKEN, config: ConsoleConfig = CONFIG) -> str:
    session = begin_session(credential, config, now=NOW)
    return set_cookie(session, request(""), config, now=NOW).partition(";")[0]


def test_cookie_brings_the_credential_back_until_it_expires() -> None:
    session = read_session(request(f"other=1; {cookie_of()}"), CONFIG, now=NOW)
    assert session is not None
    assert session.credential == TOKEN
    assert read_session(request(cookie_of()), CONFIG, now=NOW + 3599) is not None
    assert read_session(request(cookie_of()), CONFIG, now=NOW + 3600) is None


@pytest.mark.parametrize("position", range(len(cookie_of()) - len("chatd=")))
def test_no_byte_of_a_cookie_can_be_changed(position: int) -> None:
    value = cookie_of().removeprefix("chatd=")
    changed = "b" if value[position] == "a" else "a"
    forged = f"chatd={value[:position]}{changed}{value[position + 1 :]}"
    assert read_session(request(forged), CONFIG, now=NOW) is None


def test_another_secret_ends_all_sessions() -> None:
    changed = replace(CONFIG, secret="t" * 32)
    assert read_session(request(cookie_of()), changed, now=NOW) is None
    without = replace(CONFIG, secret="")
    assert read_session(request(cookie_of(config=without)), without, now=NOW) is not None


@pytest.mark.parametrize(
    "cookie",
    [
        "", "chatd", "chatd=", "chatd=v1", "chatd=v1.1.2.3", "chatd=v1.x.n.m.c", "chatd=v1.²." + "a.b.c",
        "chatd=v2.1800003600.n.m.c", "chatd=" + "v1." * 5000, f"{cookie_of()}; {cookie_of()}",
    ],
)  # fmt: skip
def test_what_is_no_cookie_of_a_session_is_none(cookie: str) -> None:
    assert read_session(request(cookie), CONFIG, now=NOW) is None


def test_csrf_token_belongs_to_one_session() -> None:
    one, other = (begin_session(TOKEN, CONFIG, now=NOW) for _ in range(2))
    assert one.is_valid_token(one.csrf_token)
    assert not one.is_valid_token(other.csrf_token)
    assert not one.is_valid_token("")
    assert not one.is_valid_token("é")


def test_cookie_is_kept_from_scripts_other_sites_and_plain_http() -> None:
    session = begin_session(TOKEN, CONFIG, now=NOW)
    plain = set_cookie(session, request(""), CONFIG, now=NOW)
    assert plain.startswith("chatd=")
    assert plain.endswith("; Path=/; Max-Age=3599; HttpOnly; SameSite=Strict")
    tls = replace(CONFIG, behind_tls_proxy=True)
    for header in (
        set_cookie(session, request(""), tls, now=NOW),
        clear_cookie(request("", "https"), CONFIG),
    ):
        assert header.startswith("__Host-chatd=")
        assert header.endswith("; HttpOnly; SameSite=Strict; Secure")


@pytest.mark.parametrize(
    ("credential", "fits"),
    [
        (TOKEN, True), ("a" * MAX_CREDENTIAL_LENGTH, True), ("a" * (MAX_CREDENTIAL_LENGTH + 1), False),
        ("", False), ("a;b", False), ("a b", False), ("a\r\nb", False), ("é", False), ('a"', False),
        ("a,b", False),
    ],
)  # fmt: skip
def test_credential_fits_into_a_cookie(credential: str, fits: bool) -> None:
    assert is_storable(credential) is fits


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/chats/1?at=2", "/chats/1?at=2"), ("", "/"), ("//evil.test", "/"), ("/\\evil.test", "/"),
        ("https://evil.test", "/"), ("/\t/evil.test", "/"), ("javascript:alert(1)", "/"), ("/a\r\nb", "/"),
    ],
)  # fmt: skip
def test_sign_in_leads_to_paths_of_this_origin_only(target: str, path: str) -> None:
    assert local_path(target) == path
