"""Retry policy: bounds of the delay for any policy, failure and jitter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.failure import RETRYABLE, Failure, FailureKind
from chatd.settings import TurnSettings
from chatd.worker.retry import RetryPolicy

seconds = st.floats(0.001, 600.0)
policies = st.builds(
    lambda attempts, first, times: RetryPolicy(
        max_attempts=attempts, backoff_seconds=first, backoff_max_seconds=first * times
    ),
    st.integers(1, 60),
    seconds,
    st.floats(1.0, 1000.0),
)
jitters = st.floats(0.0, 1.0)


def default_policy(**changes: int) -> RetryPolicy:
    turn = TurnSettings(**changes)
    return RetryPolicy(
        max_attempts=turn.max_attempts,
        backoff_seconds=turn.backoff_seconds,
        backoff_max_seconds=turn.backoff_max_seconds,
    )


def delay_of(
    policy: RetryPolicy,
    failed: Failure,
    *,
    attempts: int,
    jitter: float,
    remaining: float = math.inf,
) -> float | None:
    """Return the delay within a turn that has ``remaining`` seconds left."""
    return policy.delay(failed, attempts=attempts, jitter=jitter, remaining_seconds=remaining)


def failure(
    kind: FailureKind = FailureKind.PROVIDER_ERROR, *, after: float | None = None
) -> Failure:
    return Failure(kind=kind, message="no", retry_after_seconds=after)


@given(policies, st.integers(1, 80), jitters)
def test_delay_is_between_half_and_the_whole_backoff(
    policy: RetryPolicy, attempts: int, jitter: float
) -> None:
    delay = delay_of(policy, failure(), attempts=attempts, jitter=jitter)
    if attempts >= policy.max_attempts:
        assert delay is None
        return
    assert delay is not None
    whole = min(policy.backoff_seconds * 2 ** (attempts - 1), policy.backoff_max_seconds)
    assert 0 < whole / 2 <= delay * (1 + 1e-9)
    assert delay <= whole * (1 + 1e-9)
    assert delay <= policy.backoff_max_seconds


@given(policies, jitters)
def test_delays_never_decrease(policy: RetryPolicy, jitter: float) -> None:
    waits = [
        delay_of(policy, failure(), attempts=attempts, jitter=jitter)
        for attempts in range(1, policy.max_attempts)
    ]
    assert None not in waits
    assert waits == sorted(waits)


@given(policies, st.integers(1, 60), jitters, jitters)
def test_jitter_only_lengthens_the_delay(
    policy: RetryPolicy, attempts: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    shorter = delay_of(policy, failure(), attempts=attempts, jitter=low)
    longer = delay_of(policy, failure(), attempts=attempts, jitter=high)
    assert (shorter is None) == (longer is None)
    if shorter is not None and longer is not None:
        assert shorter <= longer


@given(policies, st.integers(1, 60), jitters, st.floats(0.0, 10_000.0), st.floats(0.0, 10_000.0))
def test_retry_after_is_the_lower_bound_of_the_delay(
    policy: RetryPolicy, attempts: int, jitter: float, after: float, remaining: float
) -> None:
    plain = delay_of(policy, failure(), attempts=attempts, jitter=jitter)
    delay_after = delay_of(
        policy, failure(after=after), attempts=attempts, jitter=jitter, remaining=remaining
    )
    if plain is None or after >= remaining:
        assert delay_after is None, (
            "the turn would end first, so waiting would only hide the failure"
        )
        return
    assert delay_after == max(min(plain, remaining), after)


@pytest.mark.parametrize("kind", FailureKind)
def test_only_retryable_kinds_are_retried(kind: FailureKind) -> None:
    delay = delay_of(default_policy(), failure(kind), attempts=1, jitter=0.5)
    assert (delay is not None) == (kind in RETRYABLE)
    delay_after = delay_of(default_policy(), failure(kind, after=1.0), attempts=1, jitter=0.5)
    assert (delay_after is not None) == (kind in RETRYABLE)


@given(policies, jitters)
def test_attempts_are_exactly_max_attempts(policy: RetryPolicy, jitter: float) -> None:
    tries = 1
    while delay_of(policy, failure(), attempts=tries, jitter=jitter) is not None:
        tries += 1
    assert tries == policy.max_attempts


def test_delays_with_the_default_settings() -> None:
    policy = default_policy()
    waits = [delay_of(policy, failure(), attempts=n, jitter=1.0) for n in range(1, 6)]
    assert waits == [1.0, 2.0, 4.0, 8.0, None]
    patient = default_policy(max_attempts=50)
    assert delay_of(patient, failure(), attempts=49, jitter=1.0) == 60.0
    assert delay_of(patient, failure(), attempts=49, jitter=0.0) == 30.0
