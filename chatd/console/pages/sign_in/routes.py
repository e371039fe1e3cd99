"""Sign-in with a token or a JWT, and sign-out."""

import time
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from chatd.console.api_client import ApiClient, ApiError
from chatd.console.page import SIGN_IN, local_path, render, visitor
from chatd.console.session import (
    MAX_CREDENTIAL_LENGTH,
    Session,
    begin_session,
    clear_cookie,
    is_storable,
    set_cookie,
)

_MAX_FORM_BYTES: Final = 16 * 1024
"""Size of a form: a credential, the CSRF token, and the path to go on to."""

_UNKNOWN: Final = "This token is unknown, expired or revoked."
_UNSTORABLE: Final = (
    f"This is no token: it must be one word of at most {MAX_CREDENTIAL_LENGTH} characters."
)
_STALE_FORM: Final = "This form was too old. Please sign in again."


async def show_sign_in(request: Request) -> Response:
    """Return the form. Its session has no credential yet, only the token that the form brings back."""
    if not visitor(request).config.signs_in:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    query = request.query_params
    problem = "Your session has ended." if query.get("ended") else ""
    return _form(request, target=local_path(query.get("next", "/")), problem=problem)


async def sign_in(request: Request) -> Response:
    """Begin a session with the credential of the form, if the API takes it."""
    who = visitor(request)
    if not who.config.signs_in:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    form = await _read_form(request)
    target = local_path(form.get("next", "/"))
    if not _has_valid_token(who.session, form):
        return _form(request, target=target, problem=_STALE_FORM, status=HTTPStatus.FORBIDDEN)
    credential = form.get("credential", "").strip()
    if not is_storable(credential):
        return _refuse(request, target, _UNSTORABLE)
    if not await _is_accepted(who.api.with_credential(credential)):
        return _refuse(request, target, _UNKNOWN)
    now = time.time()
    session = begin_session(credential, who.config, now=now)
    response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    response.headers["set-cookie"] = set_cookie(session, request.scope, who.config, now=now)
    return response


async def sign_out(request: Request) -> Response:
    """End the session: the browser forgets the credential."""
    who = visitor(request)
    response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    if who.session is None or _has_valid_token(who.session, await _read_form(request)):
        response.headers["set-cookie"] = clear_cookie(request.scope, who.config)
    return response


async def _is_accepted(api: ApiClient) -> bool:
    """Return whether the API knows a credential. What it permits is seen page by page."""
    try:
        await api.get("chats", query=[("limit", "1")])
    except ApiError as error:
        if error.status == HTTPStatus.UNAUTHORIZED:
            return False
        if error.status != HTTPStatus.FORBIDDEN:
            raise
    return True


def _refuse(request: Request, target: str, problem: str) -> Response:
    return _form(request, target=target, problem=problem, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def _form(request: Request, *, target: str, problem: str, status: int = HTTPStatus.OK) -> Response:
    who, now = visitor(request), time.time()
    session = begin_session("", who.config, now=now)
    response = render(
        request, "sign_in.html", status, next=target, problem=problem, token=session.csrf_token
    )
    response.headers["set-cookie"] = set_cookie(session, request.scope, who.config, now=now)
    return response


def _has_valid_token(session: Session | None, form: dict[str, str]) -> bool:
    return session is not None and session.is_valid_token(form.get("csrf_token", ""))


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Without any if it is too long, or no form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


ROUTES: Final = (
    Route(SIGN_IN, show_sign_in, methods=["GET"]),
    Route(SIGN_IN, sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
)
