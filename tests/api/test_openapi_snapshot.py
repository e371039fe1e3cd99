"""The surface of the API changes on purpose only: it stands in ``clients/openapi.json``."""

import difflib
import json
from pathlib import Path

import pytest
from support.openapi_conformance import document

SNAPSHOT = Path(__file__).parents[2] / "clients" / "openapi.json"
ACCEPT = "If that is what you want: chatd openapi > clients/openapi.json"


def test_document_equals_the_snapshot() -> None:
    now = json.dumps(document(), indent=2, sort_keys=True).splitlines()
    then = SNAPSHOT.read_text().splitlines()
    if now != then:
        changes = difflib.unified_diff(then, now, "decided", "now", n=2, lineterm="")
        pytest.fail("\n".join(["The API has changed.", *changes, ACCEPT]), pytrace=False)
