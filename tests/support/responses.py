"""Responses: the model that answers them in tests, and inputs."""

from typing import Any

from openai.types.responses import Response

from support.in_process import InProcessDaemon
from support.providers import ECHO_SCRIPT, scripted

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


def responses_model() -> Any:
    return scripted(
        ECHO_SCRIPT,
        think=[{"reasoning": "Hm, well.", "chunks": 3}, {"text": "You said it.", "chunks": 5}],
        hang=[{"text": "Half of", "chunks": 3}, {"hang": True}],
        tool=[
            {"text": "I look. ", "calls": [1]},
            {
                "tool_call": {"name": "weather", "id": "call_w", "args": {"city": "Bern"}},
                "calls": [1],
            },
            {"text": "It is {result}.", "calls": [2]},
        ],
        again=[
            {"text": "Wrong half", "attempts": [1], "chunks": 3},
            {"error": {"status": 503}, "attempts": [1]},
            {"text": "Right whole", "chunks": 3},
        ],
        pay=[
            {"tool_call": {"name": "pay", "args": {"amount": 5}}, "calls": [1]},
            {"text": "So: {result}", "calls": [2]},
        ],
        fails=[{"text": "Half"}, {"error": {"status": 400, "message": "No."}}],
        long=[{"text": "Half"}, {"finish": {"reason": "length"}}],
    )


async def text_of_messages(chatd: InProcessDaemon, response: Response) -> list[str]:
    """Return the texts of the answers as the native API has them."""
    assert response.conversation is not None
    chat_id = response.conversation.id.removeprefix("conv_")
    answer = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/messages")
    assert answer.status_code == 200, answer.text
    return [
        part["text"]
        for message in answer.json()["items"]
        if message["role"] == "assistant"
        for part in message["content"]
        if part["type"] == "text"
    ]


def event_response(events: list[Any]) -> str:
    return str(events[0].response.id)


def call_output(call_id: str, text: str = "") -> Any:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def denial(request_id: str) -> Any:
    return {
        "type": "mcp_approval_response",
        "approval_request_id": request_id,
        "approve": False,
        "reason": "too much",
    }
