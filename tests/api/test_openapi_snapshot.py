"""Snapshot of the OpenAPI document, so that the API changes on purpose only."""

import difflib
import json
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
