"""``chatd tail``: the events of a chat, as they happen."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.as_json import Json, in_json, show_json
from chatd.cli.calling import Caller, ChatId, call, note_gap, whole_id
from chatd.cli.start import Flag
from chatd.cli.words import words_of

if TYPE_CHECKING:
    from chatd.client import Client, Event

app = App(
    name="tail",
    help_epilogue="""Begins with the chat as it is and goes on until Ctrl-C, or until the chat is
deleted; also over restarts of the server, without losing or repeating an event.

Examples:
  chatd tail 5bd0a6e5
  chatd tail 5bd0a6e5 --until-rest
  chatd tail 5bd0a6e5 --json | jq -r 'select(.event == "status").data.status'
  chatd tail 5bd0a6e5 --owner shop           (as an admin)
  chatd tail 5bd0a6e5 --after 12.3.0""",
)


@app.default
def tail(
    chat: ChatId,
    /,
    *,
    after: Annotated[
        str | None, Parameter(help="Begin after the event with this id, not with a snapshot.")
    ] = None,
    until_rest: Annotated[Flag, Parameter(help="Exit when the chat is at rest.")] = False,
    json: Json = False,
    caller: Caller | None = None,
) -> int:
    """Follow what happens in a chat."""

    async def job(client: "Client") -> None:
        from chatd.client import AT_REST, Snapshot, StatusChanged  # noqa: PLC0415

        chat_id = await whole_id(client, chat)
        async with client.follow(chat_id, after, on_gap=note_gap) as events:
            async for event in events:
                if json:
                    line = {"event": event.event, "id": event.id, "data": event.data}
                    show_json(line, lines=True)
                else:
                    print(_line(event), flush=True)
                status = None
                if isinstance(event, Snapshot):
                    status = event.data["chat"]["status"]
                elif isinstance(event, StatusChanged):
                    status = event.data["status"]
                if until_rest and status in AT_REST:
                    return

    return call(caller, job)


def _line(event: "Event") -> str:
    return f"{event.id or '-':<10} {event.event:<15} {_brief(event)}"


def _brief(event: "Event") -> str:
    """What a person wants to know of it."""
    from chatd.client import (  # noqa: PLC0415
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
            return f"{chat['status']}, {len(event.data['messages'])} messages"
        case StatusChanged():
            return event.data["status"]
        case MessageStored():
            message = event.data
            return f"{message['role']} #{message['id']}: {_one_line(words_of(message['content']))}"
        case MessagePart():
            return in_json(event.data.get("text", event.data))
        case QueueChanged():
            return f"{event.data['queue_length']} waiting"
        case TurnFailed():
            return event.data["last_error"]
        case _:
            return in_json(event.data)


def _one_line(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
