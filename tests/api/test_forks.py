"""Forks and regenerated answers over HTTP."""

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted
from support.requests import assert_problem


async def test_fork_is_a_chat_of_its_own(chatd: InProcessDaemon) -> None:
    source = await chatd.api.create("hello", title="one")
    await chatd.api.wait_for_status(source["id"], "waiting")
    question, answer = await chatd.api.messages(source["id"])
    url = f"/api/v1/chats/{source['id']}/fork"
    response = await chatd.api.http.post(
        url, json={"from_message_id": question["id"], "title": "two"}
    )
    assert response.status_code == 201, response.text
    fork = response.json()
    assert response.headers["location"] == f"/api/v1/chats/{fork['id']}"
    assert (fork["status"], fork["title"], fork["version"]) == ("waiting", "two", 1)
    [copied] = await chatd.api.messages(fork["id"])
    assert (copied["content"], copied["chat_id"]) == (question["content"], fork["id"])

    await chatd.api.http.post(f"/api/v1/chats/{fork['id']}/messages", json={"content": "and?"})
    await chatd.api.wait_for_status(fork["id"], "waiting")
    assert len(await chatd.api.messages(fork["id"])) == 3
    assert await chatd.api.messages(source["id"]) == [question, answer]

    [entry, *_] = (await chatd.api.http.get(f"/api/v1/chats/{fork['id']}/events")).json()["items"]
    assert (entry["transition"], entry["data"]["forked_from"]) == ("fork", source["id"])


async def test_fork_made_twice_with_a_key_is_one_chat(chatd: InProcessDaemon) -> None:
    source = await chatd.api.create()
    url, headers = f"/api/v1/chats/{source['id']}/fork", {"idempotency-key": "fork-once"}
    missing = await chatd.api.http.post(url, json={"from_message_id": 7}, headers=headers)
    assert_problem(missing, 404, "message_not_found")
    first = await chatd.api.http.post(url, json={}, headers=headers)
    again = await chatd.api.http.post(url, json={}, headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())


@pytest.mark.parametrize(
    ("limit", "code"), [("max_chat_bytes", "chat_full"), ("max_owner_bytes", "storage_full")]
)
async def test_fork_that_does_not_fit_is_refused(dsn: str, limit: str, code: str) -> None:
    """A history of a megabyte, the echo included, counts as it does when it is sent."""
    async with running_daemon(dsn, scripted()) as chatd:
        chat = await chatd.api.create("a" * 500_000)
        await chatd.api.wait_for_status(chat["id"], "waiting")
    limits = {limit: 2_500_000 if limit == "max_owner_bytes" else 65_536}
    async with running_daemon(dsn, scripted(), limits=limits) as chatd:
        url = f"/api/v1/chats/{chat['id']}/fork"
        if limit == "max_owner_bytes":
            assert (await chatd.api.http.post(url, json={})).status_code == 201
        assert_problem(await chatd.api.http.post(url, json={}), 413, code, f"limits.{limit}")


async def test_answer_is_generated_again(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create("hello")
    await chatd.api.wait_for_status(chat["id"], "waiting")
    question, answer = await chatd.api.messages(chat["id"])
    url = f"/api/v1/chats/{chat['id']}/messages/{answer['id']}/regenerate"
    response = await chatd.api.http.post(url)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "pending"
    await chatd.api.wait_for_status(chat["id"], "waiting")
    kept, new = await chatd.api.messages(chat["id"])
    assert kept == question
    assert new["id"] > answer["id"]
    missing = await chatd.api.http.post(url)
    assert (missing.status_code, missing.json()["code"]) == (404, "message_not_found")
