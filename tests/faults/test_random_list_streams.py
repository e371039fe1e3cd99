"""List streams under random changes and disconnects."""

import asyncio
import random

import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemons
from support.list_streams import FAST_KEEPALIVE, SEED, ListView, read_some, stored_chats
from support.providers import scripted
from support.trials import trials


class RandomWorkload:
    """Callers that change a list at random, and clients that disconnect at random, on either replica."""

    def __init__(self, replicas: list[InProcessDaemon]) -> None:
        self.numbers = random.Random(SEED)
        self.replicas = replicas
        self.is_running = True
        self.chats: list[str] = []

    async def call(self, times: int) -> None:
        for _ in range(times):
            chatd = self.numbers.choice(self.replicas)
            kind = self.numbers.choice(
                ["create", "send", "title", "interrupt", "archive", "delete"]
            )
            if not self.chats or kind == "create":
                self.chats.append(
                    (await chatd.api.create(self.numbers.choice([None, "hello"])))["id"]
                )
                continue
            path = f"/api/v1/chats/{self.numbers.choice(self.chats)}"
            http = chatd.api.http
            match kind:
                case "send":
                    response = await http.post(f"{path}/messages", json={"content": "more"})
                case "title":
                    response = await http.patch(path, json={"title": str(self.numbers.random())})
                case "interrupt":
                    response = await http.post(f"{path}/interrupt")
                case "archive":
                    response = await http.patch(
                        path, json={"archived": self.numbers.random() < 0.3}
                    )
                case _:
                    response = await http.delete(path)
            assert response.status_code < 500, response.text

    async def view(self) -> ListView:
        view = ListView()
        while self.is_running:
            max_events = self.numbers.choice([0, 1, 1, 2, 5, 20])
            await read_some(self.numbers.choice(self.replicas), view, max_events)
        for _ in range(2):  # The rest, then only what the overlap repeats.
            while await read_some(self.numbers.choice(self.replicas), view, 10**6) > 200:
                pass
        return view


@pytest.mark.slow
async def test_randomly_disconnected_list_clients_end_with_the_stored_state(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], http=FAST_KEEPALIVE) as replicas:
        workload = RandomWorkload(replicas)
        async with asyncio.TaskGroup() as group:
            views = [group.create_task(workload.view()) for _ in range(6)]
            callers = [group.create_task(workload.call(trials(30))) for _ in range(4)]
            await asyncio.wait(callers)
            await eventually(lambda: all_idle(replicas[0]))
            workload.is_running = False
        stored = await stored_chats(replicas[0])
        archived = await stored_chats(replicas[0], archived="true")
        for task in views:
            # A stream sends the change by which a chat was archived, but a snapshot leaves the chat out.
            chats = task.result().chats
            seen_archived = {id_: chat for id_, chat in chats.items() if chat["archived"]}
            assert {id_: chats[id_] for id_ in chats.keys() - seen_archived} == stored, SEED
            assert seen_archived.items() <= archived.items(), SEED
        for replica in replicas:
            await eventually(
                lambda replica=replica: replica.daemon.services.list_hub.subscriber_count == 0
            )
            assert replica.daemon.services.list_hub._topics == {}


async def all_idle(chatd: InProcessDaemon) -> bool:
    return all(
        chat["status"] in {"waiting", "error"}
        for chat in (await stored_chats(chatd, archived="any")).values()
    )
