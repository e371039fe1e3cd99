"""Generated requests, valid and invalid, made from the OpenAPI document against a real daemon.

No response may be a 5xx, or undocumented in status, media type, header or schema. Requests that the
document allows are accepted, others are refused. The check for missing authentication is off, since it
sends the token all the same: see ``test_access_tokens``.
"""

import itertools
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode, Response
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)
from support.auth import EVERY_SCOPE, Bearer, bearer
from support.openapi_conformance import EVENT_STREAM, document, operations
from support.processes import chatd_process
from support.trials import trials

from chatd.domain.access_scope import OWN_CHATS, AccessScope
from chatd.store.database import Database
from chatd.store.tokens import Tokens

pytestmark = pytest.mark.slow

SETTINGS = """
[auth]
mode = "token"
[limits]
requests_per_second = 0
[worker]
max_queued_messages = 3
"""

HANGS = {"content": "[[hang]] hello"}
FAILS = {"content": "[[panic]] hello"}

ENDING = [
    (method.upper(), path)
    for method, path, one in operations()
    if not any(EVENT_STREAM in answer.get("content", ()) for answer in one["responses"].values())
]
"""Operations that are no stream. ``test_stream_events`` covers streams, which do not end."""

OF_OPERATORS = [(method, path) for method, path in ENDING if path in {"/metrics", "/statusz"}]
"""Operations that take scopes of their own."""

BOUNDED = settings(
    max_examples=trials(8),
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class ApiClient:
    """A connection to the daemon, and chats for the requests to address."""

    def __init__(
        self, url: str, session: requests.Session, headers: Bearer, operator: Bearer
    ) -> None:
        self.url = url
        self.session = session
        self.headers = headers
        self.how = {"base_url": url, "session": session, "headers": headers, "timeout": 30}
        self.as_operator = self.how | {"headers": operator}
        self._first = itertools.cycle([None, {}, {"content": "hello"}, HANGS, FAILS])

    def aim(self, case: Case) -> None:
        """Have most valid requests address a chat that exists."""
        valid = is_valid(case) and "chat_id" in case.path_parameters
        first = next(self._first) if valid else None
        if first is None:
            return
        chat_id = self._ask("POST", "", first)["id"]
        case.path_parameters["chat_id"] = chat_id
        if "content" not in first:
            return
        if "message_id" in case.path_parameters:
            history = self._ask("GET", f"/{chat_id}/messages")["items"]
            case.path_parameters["message_id"] = history[0]["id"]
        queued = self._ask("POST", f"/{chat_id}/messages", {"content": "and then"})[
            "queued_message"
        ]
        if queued is not None and "queued_id" in case.path_parameters:
            case.path_parameters["queued_id"] = queued["id"]

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"{self.url}/api/v1/chats{path}"
        answer = self.session.request(method, url, json=body, headers=self.headers, timeout=30)
        assert answer.ok, answer.text
        parsed: dict[str, Any] = answer.json()
        return parsed


async def new_caller(dsn: str, scopes: frozenset[AccessScope]) -> Bearer:
    """Create a token. Return its headers."""
    database = Database(dsn, pool_size=1)
    await database.open()
    try:
        _, secret = await Tokens(database).create(owner_id="anyone", scopes=scopes)
        return bearer(secret)
    finally:
        await database.close()


@pytest.fixture(scope="module")
def api_client(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    with (
        chatd_process(folder, module_dsn, settings=SETTINGS) as chatd,
        requests.Session() as session,
    ):
        anyio.run(chatd.wait_until_ready)
        anyone, operator = (
            anyio.run(new_caller, module_dsn, scopes) for scopes in (OWN_CHATS, EVERY_SCOPE)
        )
        yield ApiClient(chatd.url, session, anyone, operator)
        assert not chatd.logged("http.unexpected")


def schema_of_one_operation(request: pytest.FixtureRequest) -> BaseSchema:
    request.node._nodeid = (
        request.node.nodeid
    )  # schemathesis 4.32 reads it; pytest 9.2 has it no more
    method, path = request.param
    paths = {path: {method.lower(): document()["paths"][path][method.lower()]}}
    return schemathesis.openapi.from_dict(document() | {"paths": paths})


# Fixtures, since making the examples takes seconds, which each process of pytest would spend on collection.
every_operation = pytest.fixture(params=ENDING, ids=" ".join)(schema_of_one_operation)
operation_of_operators = pytest.fixture(params=OF_OPERATORS, ids=" ".join)(schema_of_one_operation)


@schemathesis.pytest.from_fixture("every_operation").parametrize()
@BOUNDED
def test_every_response_is_documented(case: Case, api_client: ApiClient) -> None:
    api_client.aim(case)
    answer = case.call(**api_client.how)
    case.validate_response(answer, excluded_checks=[ignored_auth, *inapplicable_checks(answer)])


@schemathesis.pytest.from_fixture("operation_of_operators").parametrize()
@BOUNDED
def test_operations_responses_are_documented(case: Case, api_client: ApiClient) -> None:
    answer = case.call(**api_client.as_operator)
    if is_valid(case) and "x-chatd-owner" not in {name.lower() for name in case.headers or {}}:
        assert answer.status_code == HTTPStatus.OK
    case.validate_response(answer, excluded_checks=[ignored_auth, *inapplicable_checks(answer)])


def is_valid(case: Case) -> bool:
    """Return whether the document allows the request."""
    return case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE


def inapplicable_checks(answer: Response) -> list:
    """Return the checks that do not apply: a request may be well-formed and still be refused.

    It names a model, a page or a server that does not exist, its tools have invalid schemas, or its
    messages have calls without results. A head that is too large is refused as a whole, which
    schemathesis takes for no refusal of what is in it.
    """
    if answer.status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return [positive_data_acceptance, negative_data_rejection]
    if answer.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return []
    problem = answer.json()
    wholes = ("body.tools", "body.server_tools", "body.messages")
    of_wholes = all(error["where"].startswith(wholes) for error in problem["errors"])
    senseless = problem["code"] != "invalid_request" or of_wholes
    return [positive_data_acceptance] if senseless else []
