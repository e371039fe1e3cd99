"""The tools of a request as tools of a chat."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from chatd.adapters.completions.request import CompletionRequest
from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.api.schema.tools import Tool


def read_tools(request: CompletionRequest, default: Sequence[Mapping[str, Any]]) -> Sequence[Tool]:
    """Return the tools that the client runs, those of ``default`` if the request has none.

    Raises ``HttpProblem`` (422) that names the place.
    """
    if request.tool_choice == "none":
        return []
    if not request.tools:
        return [Tool.model_validate(tool) for tool in default]
    tools: dict[str, Tool] = {}
    for number, given in enumerate(request.tools or ()):
        function = given.function
        if function is None:
            continue
        try:
            tool = Tool(
                name=function.name,
                description=function.description or "",
                parameters={"type": "object", **(function.parameters or {})},
            )
        except ValidationError as error:
            detail = error.errors()[0]
            where = f"body.tools.{number}.function.{'.'.join(map(str, detail['loc']))}"
            raise invalid_request(FieldProblem(where=where, message=detail["msg"])) from None
        if tool.name in tools:
            where = f"body.tools.{number}.function.name"
            raise invalid_request(FieldProblem(where=where, message="two tools have this name"))
        tools[tool.name] = tool
    return [*tools.values()]
