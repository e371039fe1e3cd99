"""Modules that every turn or part goes through say what they cost, and which benchmark watches them."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks.measures import MEASURES

ROOT = Path(__file__).parents[2] / "chatd"
HOT_PATH = [
    "api/middleware/exchange.py",
    "api/pipeline.py",
    "api/response_transport.py",
    "api/routes/hot.py",
    "api/sse.py",
    "fanout/change_bus.py",
    "fanout/hub.py",
    "fanout/new_chats.py",
    "fanout/topic.py",
    "fanout/wakeup.py",
    "store/claim_on_send.py",
    "store/codecs.py",
    "store/commits.py",
    "store/database.py",
    "store/group_commit.py",
    "store/histories.py",
    "store/notifications/notifier.py",
    "store/pool.py",
    "store/records.py",
    "store/results.py",
    "store/stream_reads.py",
    "store/turns.py",
    "streaming/chat_stream.py",
    "streaming/event_reader.py",
    "streaming/event_stream.py",
    "streaming/idle_timer.py",
    "supervision/progress.py",
    "worker/chat_tasks.py",
    "worker/claimer.py",
    "worker/model_call.py",
    "worker/runner.py",
    "worker/turn.py",
    "worker/turn_stats.py",
]


@pytest.mark.parametrize("path", HOT_PATH)
def test_module_names_the_benchmark_that_watches_it(path: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8")))
    assert text is not None
    sentence = re.search(r"benchmarks? ([^.]*)\swatch(es)?\sit", text)
    assert sentence is not None, text
    named = re.findall(r"``([\w-]+)``", sentence[1])
    assert named
    assert set(named) <= MEASURES.keys()
