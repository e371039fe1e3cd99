"""The AI SDK's clients, where a connection, a process or a token ends in the middle of an answer."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.ai_sdk import PACKAGES, Gates, NodeChat, ai_sdk_model, node_clients, shown_text
from support.auth import authenticated_daemons
from support.http import http_client
from support.npm_packages import AI_SDK_DIR, require_packages
from support.processes import SCRIPTS, chatd_process

EVERY_CUT = os.environ.get("CHATD_TEST_EVERY_CUT") == "1"
"""True to cut streams at each of their events. It takes a minute."""
SOME_CUTS = (0, 1, 4, 6)
HELD_AFTER = 4
"""Events that come before the model waits."""
BRISK = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 4
[adapters]
enabled = ["ai_sdk"]
"""
OF_THE_KILLED = SCRIPTS.replace(
    'text = "You said: {message}"\nchunks = 4\n',
    'text = "Wrong half "\n[[providers.fake.script]]\nhang = true\n',
)
OF_THE_OTHER = SCRIPTS.replace("You said: {message}", "Right whole")


async def test_cut_at_each_event(tabs: Any, gates: Gates) -> None:
    """A stream that is cut anywhere, and resumed while the answer goes on, equals one that is whole."""
    whole = await tabs.open()
    gates.open("whole")
    state = await whole("send", text="hold whole")
    assert shown_text(state["messages"][-1]) == "Half and whole"
    cuts = range(len(state["chunks"])) if EVERY_CUT else SOME_CUTS
    for number in cuts:
        name = uuid4().hex[:8]
        tabs.chat = str(uuid4())
        page = await tabs.open(cutAfter=number)
        is_held = number < HELD_AFTER
        if not is_held:
            gates.open(name)
        await page("send", text=f"hold {name}", wait=not is_held)
        if is_held:
            await page("until", status="error")
        page = await tabs.reload()
        await page("resume", wait=not is_held)
        if is_held:
            await page("until", contains="Half ")
            gates.open(name)
            await page("until", contains="whole", status="ready")
        state = await (await tabs.reload())("state")
        assert shown_text(state["messages"][-1]) == "Half and whole", number
        assert len(state["messages"]) == 2
        await page.check_chunks()


async def test_owner_is_killed(dsn: str, tmp_path: Path) -> None:
    """Who watches at the other replica sees the step begin again, and nothing twice after a reload."""
    require_packages(AI_SDK_DIR)
    with ExitStack() as stack:
        owner, other = (
            stack.enter_context(
                chatd_process(tmp_path, dsn, name=name, settings=BRISK, scripts=scripts)
            )
            for name, scripts in (("owner", OF_THE_KILLED), ("other", OF_THE_OTHER))
        )
        await owner.wait_until_ready()
        clients = {v: stack.enter_context(node_clients(v, owner.url)) for v in PACKAGES}
        chat, pages = str(uuid4()), {v: NodeChat(clients[v], v) for v in PACKAGES}
        sender = NodeChat(clients["v7"], "sender")
        await sender("new", chat=chat, token="none")
        await sender("send", text="go", wait=False)
        shown = (await sender("until", contains="Wrong half "))["messages"]
        await other.wait_until_ready()
        for page in pages.values():
            await page("new", chat=chat, token="none", messages=shown[:1], at=other.url)
            await page("resume", wait=False)
            await page("until", contains="Wrong half ")
        owner.kill()
        await sender("until", status="error")
        async with http_client(other.url) as http:
            for version, page in pages.items():
                state = await page("until", contains="Right whole", status="ready")
                await page.check_chunks()
                voided = "" if version == "v7" else "Wrong half "
                assert shown_text(state["messages"][-1]) == f"{voided}Right whole"
                hydrated = (await http.get(f"/ai/{version}/chat/{chat}")).json()["messages"]
                assert shown_text(hydrated[-1]) == "Right whole"


@pytest.mark.parametrize("version", ["v7"])
async def test_drain_and_revoked_token(dsn: str, version: str) -> None:
    """The client learns that it was cut off, and goes on at the other replica."""
    require_packages(AI_SDK_DIR)
    gates, enabled = Gates(), {"enabled": ["ai_sdk"]}
    providers = [ai_sdk_model(gates), ai_sdk_model(gates)]
    async with authenticated_daemons(dsn, *providers, adapters=enabled) as at:
        first, second = (str(daemon.api.http.base_url) for daemon in at.daemons)
        token, headers = await at.create_token("ann")
        _, other_headers = await at.create_token("ann")
        with node_clients(version, first) as clients:

            async def page(of: dict[str, str], url: str, chat: str, **more: Any) -> NodeChat:
                opened = NodeChat(clients, uuid4().hex)
                secret = of["authorization"].removeprefix("Bearer ")
                await opened("new", chat=chat, token=secret, at=url, **more)
                return opened

            chats = {"revoked": str(uuid4()), "drained": str(uuid4())}
            revoked = await page(headers, second, chats["revoked"])
            await revoked("send", text="hold revoked", wait=False)
            await revoked("until", contains="Half ")
            await at.tokens.revoke(token.id)
            await revoked("until", status="error")
            drained = await page(other_headers, first, chats["drained"])
            await drained("send", text="hold drained", wait=False)
            await drained("until", contains="Half ")
            at.daemons[0].daemon.stop()
            state = await drained("until", status="error")  # "terminated", as Node words it
            for name, chat in chats.items():
                back = await page(other_headers, second, chat, messages=state["messages"][:1])
                await back("resume", wait=False)
                await back("until", contains="Half ")
                gates.open(name)
                state = await back("until", contains="whole", status="ready")
                assert shown_text(state["messages"][-1]) == "Half and whole"
