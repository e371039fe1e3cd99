"""Rules of results that were cut: what the model reads of them later is what the tool put out."""

import json
import re
from collections.abc import Iterator

from chaos.audit.rules import Findings, rule
from chaos.audit.tools import call_described, effects_of_calls
from chaos.evidence import Evidence, Row
from chaos.offered_tools import LARGE_BYTES
from chatd.domain.tool_choice import READ_RESULT_TOOL

_READ = re.compile(r"Bytes (\d+) to (\d+) of (\d+):\n(.*)", re.DOTALL)


def _reads(evidence: Evidence) -> Iterator[tuple[Row, dict[str, object]]]:
    """Yield the calls that read a result and were answered with a part of it, and their arguments."""
    args = {
        (chat_id, part["tool_call_id"]): part["args"]
        for chat_id, messages in evidence.messages.items()
        for message in messages
        for part in message["content"]
        if part["type"] == "tool-call" and part["tool_name"] == READ_RESULT_TOOL
    }
    for chat_id, rows in evidence.tool_calls.items():
        for row in rows:
            if (chat_id, row["tool_call_id"]) in args and row["answer"] and not row["is_error"]:
                yield row, json.loads(args[chat_id, row["tool_call_id"]])


@rule
def read_results_are_what_the_tools_put_out(evidence: Evidence) -> Findings:
    """Find parts of a result that differ from what its tool put out there, or are of another call."""
    outputs = {
        (row["chat_id"], row["tool_call_id"]): effect.text + "x" * LARGE_BYTES
        for row, effect in effects_of_calls(evidence)
        if effect.how == "large" and effect.end == "answered"
    }
    for row, args in _reads(evidence):
        output = outputs.get((row["chat_id"], str(args["tool_call_id"])))
        read = _READ.fullmatch(row["answer"]["result"])
        if output is not None and read is not None:
            start, end, total = (int(read[number]) for number in (1, 2, 3))
            is_asked = start == args.get("offset", 0) and end > start and total == len(output)
            if is_asked and read[4] == output[start:end]:
                continue
        yield call_described(row, args=args, result=row["answer"]["result"][:100], known=output)
