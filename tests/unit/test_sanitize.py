"""Error texts and values after sanitizing: storable, bounded and without secrets."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.sanitize import (
    MAX_ERROR_LENGTH,
    is_storable_fragment,
    replace_unstorable,
    replace_unstorable_json,
    sanitize_error_text,
)

SECRETS = [
    ("Incorrect API key provided: sk-proj-abcDEF123456.", "abcDEF"),
    ("Incorrect API key provided: sk-abcd***********wxyz.", "wxyz"),
    ("headers {'x-api-key': 'a1b2c3d4e5f6'}", "a1b2"),
    ("Authorization: Bearer a1b2c3d4e5f6", "a1b2"),
    ("authorization=Basic dXNlcjpwYXNz", "dXNl"),
    ("got bearer a1b2c3d4e5f6 instead", "a1b2"),
    ("postgresql://chatd:hunter2@db/chatd refused", "hunter2"),
    ("GET https://example.org/v1?key=abcdefg&x=1", "abcdefg"),
    ('{"password": "correct horse"}', "correct"),
    ("ghp_abcdefghijklmnop1234", "abcdefgh"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJzdWI"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----", "MIIEvQ"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
@pytest.mark.parametrize("before", [0, MAX_ERROR_LENGTH - 30, 4 * MAX_ERROR_LENGTH - 15])
def test_secrets_are_redacted(text: str, secret: str, before: int) -> None:
    assert secret in text
    assert secret not in sanitize_error_text(
        "x" * (before // 2) + " " * (before - before // 2) + text
    )


@pytest.mark.parametrize(
    "text",
    [
        "KeyError: 'key_of_message'",
        "bearer authentication required",
        "https://example.org:8080/v1/chat?page=2",
        "risk-averse task-oriented desk-bound",
    ],
)
def test_harmless_text_is_kept(text: str) -> None:
    assert sanitize_error_text(text) == text


@given(st.text())
def test_sanitized_text_is_storable_and_bounded(text: str) -> None:
    sanitized = sanitize_error_text(text * 50)
    assert len(sanitized) <= MAX_ERROR_LENGTH
    assert replace_unstorable(sanitized) == sanitized
    sanitized.encode()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(_json)
def test_sanitized_value_is_json_that_postgresql_accepts(value: object) -> None:
    stored = json.dumps(replace_unstorable_json(value), ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in stored
    stored.encode()


def _cost(call: Callable[[], object]) -> float:
    """Return the seconds of CPU that a call takes."""

    def measured() -> float:
        begun = time.thread_time()
        call()
        return time.thread_time() - begun

    return min(measured() for _ in range(3))


@pytest.mark.parametrize("character", ["x", "é", "漢"])
def test_large_storable_text_costs_little(character: str) -> None:
    text = character * 4_000_000
    assert replace_unstorable(text) is text
    assert _cost(lambda: replace_unstorable(text)) < 3 * _cost(text.encode) + 0.001


@given(
    st.fixed_dictionaries(
        {"index": st.integers(0, 3), "type": st.sampled_from(["text", "reasoning", "tool-call"])},
        optional={
            "text": st.one_of(
                st.text(st.sampled_from("ab\x00\ud800\udfffé")), st.none(), st.floats()
            ),
            "provider": st.just({"id": "a\x00"}),
            "tool_call_id": st.just("c1"),
        },
    )
)
def test_fragment_that_skips_the_sanitizer_is_one_that_it_would_not_change(
    delta: dict[str, object],
) -> None:
    plain = delta.keys() == {"index", "type", "text"} and delta["type"] != "tool-call"
    text = delta.get("text")
    storable = isinstance(text, str) and not set(text) & set("\x00\ud800\udfff")
    assert is_storable_fragment(delta) == (plain and storable)
    if is_storable_fragment(delta):
        assert replace_unstorable_json(delta) == delta
