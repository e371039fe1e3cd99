"""Native tools: offered, shown, stored, and sent back exactly, over the real SDKs."""

import json
from typing import Any

import pytest
from support.captured_requests import CapturingProvider
from support.model_server import ModelResponse, model_server
from support.native_exchange import ALL, FOLLOW_UP, QUESTION, Exchange
from support.native_tools import (
    CITATION,
    ENCRYPTED,
    SEARCH_RESULTS,
    bash_result,
    claude,
    claude_text,
    claude_thinking,
    openai_answer,
    openai_call,
    openai_code,
    openai_reasoning,
    openai_search,
    openai_text,
    search_result,
    server_tool_use,
    tool_use,
)
from support.provider_cases import collect, message, sdk_provider
from support.request_rules import DIALECTS, violations

from chatd.domain.message import Role
from chatd.llm.errors import ProviderConfigError
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import ModelRequest


async def test_search_of_anthropic_goes_back_as_it_came() -> None:
    answer = claude(
        claude_thinking("I should search."),
        server_tool_use(),
        search_result(),
        claude_text("Sunny.", citation=CITATION),
    )
    chat = Exchange("anthropic", answer, answer)
    await chat.run(FOLLOW_UP)
    assert [part["type"] for part in chat.shown] == [
        *("reasoning", "native-tool-call", "native-tool-result", "text")
    ]
    call, result = chat.shown[1:3]
    assert call == {
        "type": "native-tool-call",
        "tool_call_id": "srvtoolu_1",
        "tool_name": "web_search",
        "args": '{"query": "weather Graz"}',
    }
    assert result["result"] == [
        {k: v for k, v in SEARCH_RESULTS[0].items() if k != "encrypted_content"}
    ]
    assert not result["is_error"]
    assert chat.history[1].finish_reason == "stop"
    thinking, use, found, text = chat.bodies[1]["messages"][1]["content"]
    assert thinking == {"type": "thinking", "thinking": "I should search.", "signature": "sealed"}
    assert use == {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "weather Graz"},
    }
    assert found == {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": SEARCH_RESULTS,
    }
    assert text == {"type": "text", "text": "Sunny.", "citations": [CITATION]}


async def test_tools_of_anthropic_are_offered() -> None:
    chat = Exchange("anthropic", claude(claude_text("Hm.")))
    await chat.run()
    tools = {tool["name"]: tool for tool in chat.bodies[0]["tools"]}
    assert set(tools) == {"weather", "web_search", "web_fetch", "code_execution"}
    assert tools["web_search"]["max_uses"] == 3
    assert tools["web_search"]["allowed_callers"] == ["direct"]


async def test_search_of_openai_goes_back_as_it_came() -> None:
    answer = openai_answer(openai_reasoning(), openai_search(), openai_text("Sunny."))
    chat = Exchange("openai", answer, openai_answer(openai_text("Rain.", "msg_2")))
    await chat.run(FOLLOW_UP)
    assert [part["type"] for part in chat.history[1].content] == [
        *("reasoning", "native-tool-call", "native-tool-result", "text")
    ]
    assert json.loads(chat.history[1].content[1]["args"]) == {
        "type": "search",
        "query": "weather Graz",
    }
    assert {"type": "web_search", "search_context_size": "medium"} in chat.bodies[0]["tools"]
    reasoning, search, text = chat.bodies[1]["input"][1:4]
    assert (reasoning["id"], reasoning["encrypted_content"]) == ("rs_1", "sealed")
    assert search == {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "weather Graz"},
    }
    assert text["id"] == "msg_1"


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_code_goes_back_as_it_came(kind: str) -> None:
    given = '{"command": "python4"}'
    use = server_tool_use("srvtoolu_9", "bash_code_execution", given)
    answers = {
        "openai": openai_answer(openai_code(), openai_text("Four.")),
        "anthropic": claude(use, bash_result("srvtoolu_9"), claude_text("Four.")),
    }
    last = {
        "openai": openai_answer(openai_text("Hm.", "msg_2")),
        "anthropic": claude(claude_text("Hm.")),
    }
    chat = Exchange(kind, answers[kind], last[kind])
    await chat.run(FOLLOW_UP)
    first = chat.history[1].content[0]
    assert (first["type"], first["tool_name"]) == ("native-tool-call", "code_execution")
    if kind == "openai":
        [item] = [i for i in chat.bodies[1]["input"] if i.get("type") == "code_interpreter_call"]
        assert (item["id"], item["code"], item["container_id"]) == ("ci_1", 'print("4")', "cntr_1")
    else:
        use_block, result = chat.bodies[1]["messages"][1]["content"][:2]
        assert (use_block["name"], use_block["input"]) == ("bash_code_execution", json.loads(given))
        assert result == bash_result("srvtoolu_9")[0]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_client_call_beside_a_search_is_answered_after_it(kind: str) -> None:
    answers = {
        "openai": [
            openai_answer(openai_search(), openai_call()),
            openai_answer(openai_text("Sunny.", "msg_2")),
        ],
        "anthropic": [
            claude(server_tool_use(), search_result(), tool_use(), reason="tool_use"),
            claude(claude_text("Sunny.")),
        ],
    }
    chat = Exchange(kind, *answers[kind])
    called = {"openai": "call_1", "anthropic": "toolu_1"}[kind]
    result = {"type": "tool-result", "tool_call_id": called, "result": "sunny"}
    await chat.run(message(3, Role.TOOL, result))
    assert chat.history[1].finish_reason == "tool_call"
    sent = json.dumps(chat.bodies[1])
    assert ENCRYPTED in sent or '"web_search_call"' in sent


async def test_result_that_comes_with_the_next_answer_belongs_to_its_call() -> None:
    """Anthropic ends an answer before its search has ended if the client is to run a tool as well."""
    chat = Exchange(
        "anthropic",
        claude(server_tool_use(), tool_use(), reason="tool_use"),
        claude(search_result(), claude_text("Sunny.")),
        claude(claude_text("Hm.")),
    )
    result = {"type": "tool-result", "tool_call_id": "toolu_1", "result": "sunny"}
    await chat.run(message(3, Role.TOOL, result), FOLLOW_UP)
    assert chat.bodies[1]["messages"][1]["content"][0]["type"] == "server_tool_use"
    assert chat.bodies[2]["messages"][3]["content"][0]["type"] == "web_search_tool_result"


@pytest.mark.parametrize(
    "parts", [("call", "user", "result"), ("result", "call"), ("call", "result", "result")]
)
async def test_result_that_answers_no_call_is_left_out(parts: tuple[str, ...]) -> None:
    searched = Exchange("anthropic", claude(server_tool_use(), search_result(), claude_text("Hm.")))
    await searched.run()
    call, result, text = searched.history[1].content
    history, answer = [QUESTION], [text]
    for part in (*parts, "user"):
        if part == "user":
            history += [message(2, Role.ASSISTANT, *answer, finish_reason="stop"), FOLLOW_UP]
            answer = [text]
        else:
            answer.append(call if part == "call" else result)
    provider = CapturingProvider("anthropic", name="fake")
    body = await provider.body(history, native_tools=ALL["anthropic"])
    await provider.aclose()
    assert violations(body, DIALECTS["anthropic"]) == []
    assert "web_search_tool_result" not in json.dumps(body["messages"])


async def test_answer_that_was_paused_goes_on() -> None:
    chat = Exchange(
        "anthropic",
        claude(server_tool_use(), search_result(), reason="pause_turn"),
        claude(claude_text("Sunny.")),
        claude(claude_text("Hm.")),
    )
    await chat.run(message(0, Role.SYSTEM), FOLLOW_UP)
    assert [m["role"] for m in chat.bodies[1]["messages"]] == ["user", "assistant"]
    assert [m["role"] for m in chat.bodies[2]["messages"]] == ["user", "assistant", "user"]
    kinds = [block["type"] for block in chat.bodies[2]["messages"][1]["content"]]
    assert kinds == ["server_tool_use", "web_search_tool_result", "text"]


@pytest.mark.parametrize(
    "before", [(), (claude_thinking("Hm."),), (claude_text("Hm."), claude_thinking("Hm."))]
)
async def test_user_who_speaks_instead_of_the_result_ends_the_call(
    before: tuple[list[dict[str, Any]], ...],
) -> None:
    """Without the call, the answer has no thinking at its end, and may have nothing."""
    paused = claude(*before, server_tool_use(), reason="pause_turn")
    chat = Exchange("anthropic", paused, claude(claude_text("Rain.")))
    await chat.run(FOLLOW_UP)
    blocks = [b["type"] for m in chat.bodies[1]["messages"] for b in m["content"]]
    assert set(blocks) == {"text"}


async def test_search_that_failed_is_an_error() -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    answer = claude(server_tool_use(), search_result(content=error), claude_text("Hm."))
    chat = Exchange("anthropic", answer, answer)
    await chat.run(FOLLOW_UP)
    assert chat.shown[1]["is_error"]
    assert chat.bodies[1]["messages"][1]["content"][1]["content"] == error


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "tool taken away"])
async def test_search_that_cannot_go_back_leaves_its_text(cut: bool) -> None:
    searched = claude(
        claude_thinking("Hm."),
        server_tool_use(),
        search_result(),
        claude_text("Sunny.", citation=CITATION),
        reason="max_tokens" if cut else "end_turn",
    )
    chat = Exchange("anthropic", searched)
    await chat.run()
    later = Exchange("anthropic", claude(claude_text("Hm.")))
    later.history = [*chat.history, FOLLOW_UP]
    await later.run(native_tools=None if cut else ())
    assert later.bodies[0]["messages"][1]["content"] == [{"type": "text", "text": "Sunny."}]


@pytest.mark.parametrize(
    "item", [openai_search(action=None), openai_code(container_id="")], ids=["search", "code"]
)
async def test_item_of_openai_that_lacks_what_it_did_leaves_its_text(
    item: list[dict[str, Any]],
) -> None:
    """Reasoning would lead to nothing, since the item itself cannot go back."""
    answer = openai_answer(openai_reasoning(), item, openai_text("Sunny."))
    chat = Exchange("openai", answer, openai_answer(openai_text("Rain.", "msg_2")))
    await chat.run(FOLLOW_UP)
    assert [part["type"] for part in chat.history[1].content] == [
        *("reasoning", "native-tool-call", "native-tool-result", "text")
    ]
    _, text, _ = chat.bodies[1]["input"]
    assert text == {"role": "assistant", "content": "Sunny."}


@pytest.mark.parametrize("kind", ["openai", "anthropic", "openai-compatible", "mistral"])
async def test_search_of_another_provider_leaves_its_text(kind: str) -> None:
    """It has another name, also where it has the same kind."""
    chat = Exchange("anthropic", claude(server_tool_use(), search_result(), claude_text("Sunny.")))
    await chat.run()
    provider = CapturingProvider(kind, name="other")
    body = await provider.body([*chat.history, FOLLOW_UP], native_tools=ALL.get(kind, ()))
    await provider.aclose()
    assert violations(body, DIALECTS[kind]) == []
    assert "Sunny." in json.dumps(body)
    assert "srvtoolu_1" not in json.dumps(body)


async def test_large_results_are_shown_in_part_and_kept_up_to_a_limit() -> None:
    def result(id_: str, megabytes: int) -> list[dict[str, Any]]:
        found = {
            **SEARCH_RESULTS[0],
            "title": "t" * 9_000,
            "encrypted_content": "x" * megabytes * 2**20,
        }
        return search_result(id_, [found] * 9 if megabytes == 0 else [found])

    large = claude(
        server_tool_use("srvtoolu_1"),
        result("srvtoolu_1", 3),
        server_tool_use("srvtoolu_2"),
        result("srvtoolu_2", 3),
        claude_text("Sunny."),
    )
    chat = Exchange("anthropic", large, claude(claude_text("Hm.")))
    await chat.run(FOLLOW_UP)
    stored = chat.history[1].content
    assert len(json.dumps(stored)) < 5 * 2**20
    shown = [part["result"] for part in stored if part["type"] == "native-tool-result"]
    assert [len(found[0]["title"]) for found in shown] == [2_001, 2_001]
    assert chat.bodies[1]["messages"][1]["content"] == [{"type": "text", "text": "Sunny."}]
    many = claude(server_tool_use(), result("srvtoolu_1", 0), claude_text("Sunny."))
    chat = Exchange("anthropic", many)
    await chat.run()
    assert isinstance(chat.shown[1]["result"], str)
    assert len(chat.shown[1]["result"]) <= 16_385


async def test_model_without_the_tool_is_a_mistake_in_the_configuration() -> None:
    async with model_server(ModelResponse(pieces=[claude(claude_text("Hm."))])) as server:
        provider = sdk_provider(server, "openai-compatible")
        asked = ModelRequest(
            model="fake", messages=(QUESTION,), native_tools=(NativeTool(kind="code_execution"),)
        )
        with pytest.raises(ProviderConfigError, match=r"'fake' has no tool 'code_execution'"):
            await collect(provider, asked)
        await provider.aclose()
    assert server.requests == []
