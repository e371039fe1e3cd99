"""The subscribers of all chats of a run, and their last resume."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import httpx2
from support.eventually import eventually

from chaos.records import Picture
from chaos.subscribers import ClientSubscriber, RawSubscriber, Subscriber
from chatd.client import Client

READ_TIMEOUT_SECONDS = 7.0
"""More than ``http.sse_keepalive_seconds`` of the replicas."""


class Subscribers:
    """Subscribers of all chats of a run, on one address that leads to any replica."""

    def __init__(self, url: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._client = Client(
            url,
            timeout_seconds=10.0,
            retry_timeout_seconds=None,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
        )
        self._http = httpx2.AsyncClient(
            base_url=url,
            timeout=httpx2.Timeout(10.0, read=READ_TIMEOUT_SECONDS, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._all: list[Subscriber] = []
        self._running: dict[Subscriber, asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        await self._pause(list(self._running))
        await self._http.aclose()
        await self._client.__aexit__(None, None, None)

    async def follow(self, chat_id: str) -> Any:
        """Follow a new chat, once or twice. Return how to leave it: the pictures are finished later."""
        made: list[Subscriber] = [RawSubscriber(chat_id, self._http)]
        if self._random.random() < 0.6:
            made.append(ClientSubscriber(chat_id, self._client))
        self._all += made
        for subscriber in made:
            self._start(subscriber)

        async def leave() -> None:
            await self._pause(made)

        return leave

    def _start(self, subscriber: Subscriber) -> None:
        self._running[subscriber] = asyncio.create_task(subscriber.run())

    async def _pause(self, subscribers: list[Subscriber]) -> None:
        tasks = [self._running.pop(s) for s in subscribers if s in self._running]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def finish(
        self, versions: dict[str, int], timeout_seconds: float, at_once: int = 40
    ) -> list[Picture]:
        """Resume every subscriber until it has the version of its chat. Return the pictures."""
        slots = asyncio.Semaphore(at_once)

        async def catch_up(subscriber: Subscriber) -> None:
            wanted = versions.get(subscriber.picture.chat_id)
            async with slots:
                if subscriber not in self._running:
                    self._start(subscriber)
                task = self._running[subscriber]
                with suppress(AssertionError):  # a rule of the audit finds what is missing
                    await eventually(
                        lambda: task.done() or (wanted is not None and subscriber.has(wanted)),
                        timeout_seconds,
                        interval_seconds=0.02,
                    )
                await self._pause([subscriber])

        async with asyncio.TaskGroup() as group:
            for subscriber in self._all:
                group.create_task(catch_up(subscriber))
        return [subscriber.finish() for subscriber in self._all]
