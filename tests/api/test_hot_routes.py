"""The hot routes answer as FastAPI does: every request both ways, byte for byte."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch
from uuid import uuid4

import pytest
from starlette.responses import Response
from starlette.types import Message, Scope
from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as
from support.hot_requests import CASES, SECTIONS, STATES, Case
from support.providers import scripted
from support.raw_requests import response_bytes, without_chance

from chatd.api.auth.rate_limit import TokenBuckets
from chatd.api.pipeline import RequestPipeline
from chatd.api.routes.hot import HotRoutes


class RecordingHotRoutes(HotRoutes):
    """The hot routes, which note whether they have answered the last request."""

    has_answered = False

    async def respond(self, scope: Scope, body: Message | None) -> Response | None:
        self.has_answered = True  # also with an error
        response = await super().respond(scope, body)
        self.has_answered = response is not None
        return response


@dataclass
class BothWays:
    """A daemon whose hot routes can be left out."""

    at: AuthenticatedDaemons
    pipeline: RequestPipeline
    hot_routes: RecordingHotRoutes

    async def assert_alike(
        self, case: Case, state: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        """Check that the response to a request in this state is the same by hot routes and by FastAPI."""
        by_hot_routes = await self._response(case, state)
        assert by_hot_routes.startswith(f"HTTP/1.1 {case.status} ".encode()), by_hot_routes
        assert self.hot_routes.has_answered == case.is_hot
        with patch.object(self.pipeline, "hot_routes", None):
            assert await self._response(case, state) == by_hot_routes

    async def _response(
        self, case: Case, state: Callable[[], AbstractContextManager[object]]
    ) -> bytes:
        owner = f"owner-{uuid4()}"
        headers = await self.at.new_caller_headers(owner, scopes=case.scopes)
        chat_id = await self.chat(case.state, await self.at.new_caller_headers(owner))
        request = case.request(chat_id, owner, headers)
        self.hot_routes.has_answered = False
        with state():
            for _ in range(case.times):
                response = await response_bytes(self.at.chatd.daemon.port, request)
        return without_chance(response, owner, chat_id)

    async def chat(self, state: str, headers: Bearer) -> str:
        """Create a chat in one of the states of ``STATES``, and return its id."""
        chat_id: str = (await create_chat_as(self.at.chatd, headers))["id"]
        for method, suffix, body in STATES[state]:
            answer = await self.at.chatd.api.http.request(
                method, f"/api/v1/chats/{chat_id}{suffix}", json=body, headers=headers
            )
            assert answer.is_success, answer.text
        return chat_id


@asynccontextmanager
async def both_ways(dsn: str) -> AsyncIterator[BothWays]:
    async with authenticated_daemons(dsn, scripted(), **SECTIONS) as at:
        pipeline = at.chatd.daemon.server._app
        assert isinstance(pipeline, RequestPipeline)
        assert pipeline.hot_routes is not None
        recording = RecordingHotRoutes(pipeline.hot_routes._context)
        pipeline.hot_routes = recording
        yield BothWays(at, pipeline, recording)


async def test_every_request_is_answered_alike_both_ways(
    dsn: str, subtests: pytest.Subtests
) -> None:
    async with both_ways(dsn) as both:
        for name, case in CASES.items():
            with subtests.test(name):
                await both.assert_alike(case)


async def test_states_of_the_process_are_answered_alike_both_ways(
    dsn: str, subtests: pytest.Subtests
) -> None:
    async with both_ways(dsn) as both:
        admission, sessions = both.pipeline._admission, both.hot_routes._context.stream_sessions
        message, stream = CASES["message"], CASES["stream"]
        states: tuple[tuple[object, str, object, Case], ...] = (
            (admission, "closed_because", "starting", replace(message, status=503, is_hot=False)),
            (admission, "closes_connections", True, message),
            (admission, "closes_connections", True, stream),
            (TokenBuckets, "take", lambda *_: 3.0, replace(message, status=429, is_hot=False)),
            (sessions, "_max_per_owner", lambda: -1, replace(stream, status=429)),
        )
        for owner, attribute, value, case in states:
            with subtests.test(attribute, method=case.method):
                await both.assert_alike(case, partial(patch.object, owner, attribute, value))


async def test_key_is_one_key_both_ways(dsn: str) -> None:
    """A message that was sent one way is not sent again the other way."""
    async with both_ways(dsn) as both:
        headers = await both.at.new_caller_headers("ann")
        for ways in ((both.hot_routes, None), (None, both.hot_routes)):
            path = f"/api/v1/chats/{await both.chat('waiting', headers)}/messages"
            answers = []
            for hot_routes in ways:
                both.pipeline.hot_routes = hot_routes
                answer = await both.at.chatd.api.http.post(
                    path, json={"content": "once"}, headers=headers | {"idempotency-key": path}
                )
                answers.append((answer.status_code, answer.json()["message"]))
            assert answers[0] == answers[1]
            assert answers[0][0] == 202
            listed = await both.at.chatd.api.http.get(path, headers=headers)
            assert len(listed.json()["items"]) == 1
