"""Summary figures of the leased chats, for metrics and process status."""

from collections.abc import Iterable

from chatd.worker.clock import boottime
from chatd.worker.lease import Lease


def oldest_renewal_age(leases: Iterable[Lease]) -> float:
    """Return the seconds since the oldest renewal among ``leases``. 0 if there are none."""
    return max((boottime() - lease.renewed_at for lease in leases), default=0.0)


def seconds_since_progress(lease: Lease) -> float:
    """Return the seconds since the task last marked progress or entered a stage."""
    progress = lease.progress.snapshot()
    return (
        min(progress.seconds_since_progress, progress.stage_age_seconds)
        if progress.stage
        else progress.seconds_since_progress
    )


def count_stalled(leases: Iterable[Lease], after_seconds: float) -> int:
    """Return how many chats made no progress for ``after_seconds``."""
    return sum(seconds_since_progress(lease) >= after_seconds for lease in leases)
