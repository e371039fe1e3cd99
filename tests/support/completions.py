"""A daemon that serves Chat Completions, and a model for it that follows tags in messages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chatd.llm.scripted.provider import ScriptedProvider
from support.providers import scripted
from support.shared_daemon import SharedDaemon, shared_daemon

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How it is.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OSLO = '{"city":"Oslo"}'


def completion_model() -> ScriptedProvider:
    """Return the model. Each tag of a message, such as ``[[tool]]``, has an answer of its own."""
    return scripted(
        [
            {"reasoning": "Let me think.", "chunks": 3},
            {"text": "You said: {message}", "chunks": 4},
            {"finish": {"input_tokens": 7, "output_tokens": 5}},
        ],
        tool=[
            {"text": "Let me look. ", "calls": [1]},
            {
                "tool_call": {"name": "weather", "args": {"city": "Oslo"}},
                "chunks": 3,
                "calls": [1],
            },
            {"text": "It is {result}.", "chunks": 2, "calls": [2]},
        ],
        long=[{"text": "One word after the other. ", "repeat": 3}, {"hang": True}],
        hang=[{"hang": True}],
        busy=[{"error": {"status": 429}}],
        down=[{"error": {"status": 503}}],
        window=[{"error": {"status": 400, "code": "context_length_exceeded"}}],
        half=[{"text": "Half an answer"}, {"wait_seconds": 0.3}, {"error": {"status": 400}}],
        restarted=[
            {"text": "Wrong half", "attempts": [1]},
            {"wait_seconds": 0.3, "attempts": [1]},
            {"error": {"status": 503}, "attempts": [1]},
            {"text": "Right whole"},
        ],
        early=[
            {"error": {"status": 503}, "attempts": [1]},
            {"text": "At the second attempt"},
        ],
        cut=[{"text": "So long"}, {"finish": {"reason": "length"}}],
    )


@contextmanager
def completion_daemon(dsn: str, **sections: Any) -> Iterator[SharedDaemon]:
    """Run a daemon with the adapter."""
    sections = {"adapters": {"enabled": ["completions"]}, **sections}
    with shared_daemon(dsn, completion_model(), **sections) as daemon:
        yield daemon
