"""Query parameters: an operation that has some refuses others, as unknown fields of a body are refused.

A filter that is misspelt would else let everything through.
"""

import difflib

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from chatd.api.problems import FieldProblem, invalid

_LONGEST = 80
"""Characters of a name that are said back."""


async def only_known(request: Request) -> None:
    """Raise ``BadRequest`` (422) for parameters that nobody knows here."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101 - only these have dependencies
    known = [parameter.alias for parameter in route.dependant.query_params]
    errors = [
        FieldProblem(where=f"query.{name[:_LONGEST]}", message=_unknown(name, known))
        for name in dict.fromkeys(request.query_params)
        if name not in known
    ]
    if errors:
        raise invalid(*errors)


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown parameter; did you mean {close[0]}?" if close else "unknown parameter"


OnlyKnown = Depends(only_known)
"""For every operation that has query parameters."""
