"""Snapshot of the OpenAPI document, so that the API changes on purpose only."""

import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.openapi_conformance import document

SNAPSHOT = Path(__file__).parents[2] / "clients" / "openapi.json"
ACCEPT = "If this is intended: chatd openapi > clients/openapi.json"


def test_document_equals_the_snapshot() -> None:
    current = json.dumps(document(), indent=2, sort_keys=True).splitlines()
    snapshot = SNAPSHOT.read_text().splitlines()
    if current != snapshot:
        changes = difflib.unified_diff(snapshot, current, "snapshot", "code", n=2, lineterm="")
        pytest.fail("\n".join(["The API has changed.", *changes, ACCEPT]), pytrace=False)


PHRASES_OF_ANOTHER_PYTHON = """
import http
for status in http.HTTPStatus:
    status.phrase = "A phrase of another Python"
from chatd.daemon import openapi
import json
import subprocess
import sys
print(json.dumps(openapi()))
"""


def test_document_does_not_depend_on_the_interpreter() -> None:
    """Python 3.13 renamed statuses: ``http`` calls 422 "Unprocessable Content" there."""
    program = [sys.executable, "-c", PHRASES_OF_ANOTHER_PYTHON]
    completed = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(completed.stdout) == json.loads(SNAPSHOT.read_text())
