"""How the chats in hand are, at a glance: for the metrics and for people."""

from collections.abc import Iterable

from chatd.worker.clock import boottime
from chatd.worker.lease import Lease


def oldest_renewal_age(leases: Iterable[Lease]) -> float:
    """Seconds since the chat was renewed that waits longest for it; 0: there is none."""
    return max((boottime() - hand.renewed_at for hand in leases), default=0.0)


def seconds_since_progress(lease: Lease) -> float:
    """Seconds since a chat made progress: it marked a step, or went into a zone."""
    seen = lease.progress.snapshot()
    return (
        min(seen.seconds_since_progress, seen.stage_age_seconds)
        if seen.stage
        else seen.seconds_since_progress
    )


def count_stalled(leases: Iterable[Lease], after_seconds: float) -> int:
    """How many made no progress for so long."""
    return sum(seconds_since_progress(hand) >= after_seconds for hand in leases)
