"""Native tools in the configuration, and their results as clients see them."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from chatd.daemon.catalog import catalog_from_settings
from chatd.daemon.preflight import preflight_checks
from chatd.llm.native_tools import NativeTool, is_error_result, shown_result
from chatd.settings import Settings


def settings(kind: str, native_tools: Any) -> Settings:
    provider = {"kind": kind, "api_key": "k", "base_url": "http://localhost:1"}
    if kind == "scripted":
        provider = {"kind": kind}
    model = {"provider": "p", "model": "m", "native_tools": native_tools}
    return Settings.model_validate({"providers": {"p": provider}, "models": {"m": model}})


@pytest.mark.parametrize(
    ("kind", "given", "tools"),
    [
        ("openai", [], []),
        (
            "openai",
            ["web_search", "code_execution"],
            [NativeTool(kind="web_search"), NativeTool(kind="code_execution")],
        ),
        (
            "anthropic",
            '["web_fetch", {"kind": "web_search", "max_uses": 3, "allowed_domains": ["a.example"]}]',
            [
                NativeTool(kind="web_fetch"),
                NativeTool(
                    kind="web_search", options={"max_uses": 3, "allowed_domains": ["a.example"]}
                ),
            ],
        ),
    ],
)
def test_native_tools_of_a_model(kind: str, given: Any, tools: list[NativeTool]) -> None:
    configured = settings(kind, given)
    assert preflight_checks(configured) == []
    assert list(catalog_from_settings(configured).default.native_tools) == tools


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("groq", ["web_search"], "kind \"groq\" has no tool 'web_search' of its own; it has: none"),
        ("scripted", ["web_search"], "has no tool 'web_search' of its own"),
        ("openai", ["web_fetch"], "it has: web_search, code_execution"),
        (
            "openai",
            [{"kind": "web_search", "max_uses": 1}],
            "web_search of kind \"openai\" has no option 'max_uses'",
        ),
        (
            "anthropic",
            [{"kind": "code_execution", "max_uses": 1}],
            "code_execution of kind \"anthropic\" has no option 'max_uses'",
        ),
    ],
)
def test_config_check_says_what_a_provider_does_not_have(
    kind: str, given: Any, reason: str
) -> None:
    [problem] = preflight_checks(settings(kind, given))
    assert problem.startswith("models.m.native_tools: ")
    assert reason in problem


@pytest.mark.parametrize(
    "given",
    [
        ["teleport"],
        [{"max_uses": 1}],
        [{"kind": "web_search", "max_uses": 0}],
        [{"kind": "web_search", "depth": 3}],
        [{"kind": "web_search", "user_location": {"planet": "Mars"}}],
        [{"kind": "web_search", "allowed_domains": ["a.example"] * 101}],
        ["web_search", {"kind": "web_search"}],
        "web_search",
    ],
)
def test_mistakes_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        settings("anthropic", given)


def test_shown_result_has_nothing_that_only_the_provider_can_read() -> None:
    content = [{"title": "T", "encrypted_content": "x", "more": {"encrypted_index": "y", "n": 1}}]
    assert shown_result(content) == [{"title": "T", "more": {"n": 1}}]


@pytest.mark.parametrize("content", [["x" * 1_000] * 100, {"a": {"b": "x" * 100_000}}, "x" * 10**6])
def test_shown_result_is_bounded(content: object) -> None:
    assert len(json.dumps(shown_result(content), ensure_ascii=False)) < 17_000


@pytest.mark.parametrize(
    ("content", "is_error"),
    [
        ({"type": "web_search_tool_result_error", "error_code": "unavailable"}, True),
        ({"type": "code_execution_result", "return_code": 1}, False),
        ({"status": "failed"}, True),
        ({"status": "completed"}, False),
        ([], False),
    ],
)
def test_errors_are_known_in_the_words_of_each_provider(content: object, is_error: bool) -> None:
    assert is_error_result(content) is is_error
