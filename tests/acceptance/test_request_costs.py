"""The cost of requests of any size and shape: none blocks the event loop for long, or takes much memory."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from support.oversized_requests import OversizedRequest, oversized_bodies, oversized_urls
from support.process_cost import CostMeter
from support.processes import ChatdProcess, chatd_process

MAX_BODY_BYTES = 4 * 1024 * 1024
"""The default of ``http.max_body_bytes``."""
MAX_URL_LENGTH = 60_000
"""The server reads URLs of 65,535 bytes."""
MAX_LOOP_SECONDS = 0.2
MAX_PEAK_BYTES = 64 * 1024 * 1024
MAX_REFUSAL_BYTES = 20_000
SETTINGS = """
[worker]
enabled = false
[limits]
max_active_chats = 0
max_owner_bytes = 0
requests_per_second = 0
"""


class Connection:
    """A connection to the process, on which requests cost the test little."""

    def __init__(self, process: ChatdProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)

    def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"} if body else {}
        self._connection.request(method, path, body, headers)
        with self._connection.getresponse() as answer:
            if answer.getheader("content-type", "").startswith("text/event-stream"):
                self.close()  # it does not end, and the next request connects again
                return answer.status, b""
            return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()

    def new_chat(self) -> str:
        _, chat = self.request("POST", "/api/v1/chats", b'{"content": "hello"}')
        chat_id: str = json.loads(chat)["id"]
        return chat_id


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, module_dsn: str) -> Iterator[ChatdProcess]:
    folder: Path = tmp_path_factory.mktemp("costs")
    with chatd_process(folder, module_dsn, settings=SETTINGS) as process:
        anyio.run(process.wait_until_ready)
        text = b'{"content": "%s"}' % (b"a" * (MAX_BODY_BYTES - 20))
        with closing(Connection(process)) as connection:
            for _ in range(3):  # What the first large requests load stays.
                assert connection.request("POST", "/api/v1/chats", text)[0] == 201
        yield process
        assert not process.logged("http.unexpected")


def too_dear(process: ChatdProcess, requests: Iterator[OversizedRequest]) -> list[str]:
    """Make the requests. Return those that cost too much, or were answered with too much."""
    with closing(Connection(process)) as connection:
        return [*_too_dear(connection, CostMeter(process), requests)]


def _too_dear(
    connection: Connection, meter: CostMeter, requests: Iterator[OversizedRequest]
) -> Iterator[str]:
    chat_id = connection.new_chat()
    for request in requests:
        path = request.path.replace("{chat_id}", chat_id).replace("{message_id}", "1000001")
        meter.start()
        status, answer = connection.request(request.method, path, request.body)
        cost = meter.stop()
        if status < 300 and "{chat_id}" in request.path:
            chat_id = connection.new_chat()  # a full queue would refuse the next one unread
        if (
            status >= 500
            or cost.loop_seconds > MAX_LOOP_SECONDS
            or cost.peak_bytes > MAX_PEAK_BYTES
            or (status >= 400 and len(answer) > MAX_REFUSAL_BYTES)
        ):
            yield f"{request.name}: {status}, {len(answer)} bytes, {cost}"


def test_no_body_costs_much(process: ChatdProcess) -> None:
    dear = too_dear(process, oversized_bodies(MAX_BODY_BYTES))
    assert not dear, "\n".join(dear)


def test_no_url_costs_much(process: ChatdProcess) -> None:
    dear = too_dear(process, oversized_urls(MAX_URL_LENGTH))
    assert not dear, "\n".join(dear)
