"""Token buckets, compared with a bucket of exact fractions."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from chatd.api.auth.rate_limit import TokenBuckets

per_second = st.integers(1, 1000)
pauses = st.lists(st.integers(0, 3000).map(lambda ms: Fraction(ms, 1000)), min_size=1, max_size=200)


@given(per_second, pauses)
@example(1, [Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(5), Fraction(0)])
def test_matches_exact_token_bucket(rate: int, waits: list[Fraction]) -> None:
    buckets = TokenBuckets(per_second=lambda: rate)
    now, tokens = Fraction(100), Fraction(rate)
    for pause in waits:
        now += pause
        tokens = min(tokens + pause * rate, Fraction(rate))
        wait = buckets.take("ann", float(now))
        deficit = 1 - tokens
        if abs(deficit) < Fraction(
            1, 10**5
        ):  # within the resolution of floats either answer is right
            tokens = Fraction(0) if wait == 0.0 else tokens
        elif deficit <= 0:
            assert wait == 0.0
            tokens -= 1
        else:
            assert abs(wait - float(deficit / rate)) < 1e-6


@given(per_second, pauses)
def test_any_interval_allows_its_share_and_one_bucket(rate: int, waits: list[Fraction]) -> None:
    buckets = TokenBuckets(per_second=lambda: rate)
    now, granted_at = Fraction(0), []
    for pause in waits:
        now += pause / 100
        granted_at += [now] * sum(buckets.take("ann", float(now)) == 0.0 for _ in range(3))
    for first in range(0, len(granted_at), 7):
        span = granted_at[-1] - granted_at[first]
        assert len(granted_at) - first <= rate * span + rate + Fraction(1, 1000)


@given(per_second, st.integers(0, 3 * 10**10).map(lambda ms: ms / 1000))
@example(979, 20059717.158)
@example(27_000, 30_000_000.0)
def test_request_after_retry_after_is_allowed(rate: int, now: float) -> None:
    buckets = TokenBuckets(per_second=lambda: rate)
    granted = 0
    while (wait := buckets.take("ann", now)) == 0.0:
        granted += 1
    assert granted == rate
    assert buckets.take("ann", now + wait) == 0.0
    assert buckets.take("ann", now + wait) > 0.0, "only one request"


def test_buckets_are_per_owner() -> None:
    buckets = TokenBuckets(per_second=lambda: 1)
    assert [buckets.take(name, 5.0) for name in ("ann", "bob")] == [0.0, 0.0]
    assert all(buckets.take(name, 5.0) > 0.0 for name in ("ann", "bob"))


def test_sweep_removes_full_buckets_only() -> None:
    buckets = TokenBuckets(per_second=lambda: 1)
    buckets.take("ann", 99.5)
    for n in range(45_000):
        buckets.take(f"owner {n}", 0.0 if n < 20_000 else 100.0)
    assert buckets.take("ann", 100.0) > 0.0
    assert len(buckets._buckets) == 1 + 25_000


def test_zero_is_unlimited() -> None:
    buckets = TokenBuckets(per_second=lambda: 0)
    assert {buckets.take("ann", 1.0) for _ in range(10_000)} == {0.0}
