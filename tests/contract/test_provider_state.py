"""State of a provider that comes with an answer: captured whole, and sent back on the wire."""

from dataclasses import replace
from typing import Any

import pytest
from support.model_server import End, ModelResponse, model_server
from support.provider_cases import collect, message, request, sdk_provider, text_part
from support.request_rules import DIALECTS, violations
from support.wire_formats import ChatCompletions, ModelAnswer, OpenAIResponses

from chatd.domain.message import Role


class LateEncryption(OpenAIResponses):
    """Responses API that sends the encrypted content after several summary parts of the reasoning."""

    def _reasoning(self, out: list[bytes], pieces: tuple[str, ...], at: int) -> dict[str, Any]:
        item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
        out.append(self._event("response.output_item.added", output_index=at, item=item))
        for number, piece in enumerate(pieces):
            where = {"item_id": "rs_1", "output_index": at, "summary_index": number}
            part = {"type": "summary_text", "text": ""}
            done = {**part, "text": piece}
            name = "response.reasoning_summary"
            out.append(self._event(f"{name}_part.added", **where, part=part))
            out.append(self._event(f"{name}_text.delta", **where, delta=piece))
            out.append(self._event(f"{name}_text.done", **where, text=piece))
            out.append(self._event(f"{name}_part.done", **where, part=done))
        summary = [{"type": "summary_text", "text": piece} for piece in pieces]
        item = {**item, "summary": summary, "encrypted_content": self.signature}
        out.append(self._event("response.output_item.done", output_index=at, item=item))
        return item


@pytest.mark.parametrize("pieces", [("One.",), ("One.", "Two."), ("One.", "Two.", "Three.")])
async def test_encrypted_reasoning_with_several_summary_parts_goes_back(
    pieces: tuple[str, ...],
) -> None:
    events = LateEncryption().events(ModelAnswer(reasoning=pieces, text=("Yes.",)))
    async with model_server(ModelResponse(pieces=[b"".join(events)])) as server:
        provider = sdk_provider(server, "openai")
        first = await collect(provider, request("openai"))
        assert {part["provider"]["name"] for part in first.content} == {"fake"}
        more = (
            message(3, Role.ASSISTANT, *first.content, finish_reason=first.finished[0].reason),
            message(4, Role.USER, text_part("And?")),
        )
        await collect(provider, request("openai", *more))
        await provider.aclose()
    body = server.requests[1].body
    assert violations(body, DIALECTS["openai"]) == []
    [reasoning] = [item for item in body["input"] if item.get("type") == "reasoning"]
    assert reasoning["encrypted_content"] == "opaque-bytes"
    assert [part["text"] for part in reasoning["summary"]] == list(pieces)


async def test_ids_that_a_server_sends_again_go_back_once() -> None:
    events = LateEncryption().events(ModelAnswer(reasoning=("One.",), text=("Yes.",)))
    async with model_server(ModelResponse(pieces=[b"".join(events)])) as server:
        provider = sdk_provider(server, "openai")
        first = await collect(provider, request("openai"))
        answer = {"finish_reason": first.finished[0].reason}
        more = (
            message(3, Role.ASSISTANT, *first.content, **answer),
            message(4, Role.USER, text_part("And?")),
            message(5, Role.ASSISTANT, *first.content, **answer),
            message(6, Role.USER, text_part("And?")),
        )
        await collect(provider, request("openai", *more))
        await provider.aclose()
    body = server.requests[1].body
    assert violations(body, DIALECTS["openai"]) == []
    assert [item.get("type") for item in body["input"]].count("reasoning") == 1
    assert str(body["input"]).count("Yes.") == 2


async def test_answer_that_was_cut_has_no_state() -> None:
    events = LateEncryption().events(ModelAnswer(reasoning=("One.", "Two."), text=("Yes.",)))
    cut = ModelResponse(pieces=[b"".join(events[:-1])], end=End.CLOSE)
    async with model_server(cut) as server:
        provider = sdk_provider(server, "openai")
        outcome = await collect(provider, request("openai"))
        await provider.aclose()
    assert outcome.finished == []
    assert [part["text"] for part in outcome.content] == ["One.", "Two.", "Yes."]
    assert all("provider" not in part for part in outcome.content)


@pytest.mark.parametrize("pieces", [("Use ", "<think>", " here."), ("<think>", "x", "</think>")])
async def test_literal_think_tag_stays_text(pieces: tuple[str, ...]) -> None:
    events = ChatCompletions().events(ModelAnswer(text=pieces))
    async with model_server(ModelResponse(pieces=[b"".join(events)])) as server:
        provider = sdk_provider(server, "openai-compatible")
        outcome = await collect(provider, request("openai-compatible"))
        await provider.aclose()
    assert [(part["type"], part["text"]) for part in outcome.content] == [("text", "".join(pieces))]


async def test_tags_at_the_start_are_reasoning_of_a_model_known_for_them() -> None:
    pieces = ("<think>", "Hm.", "</think>", "\n\n", "Use ", "<think>", ".")
    events = ChatCompletions().events(ModelAnswer(text=pieces, tool_args=("{}",)))
    async with model_server(ModelResponse(pieces=[b"".join(events)])) as server:
        provider = sdk_provider(server, "openai-compatible")
        asked = replace(request("openai-compatible"), model="deepseek-r1:8b")
        outcome = await collect(provider, asked)
        await provider.aclose()
    assert [(part["type"], part.get("text")) for part in outcome.content] == [
        ("reasoning", "Hm."),
        ("text", "Use <think>."),
        ("tool-call", None),
    ]
