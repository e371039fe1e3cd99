"""Bodies that the hot route takes mean to FastAPI the same: a reader of JSON each."""

import json
import random

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from chatd.api.schema.requests import CreateChat, SendMessage

_MESSAGES = (
    b'{"content": "hello", "model": "fast", "busy_behavior": "queue"}',
    b'{"content": [{"type": "text", "text": "a \\u00e9\\n"}]}',
    b'{"content": [{"type": "file", "media_type": "a/b", "name": null, "data": "aGVsbG8="}]}',
    b'{"content": [{"type": "file", "file_id": "00000000-0000-4000-8000-000000000000", "size": 5}]}',
    '{"content": "ключ 😀", "model": null}'.encode(),
)
_CHATS = (
    b'{"title": "a", "labels": {"a": "b", "c": ""}, "system_prompt": "Be brief.", "model": null}',
    (
        b'{"content": "hello", "tools": [{"name": "a", "description": "", "parameters": '
        b'{"type": "object", "x": [1, -2.5, 1e3, true, null, {"y": "\\u00e9"}]}}]}'
    ),
    b"{}",
)
_ODD = (
    b"\\ud800", b"\\u0000", b"\\", b'"', b"\x00", b"\x7f", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"[", b"}",
    b",", b":", b" ", b"\n", b"0", b"-0", b"1e5", b"1.5", b"9" * 30, b"1" * 5000, b"NaN", b"true", b"null",
    b'"content": "b",', b'"size": "5",', b'"size": 5.0,', b'"size": true,', b'"type": "file",', b"//", b"'",
)  # fmt: skip
_BODIES = 20_000


def odd_body(valid: tuple[bytes, ...], chance: random.Random) -> bytes:
    """Return a valid body with some bytes replaced, cut out or put in."""
    body = bytearray(chance.choice(valid))
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(body) + 1)
        body[start : start + chance.choice((0, 0, 1, 2, 5))] = chance.choice((b"", *_ODD))
    return bytes(body)


@pytest.mark.parametrize(("model", "valid"), [(SendMessage, _MESSAGES), (CreateChat, _CHATS)])
def test_body_of_a_hot_route_means_the_same_to_fastapi(
    model: type[BaseModel], valid: tuple[bytes, ...]
) -> None:
    chance, adapter, taken = random.Random(5), TypeAdapter(model), 0
    for body in (*valid, *(odd_body(valid, chance) for _ in range(_BODIES))):
        try:
            value = model.__pydantic_validator__.validate_json(body)
        except ValidationError:
            continue  # left to FastAPI
        taken += 1
        # By their text: NaN is not equal to itself.
        assert repr(adapter.validate_python(json.loads(body))) == repr(value), body
    assert taken > _BODIES / 50, "nearly all of the rest is no JSON"
