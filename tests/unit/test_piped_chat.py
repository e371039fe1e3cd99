"""Piped chat: what is printed of each event."""

from typing import Any

import pytest

from chatd.cli.chat.piped import PipedChat
from chatd.client import Snapshot


def test_snapshot_of_a_failed_chat_prints_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A turn may fail before the stream of its new chat is opened."""
    client: Any = None  # nothing is requested
    chat: Any = {"id": "c", "status": "error", "last_error": "wires crossed", "queue_length": 0}
    event: Any = Snapshot({"chat": chat, "messages": [], "queue": [], "parts": []})
    piped = PipedChat(client, "c", model=None, json=False)
    piped._conversation.transcript.apply(event)
    piped._print_event(event)
    assert "wires crossed" in capsys.readouterr().err
