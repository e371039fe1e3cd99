"""Refusals that only this dialect has, in its own words, and the route that answers with them."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.responses import Response
from typing_extensions import override

from chatd.adapters.openai_errors import error_object
from chatd.adapters.responses.input_items import RequestInput


class Refusal(Exception):
    """A refused request."""

    def __init__(
        self, status: HTTPStatus, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self._status = status
        self._error = error_object(message, status=status, code=code, param=param)

    def response(self) -> JSONResponse:
        return JSONResponse(self._error, self._status)


def no_response(response_id: str) -> Refusal:
    """Return the refusal of a response that is not there, or of another owner."""
    return Refusal(HTTPStatus.NOT_FOUND, f"Response with id '{response_id}' not found.")


def no_previous_response(response_id: str) -> Refusal:
    """Return the refusal of a response to follow that is not there, or of another owner."""
    return Refusal(
        HTTPStatus.BAD_REQUEST,
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def no_conversation(conversation_id: str) -> Refusal:
    """Return the refusal of a conversation that is not there, or of another owner."""
    return Refusal(HTTPStatus.NOT_FOUND, f"Conversation with id '{conversation_id}' not found.")


def no_item(item_id: str) -> Refusal:
    """Return the refusal of an item that is not there, or of another owner."""
    return Refusal(HTTPStatus.NOT_FOUND, f"Item with id '{item_id}' not found.")


def no_output(call_id: str) -> Refusal:
    """Return the refusal of a request without the output of a call that waits for one."""
    return Refusal(
        HTTPStatus.BAD_REQUEST,
        f"No tool output found for function call {call_id}.",
        param="input",
    )


def no_approval(call_id: str) -> Refusal:
    """Return the refusal of a request without the answer whether a call may run."""
    message = f"No approval response found for the request to approve the tool call {call_id}."
    return Refusal(HTTPStatus.BAD_REQUEST, message, param="input")


def no_call(given: RequestInput) -> Refusal:
    """Return the refusal of outputs and answers to calls that are not there."""
    if given.results:
        call_id = given.results[0].tool_call_id
        message = f"No tool call found for function call output with call_id {call_id}."
    else:
        request_id = given.approvals[0].approval_request_id
        message = f"No approval request found with id {request_id}."
    return Refusal(HTTPStatus.BAD_REQUEST, message, param="input")


class ResponsesRoute(APIRoute):
    """Route that answers a ``Refusal`` in its own words."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as refusal:
                return refusal.response()

        return answer
