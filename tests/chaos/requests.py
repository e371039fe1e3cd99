"""Requests that are repeated, on whatever replica answers, until they are answered once."""

import asyncio
import random
from collections import Counter
from itertools import count
from typing import Any
from uuid import UUID

import httpx2

from chaos.records import Request

_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.3
_TRY_AGAIN = frozenset({502, 503, 504})
_KEYED = frozenset({"POST", "PATCH"})


class Requester:
    """Sender of requests, and the record of them."""

    def __init__(self, url: str, seed: int) -> None:
        self._http = httpx2.AsyncClient(
            base_url=f"{url}/api/v1",
            timeout=_TIMEOUT_SECONDS,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self.random = random.Random(seed)
        self.requests: list[Request] = []
        self.lost: Counter[str] = Counter()
        """Attempts without an answer, by what came instead."""
        self._numbers = count(1)

    async def aclose(self) -> None:
        await self._http.aclose()

    def next_text(self, *, wishes: str = "") -> str:
        """Return a message unlike any other."""
        return f"m{next(self._numbers)}{wishes}"

    async def change(
        self,
        operation: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        chat_id: str | None = None,
        text: str | None = None,
    ) -> Request:
        """Send a request that changes something, until it is answered. Return its record."""
        request = Request(
            number=len(self.requests) + 1,
            operation=operation,
            method=method,
            path=path,
            body=body,
            key=str(UUID(int=self.random.getrandbits(128))) if method in _KEYED else None,
            chat_id=chat_id,
            text=text,
        )
        self.requests.append(request)
        request.status, request.response = await self._until_answered(request)
        if request.accepted and request.key and self.random.random() < 0.15:
            await self.replay(request)
        return request

    async def _until_answered(self, request: Request) -> tuple[int, Any]:
        while True:
            answer = await self.attempt(request)
            if answer is not None:
                return answer
            request.lost_attempts += request.status is None
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * _PAUSE_SECONDS)

    async def attempt(self, request: Request) -> tuple[int, Any] | None:
        """Send a request once. Return status and JSON, or None if nobody answered."""
        headers = {"idempotency-key": request.key} if request.key else {}
        try:
            answer = await self._http.request(
                request.method, request.path, json=request.body, headers=headers
            )
        except httpx2.RequestError as error:
            self.lost[type(error).__name__] += 1
            return None
        if answer.status_code in _TRY_AGAIN:
            self.lost[str(answer.status_code)] += 1
            return None
        try:
            return answer.status_code, answer.json() if answer.content else None
        except ValueError:
            return answer.status_code, {"code": "no JSON", "text": answer.text[:500]}

    async def replay(self, request: Request) -> None:
        """Repeat a request that was answered."""
        request.replays.append(await self._until_answered(request))

    async def read(self, path: str, **params: Any) -> Any:
        """Return the JSON at a path, or None if it is not there."""
        while True:
            try:
                answer = await self._http.get(path, params=params)
            except httpx2.RequestError:
                answer = None
            if answer is not None and answer.status_code not in _TRY_AGAIN:
                return answer.json() if answer.is_success else None
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * _PAUSE_SECONDS)
