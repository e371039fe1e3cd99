"""``chatd chat``: options, and the choice between a prompt and pipes."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.connection import CallerOptions, resolve_chat_id, run_with_client
from chatd.cli.output import Json, echo

if TYPE_CHECKING:
    from chatd.client import Client

app = App(
    name="chat",
    help_epilogue="""You can type at any time: while an answer is being streamed, your message is
queued. Ctrl-C stops the answer, or quits if there is none. /help lists the
commands: /queue, /interrupt, /edit, /retry, /quit. After you quit, the chat
continues: reopen it with its id, from anywhere.

If a tool may only run when you allow it, or asks you something, the question is
above the prompt: answer y, n REASON, always or never, or what it asks for.

If standard input or output is not a terminal, each input line is sent as a
message after the previous answer, or as the answer to what the chat asks, and
the answers are printed as plain text. Exit code 1: the last turn failed, or the
chat waits for an answer.

Examples:
  chatd chat
  chatd chat 5bd0a6e5
  chatd chat 5bd0a6e5 --owner shop           (scope act-for)
  echo 'Why is the sky blue?' | chatd chat > answer.txt
  echo 'Go on.' | chatd chat 5bd0a6e5 --json | jq -r 'select(.event=="error")'""",
)


@app.default
def chat(
    chat: Annotated[
        str | None, Parameter(help="Id of an existing chat. Default: a new chat.")
    ] = None,
    /,
    *,
    model: Annotated[
        str | None, Parameter(help="Name of a model, from GET /models. Default: the server's.")
    ] = None,
    json: Json = False,
    caller: CallerOptions | None = None,
) -> int:
    """Chat with a model in the terminal."""

    async def job(client: "Client") -> int:
        chat_id = (
            None
            if chat is None
            else (await client.chats.get(await resolve_chat_id(client, chat)))["id"]
        )
        if not json and sys.stdin.isatty() and sys.stdout.isatty():
            from chatd.cli.chat.interactive import InteractiveChat

            chat_id = await InteractiveChat(client, chat_id, model=model).run()
            if chat_id is not None:
                echo(f"chatd chat {chat_id}", error=True)
            return 0
        from chatd.cli.chat.piped import PipedChat

        return await PipedChat(client, chat_id, model=model, json=json).run()

    return run_with_client(caller, job)
