"""Metrics of requests."""

from starlette.types import Scope

from chatd.api.scope import PROBLEM_CODE, route_template
from chatd.telemetry.instruments import OTHER
from chatd.telemetry.metrics import HttpMetrics


def record_request(metrics: HttpMetrics, scope: Scope, status: int, seconds: float) -> None:
    """Record a request under the template of its route, or ``other`` without one.

    It is recorded when its response begins: how long a stream then takes is up to its client.
    """
    method, route = scope["method"], route_template(scope) or OTHER
    metrics.requests.add(method, route, str(int(status)))
    metrics.duration.observe(seconds, method, route)
    if (code := scope.get(PROBLEM_CODE)) is not None:
        metrics.problems.add(code)
