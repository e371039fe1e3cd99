"""The figures of a run: faults by kind, messages, answers, streams, takeovers, calls per answer."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from chaos.evidence import Evidence, Row


def _time(row: Row) -> float:
    moment: datetime = row["created_at"]
    return moment.timestamp()


def takeover_seconds(evidence: Evidence) -> list[float]:
    """Return, for every chat of a killed worker, the time from SIGKILL to its next claim."""
    killed = {life.worker_id: life.killed_at for life in evidence.lives if life.killed_at}
    found = []
    for rows in evidence.journal.values():
        claim: Row | None = None
        for place, row in enumerate(rows):
            if row["transition"] == "claim":
                claim = row
            elif row["transition"] in {"reap", "reap_interrupt"} and claim is not None:
                at = killed.get(claim["worker_id"])
                if at is None or not _time(claim) < at < _time(row):
                    continue
                after = rows[place + 1] if place + 1 < len(rows) else None
                end = after if after is not None and after["transition"] == "claim" else row
                found.append(_time(end) - at)
    return found


def spread(values: Sequence[float]) -> str:
    """Return the median, the 95th percentile and the maximum."""
    if len(values) < 2:
        return f"{len(values)} values"
    p95 = statistics.quantiles(values, n=20)[-1]
    return (
        f"{len(values)} values, median {statistics.median(values):.2f} s,"
        f" p95 {p95:.2f} s, maximum {max(values):.2f} s"
    )


def _overlapping(evidence: Evidence) -> int:
    """Return how many calls of the model for one message ran while another one did."""
    by_message: dict[str, list[tuple[float, float]]] = {}
    for call in evidence.model_calls:
        if call.ended is not None and call.asked:
            by_message.setdefault(call.asked, []).append((call.began, call.ended))
    count = 0
    for spans in by_message.values():
        spans.sort()
        count += sum(later[0] < earlier[1] for earlier, later in pairwise(spans))
    return count


def _tools(evidence: Evidence) -> Iterator[str]:
    rows = [row for rows in evidence.tool_calls.values() for row in rows]
    by_server = [row for row in rows if row["executor"] == "server"]
    errors = Counter(str(row["answer"]["result"])[:40] for row in by_server if row["is_error"])
    yield (
        f"tool calls: {len(rows)}, of the server {len(by_server)},"
        f" repeated {sum(row['tries'] > 1 for row in by_server)}"
    )
    decisions = Counter((row["decision"] or {}).get("decision") for row in rows if row["question"])
    yield f"  asked: {dict(decisions.most_common())}"
    yield f"  errors: {dict(errors.most_common(20))}"
    keys = Counter(effect.key for effect in evidence.effects)
    ends = Counter(str(effect.end) for effect in evidence.effects)
    yield (
        f"effects: {len(evidence.effects)}, keys with several {sum(n > 1 for n in keys.values())},"
        f" by end {dict(ends.most_common())}"
    )


def figures(evidence: Evidence, seconds: float) -> Iterator[str]:
    """Yield the lines of the report."""
    hit = Counter(fault.fault.kind for fault in evidence.faults if fault.hit)
    missed = sum(not fault.hit for fault in evidence.faults)
    yield f"{hit.total()} faults in {seconds:.0f} s ({missed} more found nothing to break)"
    yield from (f"  {count:5}  {kind}" for kind, count in hit.most_common())
    requests = evidence.requests
    accepted = [r for r in requests if r.accepted]
    refused = Counter(r.code for r in requests if r.status is not None and not r.accepted)
    yield (
        f"requests: {len(requests)}, accepted {len(accepted)}, attempts lost"
        f" {sum(r.lost_attempts for r in requests)}, replays {sum(len(r.replays) for r in requests)}"
    )
    yield f"  by operation: {dict(Counter(r.operation for r in accepted).most_common())}"
    yield f"  attempts lost: {dict(evidence.lost_attempts.most_common())}"
    yield f"  refused: {dict(refused.most_common())}"
    answers = [
        row for rows in evidence.said().values() for row in rows if row["role"] == "assistant"
    ]
    stopped = sum(row["finish_reason"] == "interrupted" for row in answers)
    yield (
        f"chats: {len(evidence.chats)}, messages accepted {sum(r.text is not None for r in accepted)},"
        f" answers {len(answers)} ({stopped} of them interrupted)"
    )
    calls = len(evidence.model_calls)
    yield (
        f"model calls: {calls}, per answer {calls / max(1, len(answers)):.2f},"
        f" overlapping {_overlapping(evidence)}"
    )
    yield from _tools(evidence)
    entries = [row for rows in evidence.journal.values() for row in rows]
    compacted = [row for row in entries if row["transition"] == "compact"]
    stored = sum("messages" in row["data"] for row in compacted)
    yield f"compactions: {len(compacted)}, with a summary {stored}"
    agents = evidence.of_agents()
    yield f"agents: {len(agents)}, of {len(set(agents.values()))} chats"
    connections = sum(picture.connections for picture in evidence.pictures)
    yield f"streams: {len(evidence.pictures)}, connections {connections}"
    transitions = Counter(r["transition"] for rows in evidence.journal.values() for r in rows)
    yield f"transitions: {dict(transitions.most_common())}"
    yield f"takeover after SIGKILL: {spread(takeover_seconds(evidence))}"
    codes = Counter(str(life.exit_code) for life in evidence.lives if life.ended is not None)
    yield f"processes: {len(evidence.lives)}, exit codes {dict(codes)}"
    events: Counter[str] = Counter()
    for life in evidence.lives:
        events.update(line.get("event", "?") for line in life.notable)
    yield f"log lines above info: {dict(events.most_common())}"
