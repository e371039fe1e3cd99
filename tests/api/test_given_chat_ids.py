"""New chats whose id is given by their caller."""

from uuid import uuid4, uuid5

from support.auth import authenticated_daemons, create_chat_as
from support.concurrency import gather_all
from support.in_process import running_daemon
from support.providers import scripted
from support.requests import assert_problem

ANSWER = scripted([{"text": "It scatters blue."}])


async def test_twenty_creates_at_once_give_one_chat_and_one_turn(dsn: str) -> None:
    body = {"id": str(uuid4()), "content": "Why is the sky blue?"}
    async with running_daemon(dsn, provider=ANSWER) as chatd:
        http = chatd.api.http
        answers = await gather_all(*(http.post("/api/v1/chats", json=body) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
        for answer in answers:
            if answer.status_code != 201:
                assert_problem(answer, 409, "chat_exists")
        chat = await chatd.api.wait_for_status(body["id"], "waiting")
        assert chat["id"] == body["id"]
        messages = (await http.get(f"/api/v1/chats/{body['id']}/messages")).json()["items"]
        assert [message["role"] for message in messages] == ["user", "assistant"]


async def test_id_of_a_stranger_and_one_that_is_derived_are_refused(dsn: str) -> None:
    """Nobody learns of a stranger's chat, and nobody takes an id before the chat that it is of."""
    async with authenticated_daemons(dsn, scripted()) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        http, chat = at.chatd.api.http, await create_chat_as(at.chatd, ann, content="hello")
        body = {"id": chat["id"], "content": "mine?"}
        for _ in range(2):
            answer = await http.post("/api/v1/chats", json=body, headers=bob)
            assert_problem(answer, 404, "chat_not_found")
            await http.delete(f"/api/v1/chats/{chat['id']}", headers=ann)
        derived = {"id": str(uuid5(uuid4(), "1000001/call_1"))}
        refused = await http.post("/api/v1/chats", json=derived, headers=bob)
        assert_problem(refused, 422, "invalid_request", "version 5")


async def test_late_request_creates_no_deleted_chat(dsn: str) -> None:
    body = {"id": str(uuid4())}
    async with running_daemon(dsn) as chatd:
        http = chatd.api.http
        first = await http.post("/api/v1/chats", json=body)
        assert first.headers["location"] == f"/api/v1/chats/{body['id']}"
        await http.delete(first.headers["location"])
        assert_problem(await http.post("/api/v1/chats", json=body), 410, "chat_gone")
        assert_problem(await http.get(first.headers["location"]), 404, "chat_not_found")
