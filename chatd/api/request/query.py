"""Query parameters: unknown ones are rejected, as unknown fields of a body are.

Otherwise a misspelt filter would match everything.
"""

import difflib

from fastapi import Depends, Request

from chatd.api.errors.problems import MAX_NAMED_MISTAKES, FieldProblem, invalid_request

_MAX_NAME_LENGTH = 80
"""Characters of an unknown name that the response repeats."""


async def reject_unknown_parameters(request: Request) -> None:
    """Raise ``HttpProblem`` (422) for query parameters that the route does not have."""
    if not request.scope["query_string"]:
        return
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        named = unknown[:MAX_NAMED_MISTAKES]
        raise invalid_request(
            *(_unknown_parameter(name, known) for name in named), more=len(unknown) - len(named)
        )


def _unknown_parameter(name: str, known: list[str]) -> FieldProblem:
    name = name[:_MAX_NAME_LENGTH]
    hints = [f"; did you mean {match}?" for match in difflib.get_close_matches(name, known, n=1)]
    return FieldProblem(where=f"query.{name}", message="".join(["unknown parameter", *hints]))


RejectUnknownParameters = Depends(reject_unknown_parameters)
"""Dependency of every operation that has query parameters."""
