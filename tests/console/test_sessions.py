"""Sign-in, and what a session may do, without a browser: pages and the API by their answers."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
import pytest
from support.console import create_token, origin, revoke
from support.eventually import TIMEOUT_SECONDS, eventually
from support.http import NO_TLS
from support.shared_daemon import SharedDaemon, shared_daemon

INLINE = r"<script(?! type=\"module\" src=\"/console/)|<style|\sstyle=|\son\w+="
"""Scripts and styles in a page itself."""
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    """Run a daemon with a console and tokens for the tests of this module."""
    with shared_daemon(module_dsn, console={"enabled": True}) as daemon:
        yield daemon


@asynccontextmanager
async def visiting(daemon: SharedDaemon) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=origin(daemon), timeout=TIMEOUT_SECONDS, verify=NO_TLS
    ) as http:
        yield http


def csrf_of(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf(?:_|-)token" (?:value|content)="(\w+)"', page.text)
    assert found, page.text
    return found[1]


async def sign_in(http: httpx2.AsyncClient, secret: str, target: str = "/") -> httpx2.Response:
    form = await http.get("/sign-in")
    fields = {"csrf_token": csrf_of(form), "credential": secret, "next": target}
    return await http.post("/sign-in", data=fields)


async def test_sign_in_leads_back_and_sign_out_ends_it(console: SharedDaemon) -> None:
    _, secret = await create_token(console, f"owner-{uuid4()}")
    async with visiting(console) as http:
        away = await http.get("/?status=error")
        assert away.status_code == 303
        assert away.headers["location"] == "/sign-in?next=%2F%3Fstatus%3Derror"
        signed_in = await sign_in(http, secret, "/?status=error")
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/?status=error")
        cookie = signed_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        home = await http.get("/")
        assert home.status_code == 200
        assert secret not in home.text
        refused = await http.post("/sign-out", data={"csrf_token": "wrong"})
        assert "set-cookie" not in refused.headers
        await http.post("/sign-out", data={"csrf_token": csrf_of(home)})
        assert (await http.get("/")).status_code == 303


@pytest.mark.parametrize(
    ("secret", "status", "words"),
    [
        ("chatd_wrong", 422, "unknown, expired or revoked"),
        ("two words", 422, "one word"),
        ("", 422, "one word"),
    ],
)
async def test_sign_in_refuses_in_words(
    console: SharedDaemon, secret: str, status: int, words: str
) -> None:
    async with visiting(console) as http:
        answer = await sign_in(http, secret)
        assert (answer.status_code, words in answer.text) == (status, True)
        assert (await http.get("/")).status_code == 303


async def test_sign_in_takes_the_token_of_its_form(console: SharedDaemon) -> None:
    _, secret = await create_token(console, "owner")
    async with visiting(console) as http:
        await http.get("/sign-in")
        answer = await http.post("/sign-in", data={"credential": secret, "csrf_token": "wrong"})
        assert answer.status_code == 403
        too_long = await http.post("/sign-in", data={"credential": "a" * 20_000})
        assert too_long.status_code == 403
        other_site = {"origin": "https://evil.test"}
        foreign = await http.post("/sign-in", data={"credential": secret}, headers=other_site)
        assert foreign.status_code == 403


async def test_scripts_call_the_api_with_the_cookie_and_the_csrf_token(
    console: SharedDaemon,
) -> None:
    owner = f"owner-{uuid4()}"
    _, secret = await create_token(console, owner)
    async with visiting(console) as http:
        await sign_in(http, secret)
        token = {"x-chatd-csrf": csrf_of(await http.get("/"))}
        chats = "/api/v1/chats"
        assert (await http.post(chats, json={}, headers=SAME_ORIGIN)).status_code == 403
        assert (await http.post(chats, json={}, headers={"x-chatd-csrf": "0"})).status_code == 403
        created = await http.post(chats, json={}, headers=token | SAME_ORIGIN)
        assert (created.status_code, created.json()["owner_id"]) == (201, owner)
        assert (await http.get(chats, headers=SAME_ORIGIN)).status_code == 200
        for site in ("cross-site", "same-site"):
            headers = token | {"sec-fetch-site": site}
            assert (await http.get(chats, headers=headers)).status_code == 403
            assert (await http.post(chats, json={}, headers=headers)).status_code == 403
        # A credential of the request's own counts, and the cookie does not.
        bearer = {"authorization": "Bearer chatd_wrong"}
        assert (await http.get(chats, headers=bearer)).status_code == 401


async def test_revoked_token_ends_its_session(console: SharedDaemon) -> None:
    token, secret = await create_token(console, f"owner-{uuid4()}")
    async with visiting(console) as http:
        await sign_in(http, secret)
        assert (await http.get("/")).status_code == 200
        await revoke(console, token.id)

        async def ended() -> httpx2.Response | None:
            page = await http.get("/")
            return page if page.status_code != 200 else None

        answer = await eventually(ended)
        assert answer.headers["location"] == "/sign-in?next=%2F&ended=1"
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert "session has ended" in (await http.get(answer.headers["location"])).text


async def test_chat_of_another_owner_is_404_in_words(console: SharedDaemon) -> None:
    (_, mine), (_, theirs) = [await create_token(console, f"owner-{uuid4()}") for _ in range(2)]
    async with visiting(console) as http:
        bearer = {"authorization": f"Bearer {theirs}"}
        chat = (await http.post("/api/v1/chats", json={}, headers=bearer)).json()
        await sign_in(http, mine)
        paths = [f"/chats/{chat['id']}", f"/chats/{uuid4()}", "/chats/no-id", "/chats/a/b/c"]
        paths += [f"/console/chats/{chat['id']}/{part}" for part in ("state", "after", "before")]
        pages = [await http.get(path) for path in paths]
        assert [page.status_code for page in pages] == [404] * len(paths)
        assert all("belongs to another owner" in page.text for page in pages)


async def test_link_from_elsewhere_finds_the_session_of_the_browser(console: SharedDaemon) -> None:
    async with visiting(console) as http:
        again = await http.get("/", headers={"sec-fetch-site": "cross-site"})
        assert again.status_code == 200
        assert 'http-equiv="refresh" content="0"' in again.text
        assert (await http.get("/", headers=SAME_ORIGIN)).status_code == 303


async def test_every_page_has_a_strict_policy(console: SharedDaemon) -> None:
    _, secret = await create_token(console, f"owner-{uuid4()}")
    async with visiting(console) as http:
        form = await http.get("/sign-in")
        await sign_in(http, secret)
        for page in (form, await http.get("/"), await http.get("/chats/none")):
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert not re.search(INLINE, page.text)


async def test_assets_are_kept_for_ever_by_their_name(console: SharedDaemon) -> None:
    async with visiting(console) as http:
        page = await http.get("/sign-in")
        [style] = re.findall(r'href="(/console/static/\w+/console.css)"', page.text)
        asset = await http.get(style)
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-type"] == "text/css; charset=utf-8"
        other = await http.get("/console/static/0123/console.css")
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
        assert (await http.get("/console/static/0123/../app.py")).status_code == 404
        assert (await http.get("/console/static/0123/none.css")).status_code == 404
