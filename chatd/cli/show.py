"""``chatd show``: one chat with its messages, queue and activity."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyclopts import App

from chatd.cli.connection import CallerOptions, ChatId, resolve_chat_id, run_with_client
from chatd.cli.formatting import chat_rows, plain_text, utc_now
from chatd.cli.output import Json, echo, one_line, print_json, to_json
from chatd.cli.tool_calls import action_text, outcome, record_text, rest_lines, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chatd.client import Action, Chat, Client, Explanation, Message, ToolCallRecord

app = App(
    name="show",
    help_epilogue="""Prints the chat, its messages, its queue, and the reasons for its status. Below
each tool call is its state: who runs it, if it may start again after a crash,
how often it was started, and how long it took.

Examples:
  chatd show 5bd0a6e5
  chatd show 5bd0a6e5 --owner shop           (scope act-for)
  chatd show 5bd0a6e5 --json | jq -r '.messages[-1].content[].text'
  chatd show 5bd0a6e5 --json | jq '.tool_calls[] | select(.is_error)'""",
)


@app.default
def show(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Show a chat: its messages, its queue and its activity."""

    async def job(client: "Client") -> None:
        chat_id = await resolve_chat_id(client, chat)
        record = await client.chats.get(chat_id)
        messages = [message async for message in client.messages.list(chat_id)]
        queue = await client.queue.list(chat_id)
        calls = [call async for call in client.chats.tool_calls(chat_id)]
        explanation = await client.chats.explain(chat_id)
        children = [
            child async for child in client.chats.children(chat_id, max_items=_MAX_CHILDREN)
        ]
        if json:
            document = {"chat": record, "children": children, "messages": messages, "queue": queue}
            print_json({**document, "tool_calls": calls, "explain": explanation})
            return
        _print_chat(record)
        for message in messages:
            echo()
            note = "  (compacted)" if message["compacted"] else ""
            title = f"--- {message['role']} #{message['id']}  {message['created_at'][:19]}"
            echo(one_line(title + note))
            own = [call for call in calls if call["message_id"] == message["id"]]
            _print_content(message, own, record["actions"] or ())
        for queued in queue:
            echo()
            echo(one_line(f"--- queued #{queued['id']}  {queued['created_at'][:19]}"))
            echo(plain_text(queued["content"]))
        _print_children(children)
        _print_explanation(explanation)

    return run_with_client(caller, job)


def _print_chat(chat: "Chat") -> None:
    usage = chat["usage"]
    facts: dict[str, Any] = {
        "chat": chat["id"],
        "owner": chat["owner_id"],
        "title": chat["title"] or "-",
        "parent": chat["parent_chat_id"],
        "status": chat["status"] + (" (archived)" if chat["archived"] else ""),
        "last error": chat["last_error"],
        "model": chat["model"] or "-",
        "labels": ", ".join(f"{name}:{value}" for name, value in chat["labels"].items()),
        "tokens": f"{usage['input_tokens']} in, {usage['output_tokens']} out",
        "created": chat["created_at"][:19],
        "updated": chat["updated_at"][:19],
        "expires": (chat["expires_at"] or "")[:19],
        "version": chat["version"],
    }
    for name, value in facts.items():
        if value not in (None, ""):
            echo(f"{name:<11} {one_line(str(value))}")


def _print_content(
    message: "Message", records: "Sequence[ToolCallRecord]", actions: "Sequence[Action]"
) -> None:
    """Print text and files, then each call with its row of the ledger, or each result, in full."""
    record_by_id = {record["tool_call_id"]: record for record in records}
    action_by_id = {action["tool_call_id"]: action for action in actions}
    others = [part for part in message["content"] if part["type"] not in _TOOL_PARTS]
    if text := plain_text(others):
        echo(text)
    for part in message["content"]:
        if part["type"] in {"tool-call", "native-tool-call"}:
            echo(one_line(f"-> {part['tool_name']} {part['args']}".rstrip()))
            if record := record_by_id.get(part["tool_call_id"]):
                echo(one_line(f"   {record_text(record)}"))
                if record["state"] == "asked" and part["tool_call_id"] in action_by_id:
                    echo(one_line(f"   {action_text(action_by_id[part['tool_call_id']])}"))
        elif part["type"] in {"tool-result", "native-tool-result"}:
            kind = outcome(part["result"], is_error=part.get("is_error", False))
            echo(one_line(f"<- {part.get('tool_name') or 'tool'}{_OUTCOMES[kind]}"))
            echo(textwrap.indent(value_text(part["result"]), "   "))
            for line in rest_lines(part):
                echo(one_line(f"   {line}"))


_TOOL_PARTS = frozenset({"tool-call", "tool-result", "native-tool-call", "native-tool-result"})
_OUTCOMES = {"ok": "", "failed": ", failed", "unknown": ", outcome unknown"}


_MAX_CHILDREN = 100
"""As many as a chat may start (``agents.max_children``)."""


def _print_children(children: "Sequence[Chat]") -> None:
    """Print the chats that this one has started."""
    if not children:
        return
    echo()
    for row in chat_rows(children, utc_now()):
        echo(one_line(f"agent       {'  '.join(row)}"))


def _print_explanation(explanation: "Explanation") -> None:
    """Print the reasons in words, then the facts that are not printed yet."""
    echo()
    for reason in explanation["reasons"]:
        echo(f"reason      {one_line(reason['text'])}")
    for name, value in _flatten(explanation):
        if name not in _SHOWN_ABOVE and value not in (None, "", [], {}):
            text = value if isinstance(value, str) else to_json(value)
            echo(one_line(f"  {name.replace('_', ' '):<28} {text}"))


_SHOWN_ABOVE = frozenset(
    {"reasons", "chat_id", "at", "status", "version", "queue_length", "open_calls"}
)


def _flatten(nested: Mapping[str, Any]) -> "Iterator[tuple[str, Any]]":
    for name, value in nested.items():
        if isinstance(value, dict):
            for inner, fact in value.items():
                yield f"{name} {inner.removeprefix(f'{name}_')}", fact
        else:
            yield name, value
