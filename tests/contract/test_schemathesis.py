"""Requests that nobody would think of, right and wrong, made from the document against a real daemon.

No answer may be a 5xx or undocumented in status, media type, header or shape; what the document
allows is taken, what it forbids is refused. Then whole conversations: what one answer gave is what
the next request asks for.
"""

import itertools
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import anyio
import pytest
import requests
import schemathesis
from conftest import database_of_a_module
from described import STREAM, document, operations
from hypothesis import HealthCheck, Phase, settings
from running import started
from schemathesis import Case, GenerationMode, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.slow

WHO: dict[str, str] = {}
"""The headers of whoever asks; nobody needs any while there is no authentication."""

SETTINGS = """
[worker]
max_queued_messages = 3
"""

STREAMS = [
    path
    for _, path, one in operations()
    if any(STREAM in answer.get("content", ()) for answer in one["responses"].values())
]
"""They have no end that could be waited for; ``test_events`` is about them."""

api = schemathesis.openapi.from_dict(document()).exclude(path=STREAMS)

BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Asking:
    """A connection to the daemon, and chats that are there to be asked about."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url = url
        self.session = session
        bodies = ({}, {"content": "hello"}, {"content": "[[hang]] hello"})
        self._turn = itertools.cycle([True, False])
        self._chats = itertools.cycle([self._create(body) for body in bodies])

    def _create(self, body: dict[str, str]) -> str:
        answer = self.session.post(f"{self.url}/api/v1/chats", json=body, timeout=30)
        assert answer.status_code == HTTPStatus.CREATED, answer.text
        return str(answer.json()["id"])

    def aim(self, case: Case) -> None:
        """Have every other request that is right ask for a chat that exists."""
        right = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
        if right and "chat_id" in case.path_parameters and next(self._turn):
            case.path_parameters["chat_id"] = next(self._chats)


@pytest.fixture(scope="module")
def asking(
    server: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asking]:
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    with (
        database_of_a_module(server, template) as dsn,
        started(folder, dsn, settings=SETTINGS) as chatd,
        requests.Session() as session,
    ):
        anyio.run(chatd.ready)
        session.headers.update(WHO)
        yield Asking(chatd.url, session)
        assert not chatd.said("http.unexpected")


@api.parametrize()
@BOUNDED
def test_every_answer_is_documented(case: Case, asking: Asking) -> None:
    asking.aim(case)
    answer = case.call(base_url=asking.url, session=asking.session, timeout=30)
    case.validate_response(answer, excluded_checks=not_meant(answer))


def not_meant(answer: Response) -> list:
    """A request may be well-formed, and ask for a model or a page that is not there."""
    unmeant = answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY and (
        answer.json()["code"] != "invalid_request"
    )
    return [positive_data_acceptance] if unmeant else []


def test_whole_conversations_are_documented(asking: Asking) -> None:
    class Conversation(api.as_state_machine()):
        """Requests that ask for what earlier answers gave."""

        def get_call_kwargs(self, case: Case) -> dict[str, object]:
            return {"base_url": asking.url, "session": asking.session, "timeout": 30}

        def validate_response(self, response: Response, case: Case, **more: object) -> None:
            case.validate_response(
                response, excluded_checks=not_meant(response), recorder=self.recorder
            )

    Conversation.run(settings=settings(BOUNDED, stateful_step_count=10))
