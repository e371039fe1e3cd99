"""Responses over the ends of processes: killed and stopped in mid-stream, and followed on another."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.auth import authenticated_daemons
from support.in_process import running_daemons
from support.openai_clients import openai_client
from support.processes import replicas
from support.providers import ECHO_SCRIPT, scripted
from support.server_kills import SENTENCE

SETTINGS = """
[adapters]
enabled = ["responses"]
[worker]
reap_interval_seconds = 0.2
"""
SCRIPTS = f"""
[models.fake]
provider = "fake"
model = "fake-1"
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "{SENTENCE}"
chunks = 12
delay_seconds = 0.1
"""
CUT = (httpx.HTTPError, openai.APIConnectionError)
"""How the client tells that its connection was cut. It raises what is below it while it reads a stream."""


def provider() -> Any:
    return scripted(ECHO_SCRIPT, hang=[{"text": "Half of", "chunks": 3}, {"hang": True}])


def add(texts: dict[str, str], event: Any) -> None:
    if event.type == "response.output_text.delta":
        texts[event.item_id] = texts.get(event.item_id, "") + event.delta


def said(events: Sequence[Any]) -> bool:
    """Return whether all that the hanging script says was said."""
    texts: dict[str, str] = {}
    for event in events:
        add(texts, event)
    return "Half of" in texts.values()


async def read(
    stream: openai.AsyncStream[Any],
    events: list[Any],
    until: Callable[[], bool] = lambda: False,
    then: Callable[[], object] | None = None,
) -> None:
    """Read events until something holds. Then do something and read on, or stop."""
    async for event in stream:
        events.append(event)
        if until():
            if then is None:
                return
            then()


async def test_a_stream_goes_on_elsewhere_when_its_process_is_killed(
    dsn: str, tmp_path: Path
) -> None:
    """Its worker is killed with it, so its answer becomes void, and is begun again."""
    texts: dict[str, str] = {}
    async with replicas(tmp_path, dsn, "a", "b", settings=SETTINGS, scripts=SCRIPTS) as (a, b):
        async with openai.AsyncOpenAI(
            base_url=f"{a.url}/v1", api_key="none", max_retries=0
        ) as first:
            stream = await first.responses.create(input="Go", stream=True)
            events: list[Any] = []
            with pytest.raises(CUT):
                await read(stream, events, until=lambda: len(events) == 8, then=a.kill)
            for event in events:
                add(texts, event)
        response_id = events[0].response.id
        async with openai.AsyncOpenAI(
            base_url=f"{b.url}/v1", api_key="none", max_retries=0
        ) as second:
            after = events[-1].sequence_number
            rest = [
                event
                async for event in await second.responses.retrieve(
                    response_id, stream=True, starting_after=after
                )
            ]
            for event in rest:
                add(texts, event)
            replayed = [
                event async for event in await second.responses.retrieve(response_id, stream=True)
            ]
    last = rest[-1]
    assert last.type == "response.completed"
    void, item = rest[0], last.response.output[0]
    assert void.type == "response.output_item.done"
    assert void.item.status == "incomplete"  # type: ignore[union-attr]
    assert texts.pop(item.id or "") == SENTENCE
    assert SENTENCE.startswith(*texts.values())
    numbers = {event.sequence_number for event in replayed}
    assert {event.sequence_number for event in rest if event.type.endswith(".done")} <= numbers | {
        void.sequence_number
    }


async def test_a_stream_goes_on_elsewhere_when_its_process_stops(dsn: str) -> None:
    """A clean end would pass for the end of the answer."""
    adapters = {"enabled": ["responses"]}
    grace = {"shutdown_grace_seconds": 20}
    async with running_daemons(dsn, [provider(), provider()], adapters=adapters, worker=grace) as (
        one,
        two,
    ):
        async with openai_client(one) as first:
            stream = await first.responses.create(input="[[hang]]", stream=True)
            events: list[Any] = []
            with pytest.raises(CUT):
                await read(stream, events, until=lambda: said(events), then=one.daemon.stop)
        async with openai_client(two) as second:
            response_id = events[0].response.id
            resumed = await second.responses.retrieve(
                response_id, stream=True, starting_after=events[-1].sequence_number
            )
            await second.responses.cancel(response_id)
            rest = [event async for event in resumed]
    assert rest[-1].type in {"response.incomplete", "response.completed"}


async def test_a_revoked_token_cuts_a_stream(dsn: str) -> None:
    adapters = {"enabled": ["responses"]}
    async with authenticated_daemons(dsn, provider(), adapters=adapters) as daemons:
        token, headers = await daemons.create_token("ann")
        key = headers["authorization"].removeprefix("Bearer ")
        async with openai_client(daemons.chatd, api_key=key) as client:
            stream = await client.responses.create(input="[[hang]]", stream=True)
            events: list[Any] = []
            await read(stream, events, until=lambda: said(events))
            await daemons.tokens.revoke(token.id)
            with pytest.raises(CUT):
                await read(stream, events)
            with pytest.raises(openai.AuthenticationError):
                await client.responses.retrieve("resp_1")
