"""Mutated streams: whatever a provider sends, nothing is raised but a classified failure.

Good streams of each API are changed at random: bytes flipped, dropped, repeated and cut, and JSON values
replaced by values of other types. ``CHATD_TEST_TRIALS`` makes the search longer.
"""

import json
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from support.field_cases import CHAT
from support.model_server import End, ModelResponse, ModelServer, model_server
from support.provider_cases import collect, request
from support.trials import trials
from support.wire_formats import WIRE_FORMATS, ModelAnswer, WireFormat

from chatd.domain.failure import Failure
from chatd.domain.message import fold
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished, PartDelta, Provider
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider
from chatd.worker.answers import reason_to_reject, storable_content
from chatd.worker.tool_call_ids import ToolCallIds

ROUNDS = trials(100)
WHOLE = ModelAnswer(
    reasoning=("Hm. ",),
    text=("One, ", "two."),
    tool_args=('{"a', '": 1}'),
    finish_reason="tool_call",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    7,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "\x00",
    "\ud800",
    "x" * 5000,
    [],
    [None],
    [[1]],
    [{}],
    {},
    {"a": 1},
    {"type": "x"},
    {"type": 5},
    {"error": {"code": 5}},
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return each container and key of a JSON value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = [(value, key) for key in value]
    elif isinstance(value, list):
        items = [(value, index) for index in range(len(value))]
    return items + [place for holder, key in items for place in places(holder[key])]


def replace_value(events: list[bytes], random_: random.Random) -> list[bytes]:
    """Replace or remove a value of one event."""
    at = random_.randrange(len(events))
    head, _, data = events[at].partition(b"data: ")
    try:
        event = json.loads(data)
        holder, key = random_.choice(places(event))
    except (ValueError, IndexError):
        return events  # changed before
    if isinstance(holder, dict) and random_.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random_.choice(ODD_VALUES)
    changed = head + b"data: " + json.dumps(event).encode() + b"\n\n"
    return [*events[:at], changed, *events[at + 1 :]]


def change_order(events: list[bytes], random_: random.Random) -> list[bytes]:
    """Drop, repeat or move one event."""
    at = random_.randrange(len(events))
    rest = [*events[:at], *events[at + 1 :]]
    where = random_.randrange(len(events))
    return random_.choice(
        [rest, [*events[:at], *events[at:]], [*rest[:where], events[at], *rest[where:]]]
    )


def change_bytes(events: list[bytes], random_: random.Random) -> list[bytes]:
    """Flip, drop or insert some bytes."""
    body = bytearray(b"".join(events))
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(body))
        match random_.randrange(3):
            case 0:
                body[at] ^= 1 << random_.randrange(8)
            case 1:
                del body[at : at + random_.randint(1, 30)]
            case _:
                body[at:at] = random_.choice(
                    [b"\n", b"\r", b"\xff", b'"', b"{", b"]", b":", b"\x00"]
                )
    return [bytes(body)]


MUTATIONS: tuple[Callable[[list[bytes], random.Random], list[bytes]], ...] = (
    replace_value,
    replace_value,
    change_order,
    change_bytes,
)


async def outcome_of(provider: Provider, kind: str) -> Failure | Finished | None:
    """Call the provider, treat the deltas as the worker does, and return the end of the answer."""
    try:
        result = await collect(provider, request(kind))
    except Exception as error:
        failure = classify(error, provider="acme", model="m1")
        if failure is None:
            raise
        assert failure.message
        return failure
    ids = ToolCallIds()
    parts = [dict(delta.part) for delta in result.deltas if isinstance(delta, PartDelta)]
    content = fold(ids.with_unique_id(part) for part in parts)
    assert len(result.finished) <= 1
    for finished in result.finished:
        assert all(0 <= count < 2**31 for count in counts(finished))
        reason_to_reject(storable_content(content, reason=finished.reason), reason=finished.reason)
        return finished
    return None


def counts(finished: Finished) -> list[int]:
    usage = finished.usage
    return [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ]


def provider_of(server: ModelServer, kind: str) -> PydanticAIProvider:
    root = server.url if kind == "anthropic" else f"{server.url}/v1"
    return PydanticAIProvider(name="acme", kind=kind, base_url=root, api_key="sk-secret")


@pytest.fixture(autouse=True)
def _ignore_warnings_of_pydantic_ai() -> Any:
    """Let pydantic-ai warn, as in production: what it warns of must not raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.kind)
async def test_mutated_stream_raises_nothing_unclassified(wire_format: WireFormat) -> None:
    seen: set[str] = set()
    async with model_server(ModelResponse(pieces=[])) as server:
        provider = provider_of(server, wire_format.kind)
        for seed in range(ROUNDS):
            random_ = random.Random(f"{wire_format.kind}-{seed}")
            events = wire_format.events(WHOLE)
            for _ in range(random_.randint(1, 3)):
                events = random_.choice(MUTATIONS)(events, random_) or [b""]
            end = random_.choice([End.WHOLE, End.CLOSE, End.CUT])
            server.responses = [ModelResponse(pieces=[b"".join(events)], end=end)]
            try:
                outcome = await outcome_of(provider, wire_format.kind)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {b''.join(events)!r}") from error
            seen.add(type(outcome).__name__)
        await provider.aclose()
    assert seen >= {"Failure", "Finished"}


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.kind)
async def test_stream_cut_before_its_end_is_never_finished(wire_format: WireFormat) -> None:
    events = wire_format.events(WHOLE)
    before_the_end = b"".join(events[: -wire_format.trailing_event_count])
    async with model_server(ModelResponse(pieces=[])) as server:
        provider = provider_of(server, wire_format.kind)
        for seed in range(ROUNDS // 2):
            random_ = random.Random(seed)
            cut = before_the_end[: random_.randint(0, len(before_the_end))]
            end = random_.choice([End.WHOLE, End.CLOSE, End.CUT])
            server.responses = [ModelResponse(pieces=[cut], end=end)]
            outcome = await outcome_of(provider, wire_format.kind)
            assert not isinstance(outcome, Finished), seed
            assert outcome is None or outcome.retryable, seed
        await provider.aclose()


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.kind)
async def test_random_bytes_raise_nothing_unclassified(wire_format: WireFormat) -> None:
    async with model_server(ModelResponse(pieces=[])) as server:
        provider = provider_of(server, wire_format.kind)
        for seed in range(ROUNDS // 5):
            random_ = random.Random(seed)
            body = random_.choice([b"", b"data: ", b"{", b"event: error\ndata: ", b"<"])
            body += random_.randbytes(random_.randint(0, 400))
            status = random_.choice([200, 200, 201, 204, 400, 404, 429, 500])
            headers = {"content-encoding": "gzip"} if random_.random() < 0.2 else {}
            server.responses = [ModelResponse(pieces=[body], status=status, headers=headers)]
            outcome = await outcome_of(provider, wire_format.kind)
            assert not isinstance(outcome, Finished), seed
        await provider.aclose()


def test_kinds_of_all_apis_are_mutated() -> None:
    assert {wire_format.kind for wire_format in WIRE_FORMATS} == {CHAT, "openai", "anthropic"}
