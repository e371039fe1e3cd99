"""Writes of a response: its head goes with the begin of its body, and never later than the next turn."""

import asyncio

from chatd.api.response_transport import ResponseTransport


class RecordedTransport(asyncio.Transport):
    """A transport that keeps what reaches the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def response_transport() -> tuple[RecordedTransport, ResponseTransport]:
    transport = RecordedTransport()
    return transport, ResponseTransport(transport, asyncio.get_running_loop())


async def next_turn_of_the_loop() -> None:
    await asyncio.sleep(0)


async def test_head_and_body_are_one_write() -> None:
    transport, response = response_transport()
    response.write(b"head ")
    assert transport.sent == []
    response.write(b"body")
    assert transport.sent == [b"head body"]
    response.write(b"more")
    await next_turn_of_the_loop()
    assert transport.sent == [b"head body", b"more"]


async def test_head_without_a_body_is_sent_in_the_next_turn() -> None:
    transport, response = response_transport()
    response.write(b"head")
    await next_turn_of_the_loop()
    assert transport.sent == [b"head"]
    response.write(b"body")
    assert transport.sent == [b"head", b"body"]


async def test_empty_body_sends_the_head_at_once() -> None:
    transport, response = response_transport()
    response.write(b"head")
    response.write(b"")
    assert transport.sent == [b"head"]


async def test_close_sends_the_head_first() -> None:
    transport, response = response_transport()
    response.write(b"head")
    response.close()
    assert transport.sent == [b"head"]
    assert response.is_closing()
    await next_turn_of_the_loop()
    assert transport.sent == [b"head"]


async def test_head_of_a_client_that_has_gone_is_dropped() -> None:
    """A closed transport of uvloop raises when it is written to, here where nobody could handle it."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    transport, response = response_transport()
    response.write(b"head")
    transport.close()
    await next_turn_of_the_loop()
    response.close()
    assert (transport.sent, errors) == ([], [])
