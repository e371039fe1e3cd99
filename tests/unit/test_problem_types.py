"""Problems that pass say when to try again, so that no program gives up for good."""

import pytest

from chatd.api.errors.codes import PROBLEMS
from chatd.api.errors.problems import problem_response

OWN_WORK = {"queue_full", "too_many_active_chats"}
"""Limits that pass only when the owner's own chats are done."""

PASSING = [code for code, problem in PROBLEMS.items() if problem.status in {429, 503}]


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_problem_that_passes_has_retry_after(code: str) -> None:
    headers = problem_response(code, "a detail").headers
    passes = code in PASSING and code not in OWN_WORK
    assert ("retry-after" in headers) == passes
    if passes:
        assert 1 <= int(headers["retry-after"]) <= 60


def test_longer_wait_that_is_known_counts() -> None:
    headers = problem_response("too_many_requests", "x", headers={"Retry-After": "7"}).headers
    assert headers.getlist("retry-after") == ["7"]
