"""Stream events of an SDK that are no part of the answer: they are ignored and logged."""

from pydantic_ai.messages import CompactionPart, PartStartEvent, TextPart
from structlog.testing import capture_logs

from chatd.llm.vendors.decode import EventDecoder


def test_restated_and_unknown_parts_are_ignored() -> None:
    decoder = EventDecoder()
    unknown = CompactionPart(content="anchovy")
    with capture_logs() as logs:
        first = list(decoder.decode(PartStartEvent(index=0, part=TextPart(content="Hello"))))
        restated = list(decoder.decode(PartStartEvent(index=0, part=TextPart(content="Hello"))))
        ignored = list(decoder.decode(PartStartEvent(index=1, part=unknown)))
    assert [delta.part["text"] for delta in first] == ["Hello"]
    assert restated == ignored == []
    assert logs == [
        {"event": "llm.part_restated", "log_level": "debug", "index": 0, "part_kind": "text"},
        {
            "event": "llm.part_ignored",
            "log_level": "warning",
            "index": 1,
            "part_kind": "compaction",
        },
    ]
