"""Rules of workers: only those that are dead or were silent lose their chats."""

from collections.abc import Iterator
from datetime import datetime

from chaos.audit.rules import Findings, excerpt, rule
from chaos.evidence import Evidence, Row
from chaos.plan import LEASE_SECONDS, WEIGHTS, Kind
from chaos.records import Life

_SILENCING = frozenset(
    {
        Kind.PAUSE,
        Kind.BLACK_HOLE,
        Kind.SLOW,
        Kind.LOSE_RESULTS,
        Kind.RESTART_FAST,
        Kind.RESTART_IMMEDIATE,
        Kind.DENY_LOGIN,
    }
)
"""Faults in which a living worker cannot be seen to live. A broken connection is not one."""
_SLOW_MACHINE = frozenset({"loop.blocked", "loop.unblocked", "process.paused"})
_SLACK_SECONDS = 6.0


def _reaps(evidence: Evidence) -> Iterator[tuple[str, Row, str | None]]:
    """Yield the reaps of other workers' chats: the chat, the entry, and the worker that had it."""
    for chat_id, rows in evidence.journal.items():
        worker: str | None = None
        for row in rows:
            if row["transition"] == "claim":
                worker = row["worker_id"]
            elif (row["transition"] == "reap_interrupt" and row["worker_id"] != worker) or (
                row["transition"] == "reap"
                and row["data"]["reason"] in {"worker_dead", "lease_expired"}
            ):
                yield chat_id, row, worker


def _was_silent(evidence: Evidence, life: Life, at: float) -> bool:
    if life.ended is not None and life.ended <= at + _SLACK_SECONDS:
        return True
    if any(name == "SIGTERM" and sent <= at for sent, name in life.signals):
        return True
    silent_until = LEASE_SECONDS + _SLACK_SECONDS
    return any(
        fault.fault.kind in _SILENCING
        and (not WEIGHTS[fault.fault.kind].of_replica or fault.fault.replica == life.replica)
        and fault.at <= at <= fault.at + fault.fault.seconds + silent_until
        for fault in evidence.faults
    ) or any(
        abs(datetime.fromisoformat(line["timestamp"]).timestamp() - at) <= silent_until
        for line in life.notable
        if line.get("event") in _SLOW_MACHINE
    )


@rule
def reaped_workers_were_dead_or_silent(evidence: Evidence) -> Findings:
    """Find chats that were taken from a worker that lived and could be seen to live."""
    lives = {life.worker_id: life for life in evidence.lives}
    for chat_id, row, worker in _reaps(evidence):
        life = lives.get(worker)
        if life is None or not _was_silent(evidence, life, row["created_at"].timestamp()):
            yield {
                "chat": chat_id,
                "version": row["version"],
                "worker": worker,
                "reason": row["data"].get("reason"),
                "faults": [
                    f"{each.fault.kind} {row['created_at'].timestamp() - each.at:.1f} s before"
                    for each in evidence.faults
                    if life is not None
                    and each.fault.replica == life.replica
                    and 0 <= row["created_at"].timestamp() - each.at <= LEASE_SECONDS * 2
                ],
                "journal": excerpt(evidence, chat_id),
            }
