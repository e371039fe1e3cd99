"""How the chats in hand are, at a glance: for the metrics and for people."""

from collections.abc import Iterable

from chatd.work.hand import Hand, now


def lease_age(hands: Iterable[Hand]) -> float:
    """Seconds since the chat was renewed that waits longest for it; 0: there is none."""
    return max((now() - hand.renewed_at for hand in hands), default=0.0)


def stillness(hand: Hand) -> float:
    """Seconds since a chat made progress: it marked a step, or went into a zone."""
    seen = hand.progress.snapshot()
    return (
        min(seen.seconds_since_progress, seen.stage_age_seconds)
        if seen.stage
        else seen.seconds_since_progress
    )


def stalled(hands: Iterable[Hand], seconds: float) -> int:
    """How many made no progress for so long."""
    return sum(stillness(hand) >= seconds for hand in hands)
