"""``chatd tail``: the events of a chat, live."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.connection import (
    CallerOptions,
    ChatId,
    report_reconnect,
    resolve_chat_id,
    run_with_client,
)
from chatd.cli.formatting import plain_text
from chatd.cli.options import Flag
from chatd.cli.output import Json, echo, one_line, print_json, to_json

if TYPE_CHECKING:
    from chatd.client import ChatEvent, Client, PartDelta
    from chatd.client.types import ToolCallsChangedData

app = App(
    name="tail",
    help_epilogue="""Starts with a snapshot of the chat and continues until Ctrl-C, or until the chat
is deleted. After a restart of the server it resumes, and loses or repeats no
event.

Examples:
  chatd tail 5bd0a6e5
  chatd tail 5bd0a6e5 --until-idle
  chatd tail 5bd0a6e5 --json | jq -r 'select(.event == "status").data.status'
  chatd tail 5bd0a6e5 --owner shop           (scope act-for)
  chatd tail 5bd0a6e5 --after 12.3.0""",
)


@app.default
def tail(
    chat: ChatId,
    /,
    *,
    after: Annotated[
        str | None, Parameter(help="Start after the event with this id instead of a snapshot.")
    ] = None,
    until_idle: Annotated[Flag, Parameter(help="Exit when the chat is idle.")] = False,
    json: Json = False,
    caller: CallerOptions | None = None,
) -> int:
    """Follow the events of a chat."""

    async def job(client: "Client") -> None:
        from chatd.client import IDLE_STATUSES, Snapshot, StatusChanged

        chat_id = await resolve_chat_id(client, chat)
        async with client.follow(chat_id, after, on_reconnect=report_reconnect) as events:
            async for event in events:
                if json:
                    line = {"event": event.event, "id": event.id, "data": event.data}
                    print_json(line, compact=True)
                else:
                    echo(one_line(_event_line(event)))
                status = None
                if isinstance(event, Snapshot):
                    status = event.data["chat"]["status"]
                elif isinstance(event, StatusChanged):
                    status = event.data["status"]
                if until_idle and status in IDLE_STATUSES:
                    return

    return run_with_client(caller, job)


def _event_line(event: "ChatEvent") -> str:
    return f"{event.id or '-':<10} {event.event:<15} {_summary(event)}"


def _summary(event: "ChatEvent") -> str:
    """Return the content of an event in a few words."""
    from chatd.client import (
        MessagePart,
        MessageStored,
        QueueChanged,
        Snapshot,
        StatusChanged,
        TurnFailed,
    )

    match event:
        case Snapshot():
            chat = event.data["chat"]
            which = "newest " if event.data.get("older_cursor") else ""
            return f"{chat['status']}, {which}{len(event.data['messages'])} messages"
        case StatusChanged():
            return event.data["status"]
        case MessageStored():
            message = event.data
            return (
                f"{message['role']} #{message['id']}: {_beginning(plain_text(message['content']))}"
            )
        case MessagePart():
            return _delta_text(event.data)
        case QueueChanged():
            return f"{event.data['queue_length']} queued"
        case TurnFailed():
            return event.data["last_error"]
        case _:
            return _tool_summary(event)


def _tool_summary(event: "ChatEvent") -> str:
    """Return the content of an event about tools in a few words, and of every other one as JSON."""
    from chatd.client import ActionAnswered, ActionRequired, NoticesGiven, ToolCallsChanged

    match event:
        case ActionAnswered():
            answered = (
                f"{call['tool_name']} {call['decision']}" for call in event.data["answered"]
            )
            return ", ".join(answered) + f"; {len(event.data['open'])} open"
        case NoticesGiven():
            return "; ".join(f"{one['server']}: {one['message']}" for one in event.data["notices"])
        case ToolCallsChanged():
            return _calls_text(event.data)
        case ActionRequired():
            names = ", ".join(
                f"{call['tool_name']} ({call['kind']})" for call in event.data["calls"]
            )
            return f"{names}, until {event.data['deadline'][:19]}"
        case _:
            return to_json(event.data)


def _calls_text(data: "ToolCallsChangedData") -> str:
    """Return which calls have ended, and the ids of those that were started."""
    ended = [
        f"{call['tool_name']} {'failed' if call['is_error'] else 'ended'}"
        for call in data["closed"]
    ]
    return ", ".join([*ended, *(f"{call_id} started" for call_id in data["started"])])


def _delta_text(delta: "PartDelta") -> str:
    if delta["type"] == "tool-call":
        start = f"calls {delta['tool_name']} " if "tool_name" in delta else ""
        return start + to_json(delta.get("args", ""))
    if delta["type"] == "tool-progress":
        facts = {name: value for name, value in delta.items() if name not in _PROGRESS_KEYS}
        return f"progress of {delta['tool_call_id']}: {to_json(facts)}"
    return to_json(delta.get("text", delta))


_PROGRESS_KEYS = frozenset({"type", "index", "tool_call_id"})


def _beginning(text: str, max_length: int = 200) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."
