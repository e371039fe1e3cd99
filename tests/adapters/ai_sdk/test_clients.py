"""``useChat`` of the AI SDK's versions, as their packages have it, against a daemon."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from support.ai_sdk import WORDS, Gates, NodeChat, plain, shown_text, stored_text

SUN = {"weather": {"sun": True}}


@pytest.fixture
def name() -> str:
    """Return a name for the gates of this test alone."""
    return uuid4().hex[:8]


async def check_whole(page: NodeChat, tabs: Any) -> dict[str, Any]:
    """Check that a page shows what is stored, byte for byte, and that its chunks are valid."""
    state = await page("state")
    await page.check_chunks()
    hydrated = await tabs.messages()
    assert plain(state["messages"]) == plain(hydrated)
    assert shown_text(state["messages"][-1]) == stored_text(await tabs.stored())
    assert await tabs.clients.call("validate", messages=hydrated)
    return state


def events(state: dict[str, Any], kind: str) -> list[Any]:
    return [event[kind] for event in state["events"] if kind in event]


async def test_answer(tabs: Any) -> None:
    page = await tabs.open()
    state = await page("send", text="say it")
    assert state["status"] == "ready", state
    reasoning, text, source = [
        part for part in state["messages"][-1]["parts"] if part["type"] != "step-start"
    ]
    assert (reasoning["text"], text["text"]) == ("thinking", WORDS)
    assert (source["type"], source["url"], source["title"]) == ("source-url", "https://e.x/a", "A")
    if tabs.version != "v5":
        assert events(state, "finish")[-1]["finishReason"] == "stop"
    await check_whole(page, tabs)
    again = await page("send", text="say more")
    assert [message["role"] for message in again["messages"]] == ["user", "assistant"] * 2
    await check_whole(page, tabs)


async def test_tools_of_the_client(tabs: Any, name: str) -> None:
    page = await tabs.open(automatic=True, tools=SUN)
    await page("send", text=f"weather {name}")
    state = await page("until", contains="It is", status="ready")
    calls = [part for part in state["messages"][-1]["parts"] if part["type"] == "tool-weather"]
    assert [call["input"]["city"] for call in calls] == ["Bern", "Graz", "Rome"]
    assert [call["output"] for call in calls] == [{"sun": True}] * 3
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    assert len(events(state, "toolCall")) == 3, "each tool ran once"
    assert len(state["requests"]) == 3
    await check_whole(page, tabs)


async def test_reload_with_an_open_call(tabs: Any, name: str) -> None:
    first = await tabs.open()
    await first("send", text=f"weather {name}")
    page = await tabs.reload(automatic=True, tools=SUN)
    await page("resume")
    state = await page("until", contains="It is", status="ready")
    assert len(events(state, "toolCall")) == 3
    await check_whole(page, tabs)


async def test_two_tabs_run_the_same_tool(tabs: Any, name: str) -> None:
    first = await tabs.open(automatic=True)
    await first("send", text=f"weather {name}")
    second = await tabs.reload(automatic=True)
    pages = [first, second]
    await asyncio.gather(
        *(
            page("answer", tool="weather", call=f"call_0_{name}", output={"sun": 1})
            for page in pages
        )
    )
    for page in pages:
        await page("until", chunk=f"call_2_{name}", status="ready")
        await page.check_chunks()
    results = [m for m in await tabs.stored() if m["role"] == "tool"]
    assert len(results) == 1


async def test_approval(tabs: Any, name: str) -> None:
    page = await tabs.open(automatic=True)
    state = await page("send", text=f"pay {name}")
    if tabs.version == "v5":
        assert state["status"] == "error"
        assert "version 5 of the AI SDK cannot" in state["error"]
        return
    call = state["messages"][-1]["parts"][-1]
    assert (call["state"], call["input"]) == ("approval-requested", {"amount": 7})
    hydrated = (await tabs.messages())[-1]["parts"][-1]
    assert hydrated["state"] == "approval-requested"
    await page("approve", approval=call["approval"]["id"], approved=True)
    state = await page("until", contains="Paid", status="ready")
    assert shown_text(state["messages"][-1]) == 'Paid: "a receipt"'
    assert len(state["messages"]) == 2
    await check_whole(page, tabs)


async def test_approval_after_a_reload_is_denied(tabs: Any, name: str) -> None:
    if tabs.version == "v5":
        pytest.skip("this version has no approvals")
    await (await tabs.open())("send", text=f"pay {name}")
    page = await tabs.reload(automatic=True)
    call = (await page("resume"))["messages"][-1]["parts"][-1]
    await page("approve", approval=call["approval"]["id"], approved=False, reason="too much")
    state = await page("until", contains="Paid", status="ready")
    assert "did not allow" in shown_text(state["messages"][-1])
    assert "too much" in shown_text(state["messages"][-1])
    await check_whole(page, tabs)


async def test_error_and_retry(tabs: Any, name: str) -> None:
    page = await tabs.open()
    state = await page("send", text=f"fail {name}", messageId=None)
    assert state["status"] == "error"
    assert "The script says no." in state["error"]
    await page("regenerate")
    state = await check_whole(page, tabs)
    assert shown_text(state["messages"][-1]) == "Half and whole"
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"]


async def test_stop(tabs: Any, name: str) -> None:
    page = await tabs.open()
    await page("send", text=f"hold {name}", wait=False)
    await page("until", contains="Half ")
    await tabs.stop()
    state = await page("until", status="ready")
    assert shown_text(state["messages"][-1]) == "Half "
    await check_whole(page, tabs)
    again = await tabs.reload()
    state = await again("resume")
    assert state["requests"][-1]["status"] == 204


async def test_stop_of_a_resumed_stream(tabs: Any, name: str) -> None:
    first = await tabs.open()
    await first("send", text=f"hold {name}", wait=False)
    await first("until", contains="Half ")
    page = await tabs.reload()
    await page("resume", wait=False)
    await page("until", contains="Half ")
    await tabs.stop()
    await page("until", status="ready")
    await check_whole(page, tabs)


async def test_leaving_is_not_stopping(tabs: Any, gates: Gates, name: str) -> None:
    first = await tabs.open()
    await first("send", text=f"hold {name}", wait=False)
    await first("until", contains="Half ")
    await first("stop")
    pages = [await tabs.reload(), await tabs.reload()]  # as StrictMode of React mounts twice
    for page in pages:
        await page("resume", wait=False)
        await page("until", contains="Half ")
    gates.open(name)
    for page in pages:
        state = await page("until", contains="whole", status="ready")
        assert shown_text(state["messages"][-1]) == "Half and whole"
        await check_whole(page, tabs)


@pytest.mark.parametrize("keep", [0, 1, 2])
async def test_reload_in_mid_answer(tabs: Any, gates: Gates, name: str, keep: int) -> None:
    """Whatever a page is hydrated with: nothing, the message of the user, or half the answer."""
    first = await tabs.open()
    await first("send", text=f"hold {name}", wait=False)
    shown = (await first("until", contains="Half "))["messages"]
    page = await tabs.open(messages=shown[:keep])
    await page("resume", wait=False)
    await page("until", contains="Half ")
    gates.open(name)
    state = await page("until", contains="whole", status="ready")
    assert shown_text(state["messages"][-1]) == "Half and whole"
    assert len(state["messages"]) == min(keep + 1, 2)


async def test_queue_while_busy(tabs: Any, gates: Gates, name: str) -> None:
    page = await tabs.open()
    await page("send", text=f"hold {name}", wait=False)
    await page("until", contains="Half ")
    other = await tabs.reload()
    await other("send", text="say it", wait=False)
    state = await other("until", chunk="data-chatd-queued")
    assert events(state, "value") == [{"position": 1}]
    late = await tabs.reload()
    assert late is not None
    hydrated = await tabs.messages()
    assert hydrated[-1]["metadata"] == {"chatd": {"queued": True}}
    await late("resume", wait=False)
    await late("until", chunk="Half")
    gates.open(name)
    state = await page("until", contains="whole", status="ready")
    assert len(state["messages"]) == 2
    state = await other("until", contains=WORDS, status="ready")
    state = await late("until", status="ready")
    if tabs.version != "v5":
        assert shown_text(state["messages"][-1]) == WORDS
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"] * 2
    for each in (page, other, late):
        await each.check_chunks()


async def test_edit_and_regenerate(tabs: Any, gates: Gates, name: str) -> None:
    page = await tabs.open()
    first = await page("send", text="say one")
    user = first["messages"][0]["id"]
    await page("send", text="say two", messageId=user)
    state = await check_whole(page, tabs)
    assert state["messages"][0]["id"] == user
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"]
    before = (await tabs.stored())[-1]["id"]
    await page("regenerate")
    state = await check_whole(page, tabs)
    assert len(state["messages"]) == 2
    assert (await tabs.stored())[-1]["id"] > before
    await page("send", text=f"hold {name}", wait=False)
    running = (await page("until", contains="Half "))["messages"][-2]["id"]
    await page("stop")
    await page("send", text="say three", messageId=running)
    await check_whole(page, tabs)


async def test_stale_tab_drops_nothing(tabs: Any) -> None:
    page = await tabs.open()
    await page("send", text="say one")
    stale = await tabs.reload()
    await page("send", text="say two")
    await stale("send", text="say three")
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"] * 3


async def test_interrupt_with_an_open_call(tabs: Any, name: str) -> None:
    """No request follows by itself: it would be sent for ever."""
    page = await tabs.open(automatic=True)
    await page("send", text=f"weather {name}")
    await tabs.stop()
    await page("answer", tool="weather", call=f"call_0_{name}", output=1)
    state = await page("until", status="error")
    assert len(state["requests"]) == 2
    assert state["requests"][-1]["status"] == 409


async def test_same_request_twenty_times(tabs: Any, gates: Gates, name: str) -> None:
    message = {"id": f"u{name}", "role": "user", "parts": [{"type": "text", "text": "say it"}]}
    body = {"id": tabs.chat, "messages": [message], "trigger": "submit-message"}
    http = tabs.chatd.api.http
    answers = await asyncio.gather(*(http.post(tabs.path, json=body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    chunks = [json.loads(line[6:]) for line in answers[0].text.splitlines() if line[6:7] == "{"]
    assert "".join(c["delta"] for c in chunks if c["type"] == "text-delta") == WORDS
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"]
    first = await tabs.stored()
    body["trigger"] = "regenerate-message"
    answers = await asyncio.gather(*(http.post(tabs.path, json=body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert [m["role"] for m in await tabs.stored()] == ["user", "assistant"]
    assert (await tabs.stored())[-1]["id"] != first[-1]["id"]


async def test_refusals_are_sentences(tabs: Any) -> None:
    page = await tabs.open()
    state = await page("send", text="   ")
    assert state["status"] == "error"
    assert state["requests"][-1]["status"] == 422
    shown = state["error"] if tabs.version != "v7" else json.dumps(state["events"])
    assert "must have a part of text" in shown


async def test_files_come_back_as_paths(tabs: Any) -> None:
    """A hydrated message with a file can be regenerated, and is the same message."""
    http, picture = tabs.chatd.api.http, "data:text/plain;base64,aGk="
    parts = [
        {"type": "file", "mediaType": "text/plain", "filename": "a.txt", "url": picture},
        {"type": "text", "text": "say it"},
    ]
    body = {"id": tabs.chat, "message": {"id": "u1", "role": "user", "parts": parts}}
    assert (await http.post(tabs.path, json=body)).status_code == 200
    file = (await tabs.messages())[0]["parts"][0]
    assert (file["mediaType"], file["filename"]) == ("text/plain", "a.txt")
    assert (await http.get(file["url"])).content == b"hi"
    page = await tabs.reload()
    await page("regenerate")
    await check_whole(page, tabs)
    stored = await tabs.stored()
    assert [m["role"] for m in stored] == ["user", "assistant"]
    await page("regenerate", messageId=(await tabs.messages())[-1]["id"])
    assert (await tabs.stored())[0]["id"] == stored[0]["id"]


async def test_messages_of_other_clients_and_earlier_ones(tabs: Any) -> None:
    """A list may begin elsewhere, and a chat with a client of the API."""
    earlier = [
        {"id": "s", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {"id": "u0", "role": "user", "parts": [{"type": "text", "text": "before"}]},
        {"id": "a0", "role": "assistant", "parts": [{"type": "text", "text": "yes"}]},
    ]
    page = await tabs.open(messages=earlier)
    await page("send", text="say it")
    roles = [m["role"] for m in await tabs.stored()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    await tabs.chatd.api.send(tabs.chat, "say more")
    await tabs.chatd.api.wait_for_status(tabs.chat, "waiting")
    other = await tabs.reload()
    await other("regenerate")
    await check_whole(other, tabs)
    assert [m["role"] for m in await tabs.stored()] == [*roles, "user", "assistant"]


async def test_packages_are_of_the_versions_that_are_served(tabs: Any) -> None:
    """A new major version of the package is noticed here, not guessed."""
    found = await tabs.clients.call("version")
    assert found["version"] == tabs.version


async def test_nobody_takes_an_id_that_is_a_hash(tabs: Any) -> None:
    tabs.chat = str(uuid5(UUID(int=0), "main"))
    page = await tabs.open()
    state = await page("send", text="say it")
    assert state["requests"][-1]["status"] == 422
    tabs.chat = "main"
    page = await tabs.open()
    await page("send", text="say it")
    assert [m["role"] for m in await tabs.messages()] == ["user", "assistant"]
