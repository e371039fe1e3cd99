"""The bucket of tokens, against one that is kept as a number of tokens, with exact fractions."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from chatd.api.auth.rate_limit import TokenBuckets

per_second = st.integers(1, 1000)
pauses = st.lists(st.integers(0, 3000).map(lambda ms: Fraction(ms, 1000)), min_size=1, max_size=200)


@given(per_second, pauses)
@example(1, [Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(5), Fraction(0)])
def test_it_is_a_bucket_of_one_seconds_tokens(rate: int, waits: list[Fraction]) -> None:
    rates = TokenBuckets(per_second=lambda: rate)
    now, tokens = Fraction(100), Fraction(rate)
    for pause in waits:
        now += pause
        tokens = min(tokens + pause * rate, Fraction(rate))
        wait = rates.take("ann", float(now))
        short = 1 - tokens
        if abs(short) < Fraction(1, 10**5):  # a hair's breadth, which floats may see otherwise
            tokens = Fraction(0) if wait == 0.0 else tokens
        elif short <= 0:
            assert wait == 0.0
            tokens -= 1
        else:
            assert abs(wait - float(short / rate)) < 1e-6


@given(per_second, pauses)
def test_no_span_of_time_holds_more_than_its_share_and_one_bucket(
    rate: int, waits: list[Fraction]
) -> None:
    rates = TokenBuckets(per_second=lambda: rate)
    now, taken = Fraction(0), []
    for pause in waits:
        now += pause / 100
        taken += [now] * sum(rates.take("ann", float(now)) == 0.0 for _ in range(3))
    for first in range(0, len(taken), 7):
        span = taken[-1] - taken[first]
        assert len(taken) - first <= rate * span + rate + Fraction(1, 1000)


@given(per_second, st.integers(0, 3 * 10**10).map(lambda ms: ms / 1000))
@example(979, 20059717.158)
@example(27_000, 30_000_000.0)
def test_who_waits_as_told_is_let_in(rate: int, now: float) -> None:
    rates = TokenBuckets(per_second=lambda: rate)
    granted = 0
    while (wait := rates.take("ann", now)) == 0.0:
        granted += 1
    assert granted == rate
    assert rates.take("ann", now + wait) == 0.0
    assert rates.take("ann", now + wait) > 0.0, "and only one"


def test_everybody_has_a_bucket_of_their_own() -> None:
    rates = TokenBuckets(per_second=lambda: 1)
    assert [rates.take(name, 5.0) for name in ("ann", "bob")] == [0.0, 0.0]
    assert all(rates.take(name, 5.0) > 0.0 for name in ("ann", "bob"))


def test_nobody_who_is_not_full_is_forgotten_and_the_others_are() -> None:
    rates = TokenBuckets(per_second=lambda: 1)
    rates.take("ann", 99.5)
    for n in range(45_000):
        rates.take(f"owner {n}", 0.0 if n < 20_000 else 100.0)
    assert rates.take("ann", 100.0) > 0.0
    assert len(rates._buckets) == 1 + 25_000


def test_zero_is_unlimited() -> None:
    rates = TokenBuckets(per_second=lambda: 0)
    assert {rates.take("ann", 1.0) for _ in range(10_000)} == {0.0}
