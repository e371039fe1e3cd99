"""Sizes of the measures: under four minutes on two cores, the quick run under 40 s."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sizes, counts and durations in seconds."""

    concurrency_levels: tuple[int, ...] = (1, 8, 16, 32, 128)
    """Numbers of chats active at once."""
    rounds: int = 3
    """Alternations between chatd and its baseline at each level."""
    round_seconds: float = 0.6
    counted_turns: int = 40
    idle_seconds: float = 6.0
    wake_samples: int = 150
    history_lengths: tuple[int, ...] = (0, 40, 400)
    """Messages of 2.5 kB in a chat before its turns are measured."""
    history_turns: int = 20
    streaming_chats: int = 10
    streamed_parts: int = 100
    held_chats: int = 1000
    hold_seconds: float = 5.0
    pending_rows: int = 10_000
    leased_rows: int = 1000
    heartbeats: int = 100
    settling_seconds: float = 1.5
    """Time before a kill, so that replicas are past their start."""
    takeovers: int = 5
    starts: int = 3
    idle_chats: int = 1_000_000


FULL = Profile()
QUICK = Profile(
    concurrency_levels=(1, 16),
    rounds=2,
    round_seconds=0.3,
    counted_turns=15,
    idle_seconds=2.5,
    wake_samples=40,
    history_lengths=(0, 40),
    history_turns=10,
    streaming_chats=5,
    streamed_parts=40,
    held_chats=100,
    hold_seconds=1.5,
    pending_rows=2000,
    heartbeats=30,
    settling_seconds=0.5,
    takeovers=1,
    starts=1,
    idle_chats=100_000,
)
