"""``chatd show``: everything about one chat."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyclopts import App

from chatd.cli.as_json import Json, in_json, show_json
from chatd.cli.calling import Caller, ChatId, call, whole_id
from chatd.cli.words import words_of

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
def show(chat: ChatId, /, *, json: Json = False, caller: Caller | None = None) -> int:
    """Show a chat: its messages, its queue, and what it is doing."""

    async def job(client: "Client") -> None:
        chat_id = await whole_id(client, chat)
        found = await client.chats.get(chat_id)
        messages = [message async for message in client.messages.list(chat_id)]
        queue = await client.queue.list(chat_id)
        why = await client.chats.explain(chat_id)
        if json:
            show_json({"chat": found, "messages": messages, "queue": queue, "explain": why})
            return
        _print_chat(found)
        for message in messages:
            print(f"\n--- {message['role']} #{message['id']}  {message['created_at'][:19]}")
            print(words_of(message["content"]))
        for waiting in queue:
            print(f"\n--- waiting #{waiting['id']}  {waiting['created_at'][:19]}")
            print(words_of(waiting["content"]))
        _print_explanation(why)

    return call(caller, job)


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


def _print_explanation(why: "Explanation") -> None:
    """The reasons in words, then the facts that are not told above."""
    print()
    for reason in why["because"]:
        print(f"why         {reason['text']}")
    for name, value in _flat(why):
        if name not in _TOLD and value not in (None, "", [], {}):
            shown = value if isinstance(value, str) else in_json(value)
            print(f"  {name.replace('_', ' '):<28} {shown}")


_TOLD = frozenset({"because", "chat_id", "at", "status", "version", "queue_length"})


def _flat(facts: Mapping[str, Any]) -> "Iterator[tuple[str, Any]]":
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", fact) for inner, fact in value.items())
        else:
            yield name, value
