"""MCP server over standard input and output, in the standard library alone. Run by path.

``mcp_program.py FAULT [FOLDER]`` misbehaves as the fault says. In the folder it writes its process id, and
each call of ``record`` as a line of ``calls``.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

FAULT = sys.argv[1] if len(sys.argv) > 1 else "none"
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else None
ANY_OBJECT: dict[str, Any] = {"type": "object"}
NAMES = (
    "echo",
    "record",
    "sleep",
    "environment",
    "content",
    "large",
    "large_line",
    "flood",
    "no_utf8",
    "fail",
    "exit",
)
ANNOTATIONS: dict[str, Any] = {
    "echo": {"annotations": {"readOnlyHint": True, "destructiveHint": True}},
    "fail": {"annotations": {"destructiveHint": True}},
}
PAGE = 1000
STATELESS = ("stateless", "asks without a handshake")
"""Without a handshake, with the tool ``ask``. The second one knows no protocol without a handshake."""
SECRET = "state-of-the-server \ud800\x00"
FORM = {
    "type": "object",
    "properties": {
        "date": {"type": "string", "minLength": 3},
        "seats": {"type": "integer", "minimum": 1},
    },
    "required": ["date"],
}


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def write_without_end(text: str) -> NoReturn:
    while True:
        sys.stdout.write(text)


def write_errors_without_end() -> NoReturn:
    while True:
        sys.stderr.write("x" * 1_000_000)


def end(args: dict[str, Any]) -> NoReturn:
    if "signal" in args:
        os.kill(os.getpid(), args["signal"])
    os._exit(args.get("code", 3))


def tools() -> list[dict[str, Any]]:
    if FAULT == "many tools":
        return [{"name": f"tool{n:05}", "inputSchema": ANY_OBJECT} for n in range(10_000)]
    listed: list[dict[str, Any]] = [
        {"name": name, "inputSchema": ANY_OBJECT, **ANNOTATIONS.get(name, {})} for name in NAMES
    ]
    if FOLDER is not None:
        listed.append({"name": "steps", "inputSchema": ANY_OBJECT})
    if FAULT in STATELESS:
        listed.append({"name": "ask", "inputSchema": ANY_OBJECT})
    if FAULT == "large schema":
        properties = {f"p{n}": {"type": "string", "description": "x" * 1000} for n in range(1000)}
        listed[0]["inputSchema"] = {"type": "object", "properties": properties}
    if FAULT == "odd names":
        listed += [{"name": name, "inputSchema": ANY_OBJECT} for name in ("a.b", "a/b", "x" * 100)]
    return listed


def page(params: dict[str, Any]) -> dict[str, Any]:
    if FAULT == "pages without end":
        return {"tools": tools(), "nextCursor": "again"}
    start = int(params.get("cursor", 0))
    listed = tools()
    more = {"nextCursor": str(start + PAGE)} if start + PAGE < len(listed) else {}
    return {"tools": listed[start : start + PAGE], **more}


def answer_without_utf8(request: dict[str, Any]) -> None:
    message = {"jsonrpc": "2.0", "id": request["id"], "result": text("a MARK b")}
    sys.stdout.buffer.write(json.dumps(message).encode().replace(b"MARK", b"\xff\xc3(") + b"\n")
    sys.stdout.buffer.flush()


def steps(args: dict[str, Any], token: Any) -> dict[str, Any]:
    """Report one step after the other, and go on when there is a file ``go``."""
    assert FOLDER is not None
    for n in range(1, args["steps"] + 1):
        params = {"progressToken": token, "progress": n, "total": args["steps"]}
        params["message"] = f"step {n}"
        write({"method": "notifications/progress", "params": params})
        time.sleep(args.get("pause", 0.0))
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    return text("all steps done")


def call(name: str, args: dict[str, Any]) -> dict[str, Any]:
    match name:
        case "echo":
            return text(json.dumps(args))
        case "record":
            assert FOLDER is not None
            with (FOLDER / "calls").open("a") as file:
                file.write(f"{args.get('text', '')}\n")
            return text("recorded")
        case "sleep":
            time.sleep(args.get("seconds", 3600))
            return text("slept")
        case "environment":
            return text(json.dumps(dict(os.environ)))
        case "content":
            return args
        case "large":
            return text("x" * args["size"])
        case "large_line":
            write_without_end("x" * 1_000_000)
        case "flood":
            note = {"jsonrpc": "2.0", "method": "notifications/message"}
            note["params"] = {"level": "info", "data": "x"}  # type: ignore[assignment]
            write_without_end(json.dumps(note) + "\n")
        case "exit":
            end(args)
        case _:
            return {**text("it failed"), "isError": True}


def ask(params: dict[str, Any]) -> dict[str, Any]:
    """Ask as often as the arguments say, one question after the other, and return what was answered.

    Each call is a line of ``calls``. With ``result``, that is the first result.
    """
    args = params.get("arguments") or {}
    given, state = params.get("inputResponses"), params.get("requestState")
    asked = json.loads(state)["asked"] if state else 0
    if FOLDER is not None:
        with (FOLDER / "calls").open("a") as file:
            file.write(json.dumps({"given": given, "state": state, "args": args}) + "\n")
    if asked >= args.get("questions", 1):
        return text(json.dumps(given))
    if "result" in args and not asked:
        return {"resultType": "input_required", **args["result"]}
    form = {"message": f"When? {asked}", "requestedSchema": FORM, "mode": "form"}
    requests = {f"k{asked}": {"method": "elicitation/create", "params": form}}
    state = json.dumps({"asked": asked + 1, "secret": SECRET})
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


def answer(request: dict[str, Any]) -> None:
    params = request.get("params") or {}
    match request["method"]:
        case "server/discover" if FAULT == "stateless":
            result: dict[str, Any] = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                **NOT_CACHED,
            }
            capabilities = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
            write_capabilities(capabilities)
        case "initialize":
            write_capabilities(params["capabilities"])
            result = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "program", "version": "1"},
            }
        case "tools/list":
            result = {**page(params), **(NOT_CACHED if FAULT == "stateless" else {})}
        case "tools/call":
            args = params.get("arguments") or {}
            if params["name"] == "no_utf8":
                answer_without_utf8(request)
                return
            if params["name"] == "ask":
                result = ask(params)
            elif params["name"] == "steps":
                result = steps(args, params["_meta"]["progressToken"])
            else:
                result = call(params["name"], args)
            if FAULT == "stateless":
                result.setdefault("resultType", "complete")
        case method:
            error = {"code": -32601, "message": f"no method {method}"}
            write({"id": request["id"], "error": error})
            return
    if FAULT == "ends once listed" and request["method"] == "tools/list":
        write({"id": request["id"], "result": result})
        os._exit(0)
    is_wrong = FAULT == "wrong id" and request["method"] == "tools/call"
    write({"id": request["id"] + 1000 * is_wrong, "result": result})


NOT_CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def write_capabilities(capabilities: dict[str, Any]) -> None:
    if FOLDER is not None:
        (FOLDER / "capabilities").write_text(json.dumps(capabilities))


def begin() -> None:
    """Write the process id, and misbehave as far as that comes before the first message."""
    if FOLDER is not None:
        with (FOLDER / "pids").open("a") as file:
            file.write(f"{os.getpid()}\n")
    match FAULT:
        case "black hole":
            time.sleep(3600)
        case "slow start":
            time.sleep(1.0)
        case "early exit":
            sys.stderr.write("cannot find my configuration\n")
            sys.exit(3)
        case "garbage":
            write_without_end("\x1b[1mbooting…\x00\n")
        case "endless line":
            write_without_end("x" * 1_000_000)
        case "errors without end":
            threading.Thread(target=write_errors_without_end, daemon=True).start()
        case "greeting":
            sys.stdout.write('booting\n{"level":"info"}\n\n[[[[\n')
        case "stays":
            stay()


def stay() -> None:
    """Ignore every polite request to end, and start a process that does, too."""
    assert FOLDER is not None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process = subprocess.Popen(["sleep", "3600"])
    with (FOLDER / "pids").open("a") as file:
        file.write(f"{process.pid}\n")


def main() -> None:
    begin()
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            answer(request)
    while FAULT == "stays":
        time.sleep(3600)


if __name__ == "__main__":
    main()
