"""Chat Completions where a process, a drain or a token ends in the middle of an answer."""

from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from support.auth import authenticated_daemons
from support.completions import completion_model
from support.eventually import TIMEOUT_SECONDS
from support.openai_clients import user
from support.processes import SCRIPTS, chatd_process

BRISK = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 4
[adapters]
enabled = ["completions"]
"""
OF_THE_KILLED = SCRIPTS.replace(
    'text = "You said: {message}"\nchunks = 4\n',
    'text = "Wrong half "\n[[providers.fake.script]]\nhang = true\n',
)
OF_THE_OTHER = SCRIPTS.replace("You said: {message}", "Right whole")
CHAT = {"X-Chatd-Chat": "the same"}
CUT = (openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.ReadError)
"""Errors of a connection that ends in the middle of a response."""
BUFFER = {**CHAT, "X-Chatd-Voids": "buffer"}


class Reader:
    """One request for an answer as a stream, read step by step."""

    def __init__(self, stream: openai.AsyncStream[Any]) -> None:
        self.stream = stream
        self.text = ""

    async def until_first_word(self) -> None:
        async for chunk in self.stream:
            self.text += chunk.choices[0].delta.content or ""
            if self.text:
                return

    async def to_end(self) -> str | None:
        """Read the rest. Return the finish reason, which a stream without an end does not have."""
        reason = None
        async for chunk in self.stream:
            (choice,) = chunk.choices
            self.text += choice.delta.content or ""
            reason = choice.finish_reason or reason
        return reason


def client_of(url: str, token: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{url.rstrip('/')}/v1", api_key=token, max_retries=0, timeout=TIMEOUT_SECONDS
    )


async def ask(
    client: openai.AsyncOpenAI, text: str, headers: dict[str, str], model: str = "one"
) -> Reader:
    messages: Any = [user(text)]
    return Reader(
        await client.chat.completions.create(
            model=model, messages=messages, stream=True, extra_headers=headers
        )
    )


async def test_owner_is_killed(dsn: str, tmp_path: Path) -> None:
    """A client at the other replica that has words of the half is told; one that waits has the whole."""
    async with AsyncExitStack() as clients:
        with ExitStack() as stack:
            owner, other = (
                stack.enter_context(
                    chatd_process(tmp_path, dsn, name=name, settings=BRISK, scripts=scripts)
                )
                for name, scripts in (("owner", OF_THE_KILLED), ("other", OF_THE_OTHER))
            )
            await owner.wait_until_ready()
            at_owner = await clients.enter_async_context(client_of(owner.url))
            sender = await ask(at_owner, "go", CHAT, "fake")
            await sender.until_first_word()
            await other.wait_until_ready()
            at_other = await clients.enter_async_context(client_of(other.url))
            follower = await ask(at_other, "go", CHAT, "fake")
            await follower.until_first_word()
            assert follower.text == sender.text == "Wrong half "
            owner.kill()
            with pytest.raises(CUT):
                await sender.to_end()
            with pytest.raises(openai.APIError) as restarted:
                await follower.to_end()
            assert restarted.value.code == "answer_restarted"
            again = await ask(at_other, "go", BUFFER, "fake")
            assert await again.to_end() == "stop"
            assert again.text == "Right whole"


async def test_drain_and_revoked_token(dsn: str) -> None:
    """A stream that the server ends has no finish reason, so that no client takes it for whole."""
    enabled = {"enabled": ["completions"]}
    providers = [completion_model(), completion_model()]
    async with authenticated_daemons(dsn, *providers, adapters=enabled) as at:
        first, second = at.daemons
        token, headers = await at.create_token("ann")
        secret = headers["authorization"].removeprefix("Bearer ")
        async with client_of(str(first.api.http.base_url), secret) as client:
            revoked = await ask(client, "[[long]]", {"X-Chatd-Chat": "one"})
            await revoked.until_first_word()
            await at.tokens.revoke(token.id)
            with pytest.raises(CUT):
                await revoked.to_end()
        _, headers = await at.create_token("ann")
        secret = headers["authorization"].removeprefix("Bearer ")
        async with client_of(str(second.api.http.base_url), secret) as client:
            drained = await ask(client, "[[long]]", {"X-Chatd-Chat": "two"})
            await drained.until_first_word()
            second.daemon.stop()
            with pytest.raises(CUT):
                await drained.to_end()
