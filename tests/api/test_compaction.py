"""Compaction over HTTP, by a worker that only this test is."""

from support.in_process import running_daemon
from support.requests import assert_problem


async def test_idle_chat_is_compacted_by_a_turn(dsn: str) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        chat = await chatd.api.create()
        url = f"/api/v1/chats/{chat['id']}/compact"
        assert_problem(await chatd.api.http.post(url, json={}), 409, "nothing_to_compact")
        await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/messages", json={"content": "hi"})
        await chatd.api.interrupt(chat["id"])
        for body in ({"instructions": ""}, {"instructions": "x" * 4001}, {"instruction": "x"}):
            assert_problem(await chatd.api.http.post(url, json=body), 422, "invalid_request")
        key = {"idempotency-key": "compact-once"}
        body = {"instructions": "x" * 4000}
        first = await chatd.api.http.post(url, json=body, headers=key)
        assert (first.status_code, first.json()["status"]) == (202, "pending")
        again = await chatd.api.http.post(url, json=body, headers=key)
        assert (again.status_code, again.json()) == (202, first.json())
        busy = await chatd.api.http.post(url, json={})
        assert (busy.status_code, busy.json()["status"]) == (202, "pending")
        assert busy.json()["version"] == first.json()["version"] + 1
        entries = (await chatd.api.http.get(f"/api/v1/chats/{chat['id']}/events")).json()["items"]
        assert [entry["transition"] for entry in entries][-2:] == ["request_compaction"] * 2
        assert entries[-1]["data"] == {}, "instructions are content"
