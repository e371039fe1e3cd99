"""CORS: only pages of the configured origins may call the API."""

from typing import Any

import httpx2
import pytest
from support.auth import bearer
from support.in_process import InProcessDaemon, running_daemon
from support.requests import PROBLEM_JSON, open_stream

from chatd.store.tokens import Tokens

APP, OTHER = "https://app.example.com", "https://evil.example.com"
ALLOWED = "access-control-allow-origin"
HTTP: dict[str, Any] = {"cors_origins": [APP]}


async def preflight(
    chatd: InProcessDaemon, origin: str, method: str, headers: str
) -> httpx2.Response:
    """Send the preflight request of a browser, which has no credentials."""
    return await chatd.api.http.options(
        "/api/v1/chats",
        headers={
            "origin": origin,
            "access-control-request-method": method,
            "access-control-request-headers": headers,
        },
    )


async def test_configured_origin_is_allowed(dsn: str) -> None:
    async with running_daemon(dsn, http=HTTP, auth={"mode": "token"}) as chatd:
        _, secret = await Tokens(chatd.daemon.services.database).create(owner_id="ann")
        wanted = (
            "authorization,cache-control,content-type,idempotency-key,last-event-id,x-chatd-owner"
        )
        for method in ("GET", "POST", "PATCH", "DELETE"):
            preflight_response = await preflight(chatd, APP, method, wanted)
            assert (preflight_response.status_code, preflight_response.headers[ALLOWED]) == (
                200,
                APP,
            )
        known = bearer(secret) | {"origin": APP}
        made = await chatd.api.http.post("/api/v1/chats", json={}, headers=known)
        assert (made.status_code, made.headers[ALLOWED]) == (201, APP)
        assert "x-request-id" in made.headers["access-control-expose-headers"].lower()
        path = f"/api/v1/chats/{made.json()['id']}/stream"
        async with open_stream(chatd, path, headers=known) as stream:
            assert stream.headers[ALLOWED] == APP
        refused = await chatd.api.http.get("/api/v1/chats", headers={"origin": APP})
        assert refused.headers["content-type"] == PROBLEM_JSON
        assert (refused.status_code, refused.headers[ALLOWED]) == (401, APP), (
            "the page may read the reason"
        )


@pytest.mark.parametrize(
    "http", [HTTP, {}], ids=["other origin configured", "no origin configured"]
)
async def test_other_origins_are_not_allowed(dsn: str, http: dict[str, Any]) -> None:
    async with running_daemon(dsn, http=http) as chatd:
        preflight_response = await preflight(chatd, OTHER, "POST", "content-type")
        assert preflight_response.status_code >= 400
        assert ALLOWED not in preflight_response.headers
        answer = await chatd.api.http.get("/api/v1/chats", headers={"origin": OTHER})
        assert ALLOWED not in answer.headers
