"""Request ids of responses and log lines."""

import re
from dataclasses import replace

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.requests import assert_problem

FRESH = re.compile(r"[0-9a-f]{32}")


async def test_every_response_has_a_unique_request_id(chatd: InProcessDaemon) -> None:
    answers = [
        await chatd.api.http.get(path)
        for path in ("/livez", "/api/v1/chats", "/api/v1/chats/nonsense", "/nowhere", "/docs")
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(map(FRESH.fullmatch, ids))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "request_id", ["a", "Root=1-67891233-abcdef", "7c0f/1:2+3@x.y_z", "x" * 128]
)
async def test_valid_client_request_id_is_kept(chatd: InProcessDaemon, request_id: str) -> None:
    answer = await chatd.api.http.get("/nowhere", headers={"x-request-id": request_id})
    assert answer.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", 'a"b', "a\\b", "ä", "-a", "{}"])
async def test_invalid_client_request_id_is_replaced(
    chatd: InProcessDaemon, request_id: str
) -> None:
    answer = await chatd.api.http.get(
        "/livez", headers={"x-request-id": request_id.encode("latin-1")}
    )
    assert FRESH.fullmatch(answer.headers["x-request-id"])
    twice = [("x-request-id", "one"), ("x-request-id", "two")]
    answer = await chatd.api.http.get("/livez", headers=twice)
    assert FRESH.fullmatch(answer.headers["x-request-id"])


async def test_log_lines_carry_the_request_id(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise LookupError("wires crossed")

    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create()
        monkeypatch.setattr(chatd.daemon.services.store.reads, "chat_with_family", broken)
        path = f"/api/v1/chats/{chat['id']}"
        answer = await chatd.api.http.get(path, headers={"x-request-id": "lost-1"})
        assert_problem(answer, 500, "internal", "lost-1")
        assert answer.headers["x-request-id"] == "lost-1"
        fault = await chatd.wait_for_log("http.unexpected", request_id="lost-1")
        assert (fault["method"], fault["route"]) == ("GET", "/api/v1/chats/{chat_id}")
        line = await chatd.wait_for_log("http.request", request_id="lost-1")
        assert (line["status"], line["log_level"]) == (500, "warning")
        assert line["chat_id"] == chat["id"]


async def test_slow_requests_are_logged_at_info(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        created = await chatd.api.http.post(
            "/api/v1/chats", json={"title": "t"}, headers={"x-request-id": "quick"}
        )
        assert created.status_code == 201
        line = await chatd.wait_for_log("http.request", request_id="quick")
        assert (line["log_level"], line["status"], line["chat_id"]) == ("debug", 201, None)
        assert 0 < line["seconds"] < 10
        config = chatd.daemon.config
        api = replace(config.current.api, slow_request_seconds=1e-9)
        config.current = replace(config.current, api=api)
        headers = {"x-request-id": "slow"}
        await chatd.api.http.get("/api/v1/chats/nonsense?token=hidden", headers=headers)
        line = await chatd.wait_for_log("http.request", request_id="slow")
        assert (line["log_level"], line["status"]) == ("info", 422)
        assert (line["route"], line["chat_id"]) == ("/api/v1/chats/{chat_id}", None)
        headers = {"x-request-id": "stray"}
        await chatd.api.http.get("/what/is/this", headers=headers)
        assert (await chatd.wait_for_log("http.request", request_id="stray"))["route"] is None
