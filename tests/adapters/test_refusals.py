"""Refusals, credentials and CORS under the prefixes of adapters."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support import probe_adapter
from support.in_process import InProcessDaemon
from support.providers import scripted
from support.shared_daemon import SharedDaemon, shared_daemon

from chatd.adapters.config import AdapterConfig
from chatd.adapters.registry import build_adapters
from chatd.api.adapter import Adapter, Refusal
from chatd.api.errors.codes import PROBLEMS
from chatd.api.errors.problems import problem_response
from chatd.api.scope import ADAPTER
from chatd.settings.adapters import AdaptersSettings

ORIGIN = "https://app.example.com"
NAMES = get_args(get_args(AdaptersSettings.model_fields["enabled"].annotation)[0])
"""The names of all adapters."""


def all_adapters(config: AdapterConfig) -> list[Adapter]:
    return [*build_adapters(config), probe_adapter.build(config)]


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chatd.daemon.wiring.api.build_adapters", all_adapters)
        with shared_daemon(
            module_dsn,
            scripted(),
            adapters={"enabled": [*NAMES]},
            http={"max_body_bytes": 4096, "cors_origins": [ORIGIN]},
        ) as daemon:
            yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    async with shared.as_new_owner() as daemon:
        yield daemon


def adapter_routes() -> list[tuple[str, str]]:
    """Return the method and a path of each route of each adapter. None is in the OpenAPI document."""
    adapters = all_adapters(AdapterConfig(enabled=NAMES))
    routes: list[tuple[str, str]] = []
    for adapter in adapters:
        for route in adapter.router.routes:
            assert isinstance(route, Route)
            assert not route.include_in_schema, route.path
            assert route.path.startswith(adapter.prefix)
            routes += [
                (method, re.sub(r"{.*?}", "x", route.path)) for method in route.methods or ()
            ]
    return routes


async def test_every_route_of_every_adapter_takes_a_token(chatd: InProcessDaemon) -> None:
    routes = adapter_routes()
    assert len(routes) >= 3
    for method, path in routes:
        answer = await chatd.api.http.request(method, path, headers={"authorization": ""})
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] != "application/problem+json", (method, path)
        assert answer.headers["www-authenticate"]


@pytest.mark.parametrize("code", sorted(PROBLEMS))
async def test_every_problem_is_spelled_by_the_adapter(code: str) -> None:
    spelled: list[Refusal] = []

    def refuse(refusal: Refusal) -> PlainTextResponse:
        spelled.append(refusal)
        return PlainTextResponse(refusal.detail, refusal.status, dict(refusal.headers))

    adapter = Adapter(
        name="a", prefix="/a", router=probe_adapter.router, refuse=refuse, config=None
    )
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    response = problem_response(code, "Why.", headers={"x-more": "1"})
    await response({"type": "http", ADAPTER: adapter}, None, send)  # type: ignore[arg-type]
    [refusal] = spelled
    assert (refusal.code, refusal.status) == (code, PROBLEMS[code].status)
    headers = dict(sent[0]["headers"])
    assert headers[b"x-more"] == b"1"
    assert (b"retry-after" in headers) == (PROBLEMS[code].retry_after_seconds is not None)
    assert headers[b"content-length"] == b"4"
    assert sent[1]["body"] == b"Why."


async def test_refusals_before_and_after_the_route(chatd: InProcessDaemon) -> None:
    http = chatd.api.http
    unknown = await http.get("/probe/a/b/c")
    assert (unknown.status_code, unknown.text.partition(":")[0]) == (404, "not_found")
    root = await http.get("/probe")
    assert (root.status_code, root.text.partition(":")[0]) == (404, "not_found")
    method = await http.patch("/probe/a", json={})
    assert (method.status_code, method.text.partition(":")[0]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "DELETE, GET, POST"
    invalid = await http.post("/probe/a", json=[])
    assert (invalid.status_code, invalid.text.partition(":")[0]) == (422, "invalid_request")
    large = await http.post("/probe/a", json={"text": "x" * 5000})
    assert (large.status_code, large.text.partition(":")[0]) == (413, "body_too_large")
    bug = await http.post("/probe/a", json={"no text": 1})
    assert (bug.status_code, bug.text.partition(":")[0]) == (500, "internal")
    missing = await http.get("/probe/a")
    assert (missing.status_code, missing.text.partition(":")[0]) == (404, "chat_not_found")
    native = await http.get("/prober")
    assert native.headers["content-type"] == "application/problem+json"


async def test_credential_from_another_place(chatd: InProcessDaemon) -> None:
    http = chatd.api.http
    token = http.headers["authorization"].removeprefix("Bearer ")
    del http.headers["authorization"]
    found = await http.get("/probe/a", headers={"x-api-key": token})
    assert found.text.startswith("chat_not_found"), "the caller is known"
    both = {"x-api-key": token, "authorization": f"bearer {token}"}
    assert (await http.get("/probe/a", headers=both)).status_code == 404
    other = {"x-api-key": token, "authorization": "Bearer other"}
    assert (await http.get("/probe/a", headers=other)).status_code == 401
    assert (await http.get("/api/v1/chats", headers={"x-api-key": token})).status_code == 401


async def test_pages_may_send_any_header(chatd: InProcessDaemon) -> None:
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os",
    }
    answer = await chatd.api.http.options("/probe/a", headers=preflight)
    assert answer.status_code == 200
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    refused = await chatd.api.http.get("/probe/a", headers={"origin": ORIGIN})
    exposed = refused.headers["access-control-expose-headers"].lower()
    assert {"location", "x-chatd-code", "x-vercel-ai-ui-message-stream"} <= set(exposed.split(", "))
