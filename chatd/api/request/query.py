"""Query parameters: unknown ones are rejected, as unknown fields of a body are.

Otherwise a misspelt filter would match everything.
"""

import difflib

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from chatd.api.errors.problems import FieldProblem, invalid_request

_MAX_NAME_LENGTH = 80
"""Characters of an unknown name that the response repeats."""


async def reject_unknown_parameters(request: Request) -> None:
    """Raise ``HttpProblem`` (422) for query parameters that the route does not have."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101 - only such routes have dependencies
    known = [parameter.alias for parameter in route.dependant.query_params]
    errors = [
        FieldProblem(
            where=f"query.{name[:_MAX_NAME_LENGTH]}",
            message=_unknown_parameter_message(name, known),
        )
        for name in dict.fromkeys(request.query_params)
        if name not in known
    ]
    if errors:
        raise invalid_request(*errors)


def _unknown_parameter_message(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown parameter; did you mean {close[0]}?" if close else "unknown parameter"


RejectUnknownParameters = Depends(reject_unknown_parameters)
"""Dependency of every operation that has query parameters."""
