"""``chatd demo``: the main job in one command, on a machine that has nothing set up."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from chatd.cli.start import Flag

PROMPT = "In two sentences: why is the sky blue?"

app = App(
    name="demo",
    help_epilogue="""Starts a throw-away database and the local model, runs the daemon, creates a
chat over HTTP and prints the answer as it is streamed. The answer goes to
standard output, the story of what happens to standard error.

Examples:
  chatd demo
  chatd demo 'Why is the sky blue?'
  chatd demo 'Why is the sky blue?' > answer.txt""",
)


@app.default
def demo(
    prompt: Annotated[str, Parameter(help="What to ask the model.")] = PROMPT,
    /,
    *,
    model: Annotated[
        str | None, Parameter(help="A vendor's model, when its key is in the environment.")
    ] = None,
    verbose: Annotated[Flag, Parameter(help="Show the daemon's log too.")] = False,
) -> int:
    """Answer one prompt with everything embedded: the main job in one command."""
    import anyio  # noqa: PLC0415  (only who runs it pays)

    from chatd import logs  # noqa: PLC0415

    logs.configure(level="info" if verbose else "warning")
    return anyio.run(_show, prompt, model, backend_options={"use_uvloop": True})


async def _show(prompt: str, wanted: str | None) -> int:
    import anyio  # noqa: PLC0415

    from chatd.cli.standalone import own_model, standalone  # noqa: PLC0415
    from chatd.cli.visitor import Visitor  # noqa: PLC0415

    _say("starting a model and a database, for this time only ...")
    async with (
        own_model(wanted) as model,
        standalone(model, data=None, port=0, signals=True) as daemon,
        anyio.create_task_group() as group,
    ):
        _say(f"model: {model.what}")
        group.start_soon(daemon.run)
        await daemon.supervisor.ready.wait()
        async with Visitor(f"http://127.0.0.1:{daemon.port}") as visitor:
            done = await visitor.ask(prompt, say=_say)
        daemon.stop()
    return 0 if done else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
