"""A model server in a process of its own, with orders on standard input and reports on output.

Orders are lines of JSON: ``{"fault": "cut", "calls": 2}`` is for the next two calls, and
``{"refuse_seconds": 1.0}`` closes the port for a while.
"""

import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections import deque
from typing import Any

from support.model_server import End, ModelResponse, ModelServer, Pause
from support.request_rules import DIALECTS, violations
from typing_extensions import override

from chaos.families import WISH, agent_calls
from chaos.offered_tools import call_id_of, chosen_calls, client_call, reading_calls

ASKED = re.compile(r"\bm\d+(?: \[\w+\])?")
"""A message: a name unlike every other, and a wish."""
SUMMARY_PROMPT = "You write the memory of an assistant"
"""Beginning of the system prompt of a call that asks for a summary."""
_SUMMARY = re.compile(r"<summary>.*?</summary>", re.DOTALL)
_MAX_BREACHES = 5
_MOST_ROUNDS = 4
"""Answers of one turn that call tools, at most."""
WORDS = ["one", "word", "after", "the", "other", "so", "that", "it", "can", "be", "cut"]


def text_of(content: Any) -> str:
    """Return the text of a message in a request, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def asked_in(text: str) -> str:
    """Return the message that is to be answered, with its wish: the last one that a user sent.

    What a summary says was said earlier. The message that it quotes beside is still to be answered.
    """
    *_, asked = ["", *ASKED.findall(_SUMMARY.sub("", text))]
    return asked


def asks_for_summary(messages: list[dict[str, Any]]) -> bool:
    return any(
        message["role"] == "system" and text_of(message["content"]).startswith(SUMMARY_PROMPT)
        for message in messages
    )


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    body = {
        "id": "answer",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: %s\n\n" % json.dumps(body).encode()


def usage(prompt_tokens: int) -> bytes:
    counted = {"prompt_tokens": prompt_tokens, "completion_tokens": 5}
    counted["total_tokens"] = sum(counted.values())
    body = {"id": "answer", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %s\n\n" % json.dumps({**body, "choices": [], "usage": counted}).encode()


DONE = b"data: [DONE]\n\n"


REFUSALS = {"rate_limit": 429, "overloaded": 500, "rejects": 400, "too_long": 400}
CONTEXT_TOKENS = 4000
"""The model takes no request of more tokens."""
_BYTES_OF_A_TOKEN = 4
GARBAGE = b'data: {"choices": [\xff\x00\n\n'


def _text(pieces: list[str]) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": piece} for piece in pieces]


def _tool_calls(number: int, calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the deltas of calls, each of a name and its arguments in two pieces."""
    deltas = []
    for index, (name, args) in enumerate(calls):
        call = {"index": index, "id": call_id_of(number, index), "type": "function"}
        deltas.append({"tool_calls": [call | {"function": {"name": name, "arguments": ""}}]})
        middle = len(args) // 2
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in (args[:middle], args[middle:])
        ]
    return deltas


class ChaosModel(ModelServer):
    """Server whose every answer has a text of its own, unless a fault was ordered for the call."""

    def __init__(self, seed: int) -> None:
        super().__init__([])
        self.faults: deque[str] = deque()
        self._random = random.Random(seed)
        self._calls = 0
        self._reports: dict[int, dict[str, Any]] = {}

    @override
    def _next_response(self, text: str) -> ModelResponse:
        request = self.requests.pop()
        self._calls += 1
        messages = request.body["messages"]
        user = next((m for m in reversed(messages) if m["role"] == "user"), None)
        is_summary = asks_for_summary(messages)
        # Messages of a user that follow each other arrive as one.
        asked = asked_in(text_of(user["content"])) if user and not is_summary else ""
        name = asked.split(" ")[0]
        calls = self._tools_called(asked, messages)
        size = json.dumps([messages, request.body.get("tools")])
        tokens = len(size) // _BYTES_OF_A_TOKEN
        fault = self.faults.popleft() if self.faults else None
        if fault is None and tokens > CONTEXT_TOKENS:
            fault = "too_long"
        pieces = (
            [f"summary {self._calls}:", " so", " that"]
            if is_summary
            else self._pieces(name, long="[long]" in asked)
        )
        if fault == "slow":
            del pieces[10:]
            del calls[3:]
        self._reports[self._calls] = {
            "number": self._calls,
            "replica": request.headers.get("x-replica", ""),
            "asked": name,
            "fault": fault,
            "text": "" if calls else "".join(pieces),
            "began": time.time(),
            "breaches": violations(request.body, DIALECTS["openai-compatible"])[:_MAX_BREACHES],
        }
        deltas = _tool_calls(self._calls, calls) if calls else _text(pieces)
        response = self._response(deltas, fault, "tool_calls" if calls else "stop", usage(tokens))
        response.headers["x-call"] = str(self._calls)
        return response

    def _tools_called(self, asked: str, messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
        """Return the names and arguments of calls. As many answers call as the message's name decides."""
        since = [*itertools.takewhile(lambda each: each["role"] != "user", reversed(messages))]
        rounds = sum(message["role"] == "assistant" for message in since)
        name = asked.partition(" ")[0]
        if "[tool]" in asked:
            return [] if rounds else [client_call(self._calls, name)]
        results = [text_of(message["content"]) for message in since if message["role"] == "tool"]
        if WISH in asked and rounds < _MOST_ROUNDS:
            return agent_calls(self._calls, results, self._random)
        if "[server]" not in asked:
            return []
        if rounds < _MOST_ROUNDS and (reading := reading_calls(results, self._random)):
            return reading
        if rounds < random.Random(name).choice([1, 1, 2, 3]):
            return chosen_calls(self._calls, name, self._random)
        return []

    def _pieces(self, name: str, *, long: bool) -> list[str]:
        count = self._random.randint(*((40, 70) if long else (3, 14)))
        return [f"call {self._calls} answers {name}:"] + [
            f" {WORDS[n % len(WORDS)]}" for n in range(count)
        ]

    def _response(
        self, deltas: list[dict[str, Any]], fault: str | None, finish_reason: str, used: bytes
    ) -> ModelResponse:
        if fault in REFUSALS:
            code = "context_length_exceeded" if fault == "too_long" else None
            error = {"message": "no", "type": "chaos", "code": code}
            return ModelResponse(
                status=REFUSALS[fault],
                content_type="application/json",
                headers={"retry-after": "1"} if fault == "rate_limit" else {},
                pieces=[json.dumps({"error": error}).encode()],
            )
        if fault == "empty":
            return ModelResponse(pieces=[chunk({}, "stop"), DONE])
        pause = Pause(0.8 if fault == "slow" else self._random.uniform(0.02, 0.15))
        body = [piece for delta in deltas for piece in (chunk(delta), pause)]
        middle = body[: self._random.randrange(len(body))]
        finish = chunk({}, finish_reason)
        match fault:
            case "cut":
                return ModelResponse(pieces=middle, end=End.CUT)
            case "reset":
                return ModelResponse(pieces=middle, end=End.RESET)
            case "silent":
                return ModelResponse(pieces=middle, end=End.HANG)
            case "garbage":
                return ModelResponse(pieces=[*middle, GARBAGE, finish, DONE])
        end = End.CLOSE if self._random.random() < 0.5 else End.WHOLE
        return ModelResponse(pieces=[*body, finish, used, DONE], end=end)

    @override
    async def _write(
        self, response: ModelResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        report = self._reports.pop(int(response.headers["x-call"]))
        try:
            return await super()._write(response, reader, writer)
        finally:
            report["ended"] = time.time()
            print(json.dumps(report), flush=True)


async def main(seed: int, port: int) -> None:
    model = ChaosModel(seed)
    server = await asyncio.start_server(model.serve, "127.0.0.1", port)
    print(json.dumps({"listening": True}), flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        if "refuse_seconds" in order:
            server.close()
            await asyncio.sleep(order["refuse_seconds"])
            server = await asyncio.start_server(model.serve, "127.0.0.1", port)
        else:
            model.faults.extend([order["fault"]] * order["calls"])
    server.close()
    await model.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
