"""``chatd show``: everything about one chat."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyclopts import App

from chatd.cli.connection import CallerOptions, ChatId, resolve_chat_id, run_with_client
from chatd.cli.formatting import plain_text
from chatd.cli.output import Json, print_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatd.client import Chat, Client, Explanation

app = App(
    name="show",
    help_epilogue="""The chat with its messages and its queue, and what it is doing or waiting for.

Examples:
  chatd show 5bd0a6e5
  chatd show 5bd0a6e5 --owner shop           (as an admin)
  chatd show 5bd0a6e5 --json | jq -r '.messages[-1].content[].text'""",
)


@app.default
def show(chat: ChatId, /, *, json: Json = False, caller: CallerOptions | None = None) -> int:
    """Show a chat: its messages, its queue, and what it is doing."""

    async def job(client: "Client") -> None:
        chat_id = await resolve_chat_id(client, chat)
        found = await client.chats.get(chat_id)
        messages = [message async for message in client.messages.list(chat_id)]
        queue = await client.queue.list(chat_id)
        why = await client.chats.explain(chat_id)
        if json:
            print_json({"chat": found, "messages": messages, "queue": queue, "explain": why})
            return
        _print_chat(found)
        for message in messages:
            print(f"\n--- {message['role']} #{message['id']}  {message['created_at'][:19]}")
            print(plain_text(message["content"]))
        for waiting in queue:
            print(f"\n--- waiting #{waiting['id']}  {waiting['created_at'][:19]}")
            print(plain_text(waiting["content"]))
        _print_explanation(why)

    return run_with_client(caller, job)


def _print_chat(chat: "Chat") -> None:
    usage = chat["usage"]
    facts: dict[str, Any] = {
        "chat": chat["id"],
        "owner": chat["owner_id"],
        "title": chat["title"] or "-",
        "status": chat["status"] + (" (archived)" if chat["archived"] else ""),
        "last error": chat["last_error"],
        "model": chat["model"] or "-",
        "labels": ", ".join(f"{name}:{value}" for name, value in chat["labels"].items()),
        "tokens": f"{usage['input_tokens']} in, {usage['output_tokens']} out",
        "created": chat["created_at"][:19],
        "touched": chat["updated_at"][:19],
        "version": chat["version"],
    }
    for name, value in facts.items():
        if value not in (None, ""):
            print(f"{name:<11} {value}")


def _print_explanation(explanation: "Explanation") -> None:
    """The reasons in words, then the facts that are not told above."""
    print()
    for reason in explanation["reasons"]:
        print(f"why         {reason['text']}")
    for name, value in _flatten(explanation):
        if name not in _SHOWN_ABOVE and value not in (None, "", [], {}):
            shown = value if isinstance(value, str) else to_json(value)
            print(f"  {name.replace('_', ' '):<28} {shown}")


_SHOWN_ABOVE = frozenset({"reasons", "chat_id", "at", "status", "version", "queue_length"})


def _flatten(nested: Mapping[str, Any]) -> "Iterator[tuple[str, Any]]":
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", fact) for inner, fact in value.items())
        else:
            yield name, value
