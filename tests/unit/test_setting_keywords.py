"""Settings as keyword arguments of their readers."""

import pytest

from chatd.settings import Settings
from chatd.settings.keywords import keywords_for


def reader(positional: int, *, flush_bytes: int, poll_seconds: float, unrelated: int = 1) -> None:
    """Take two keys, each of another section."""


def test_keywords_get_the_values_of_keys_with_their_name() -> None:
    settings = Settings.model_validate(
        {"stream": {"flush_bytes": 7}, "worker": {"poll_seconds": 3}}
    )
    assert keywords_for(reader, settings.stream, settings.worker) == {
        "flush_bytes": 7,
        "poll_seconds": 3,
    }


def test_keyword_of_no_section_is_left_out() -> None:
    assert keywords_for(reader, Settings().limits) == {}


def test_keyword_of_two_sections_is_an_error() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="flush_bytes"):
        keywords_for(reader, settings.stream, settings.stream)
