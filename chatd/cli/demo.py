"""``chatd demo``: one prompt answered by an embedded daemon, on a machine without any setup."""

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from chatd.cli.options import Flag
from chatd.cli.output import Json, echo, print_json

if TYPE_CHECKING:
    from chatd.client import Client

_PROMPT = "In two sentences: why is the sky blue?"

app = App(
    name="demo",
    help_epilogue="""Starts a temporary database and a model, runs the daemon, creates a chat over
HTTP and prints the answer while it streams. The answer goes to standard output,
a report of each step to standard error.

Examples:
  chatd demo
  chatd demo 'Why is the sky blue?'
  chatd demo 'Why is the sky blue?' > answer.txt
  chatd demo --json | jq .chat.usage       (the stored chat)
  ANTHROPIC_API_KEY=... chatd demo --model claude-haiku-4-5""",
)


@app.default
def demo(
    prompt: Annotated[str, Parameter(help="Prompt for the model.")] = _PROMPT,
    /,
    *,
    model: Annotated[
        str | None,
        Parameter(
            help="Model of OpenAI or Anthropic, with the key in $OPENAI_API_KEY or $ANTHROPIC_API_KEY."
        ),
    ] = None,
    verbose: Annotated[Flag, Parameter(help="Show the daemon's log too.")] = False,
    json: Json = False,
) -> int:
    """Answer one prompt with an embedded database and model, in one command."""
    import anyio

    from chatd import logs

    logs.configure(level="info" if verbose else "warning")
    return anyio.run(_run_demo, prompt, model, json, backend_options={"use_uvloop": True})


async def _run_demo(prompt: str, model_name: str | None, as_json: bool) -> int:
    import anyio

    from chatd.cli.dev_model import choose_dev_model, embedded_daemon
    from chatd.client import Client

    _print_progress("starting a temporary model and database ...")
    async with (
        choose_dev_model(model_name) as model,
        embedded_daemon(model, data=None, port=0, handle_signals=True) as daemon,
        anyio.create_task_group() as group,
    ):
        _print_progress(f"model: {model.description}")
        group.start_soon(daemon.run)
        await daemon.supervisor.ready.wait()
        async with Client(f"http://127.0.0.1:{daemon.port}") as client:
            chat_id = await _stream_answer(client, prompt, silent=as_json)
            succeeded = await _print_stored(client, chat_id, as_json=as_json)
        daemon.stop()
    return 0 if succeeded else 1


async def _stream_answer(client: "Client", prompt: str, *, silent: bool) -> str:
    """Create a chat, print its answer while it streams unless ``silent``, and return its id."""
    from chatd.client import MessagePart, PreviewReset, Transcript, text_of

    chat = await client.chats.create(prompt, title="Demo")
    _print_progress(f"POST /api/v1/chats -> 201, chat {chat['id']}")
    _print_progress(f"GET /api/v1/chats/{chat['id']}/stream")
    _print_progress(f"\n> {prompt}\n")
    transcript, printed = Transcript(), ""
    async with client.follow(chat["id"]) as events:
        async for event in events:
            transcript.apply(event)
            if isinstance(event, PreviewReset):
                _print_progress("\n[the answer restarts]\n")
                printed = ""
            elif isinstance(event, MessagePart) or transcript.idle:
                answers = [m for m in transcript.messages if m["role"] == "assistant"]
                text = transcript.preview_text or "".join(text_of(m["content"]) for m in answers)
                if not silent:
                    echo(text.removeprefix(printed), end="")
                printed = text
            if transcript.idle:
                break
    if not silent:
        echo()
    return chat["id"]


async def _print_stored(client: "Client", chat_id: str, *, as_json: bool) -> bool:
    """Report what is stored, print it as JSON if asked, and return whether the turn succeeded."""
    from chatd.client import text_of

    chat = await client.chats.get(chat_id)
    _print_progress(f"\nstored: chat {chat_id}")
    for name in ("title", "model", "status", "last_error", "version"):
        _print_progress(f"  {name:<11} {json.dumps(chat.get(name))}")
    usage = chat["usage"]
    _print_progress(
        f"  {'usage':<11} {usage['input_tokens']} tokens in, {usage['output_tokens']} out"
    )
    messages = [message async for message in client.messages.list(chat_id)]
    for message in messages:
        _print_progress(
            f"  message {message['id']}   {message['role']}: {text_of(message['content'])!r}"
        )
    transitions = [
        f"{entry['transition']} ({entry['status']})" async for entry in client.chats.events(chat_id)
    ]
    _print_progress(f"  {'journal':<11} {' -> '.join(transitions)}")
    if as_json:
        print_json({"chat": chat, "messages": messages})
    return chat["status"] == "waiting"


def _print_progress(text: str) -> None:
    echo(text, error=True)
