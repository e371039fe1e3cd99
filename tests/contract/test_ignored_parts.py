"""What a vendor's library streams beside what we know: it is passed by, and said in the log."""

from pydantic_ai.messages import CompactionPart, PartStartEvent, TextPart
from structlog.testing import capture_logs

from chatd.llm.vendors.decode import EventDecoder


def test_restated_and_unknown_parts_are_ignored() -> None:
    reader = EventDecoder()
    unknown = CompactionPart(content="anchovy")
    with capture_logs() as logs:
        first = list(reader.decode(PartStartEvent(index=0, part=TextPart(content="Hello"))))
        again = list(reader.decode(PartStartEvent(index=0, part=TextPart(content="Hello"))))
        passed_by = list(reader.decode(PartStartEvent(index=1, part=unknown)))
    assert [fragment.part["text"] for fragment in first] == ["Hello"]
    assert again == passed_by == []
    assert logs == [
        {"event": "llm.part_restated", "log_level": "debug", "index": 0, "part_kind": "text"},
        {
            "event": "llm.part_ignored",
            "log_level": "warning",
            "index": 1,
            "part_kind": "compaction",
        },
    ]
