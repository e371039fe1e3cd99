"""Requests that nobody would think of, right and wrong, made from the document against a real daemon.

No answer may be a 5xx or undocumented in status, media type, header or shape; what the document
allows is taken, what it forbids is refused. (That nobody gets in without a token is for
``test_owner_isolation``: this library's probe of it sends the token all the same.)
"""

import itertools
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
import schemathesis
from conftest import module_database
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode, Response
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from support.auth import Bearer, bearer
from support.openapi_conformance import EVENT_STREAM, document, operations
from support.processes import chatd_process

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

STREAMS = [
    path
    for _, path, one in operations()
    if any(EVENT_STREAM in answer.get("content", ()) for answer in one["responses"].values())
]
"""They have no end that could be waited for; ``test_events`` is about them."""

OPERATIONS = ["/metrics", "/statusz"]
"""They are for admins."""

api = schemathesis.openapi.from_dict(document()).exclude(path=STREAMS)
of_operators = schemathesis.openapi.from_dict(document()).include(path=OPERATIONS)

BOUNDED = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Asking:
    """A connection to the daemon, and chats to ask about."""

    def __init__(self, url: str, session: requests.Session, headers: Bearer, admin: Bearer) -> None:
        self.url = url
        self.session = session
        self.headers = headers
        self.how = {"base_url": url, "session": session, "headers": headers, "timeout": 30}
        self.as_admin = self.how | {"headers": admin}
        self._first = itertools.cycle([None, {}, {"content": "hello"}, HANGS, FAILS])

    def aim(self, case: Case) -> None:
        """Have most requests that are right ask for something that is there."""
        right = is_right(case) and "chat_id" in case.path_parameters
        first = next(self._first) if right else None
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
        told: dict[str, Any] = answer.json()
        return told


async def who(dsn: str, *, admin: bool) -> Bearer:
    """The headers of somebody new."""
    database = Database(dsn, pool_size=1)
    await database.open()
    try:
        _, secret = await Tokens(database).create(owner_id="anyone", admin=admin)
        return bearer(secret)
    finally:
        await database.close()


@pytest.fixture(scope="module")
def asking(
    server: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asking]:
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    with (
        module_database(server, template) as dsn,
        chatd_process(folder, dsn, settings=SETTINGS) as chatd,
        requests.Session() as session,
    ):
        anyio.run(chatd.wait_until_ready)
        anyone, admin = (anyio.run(partial(who, dsn, admin=admin)) for admin in (False, True))
        yield Asking(chatd.url, session, anyone, admin)
        assert not chatd.logged("http.unexpected")


@api.parametrize()
@BOUNDED
def test_every_response_is_documented(case: Case, asking: Asking) -> None:
    asking.aim(case)
    answer = case.call(**asking.how)
    case.validate_response(answer, excluded_checks=[ignored_auth, *not_meant(answer)])


@of_operators.parametrize()
@BOUNDED
def test_operations_responses_are_documented(case: Case, asking: Asking) -> None:
    answer = case.call(**asking.as_admin)
    if is_right(case) and "x-chatd-owner" not in {name.lower() for name in case.headers or {}}:
        assert answer.status_code == HTTPStatus.OK
    case.validate_response(answer, excluded_checks=[ignored_auth, *not_meant(answer)])


def is_right(case: Case) -> bool:
    """Whether the document allows the request."""
    return case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE


def not_meant(answer: Response) -> list:
    """Checks that do not count: a request may be well-formed, and make no sense all the same.

    It asks for a model or a page that is not there, or brings a schema of its own that is none.
    """
    if answer.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return []
    problem = answer.json()
    of_tools = all(error["where"].startswith("body.tools") for error in problem["errors"])
    senseless = problem["code"] != "invalid_request" or of_tools
    return [positive_data_acceptance] if senseless else []
