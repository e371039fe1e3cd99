"""``chatd config``: find every mistake before a start does, and see what is in force and why."""

from collections.abc import Sequence
from dataclasses import asdict

from cyclopts import App

from chatd.cli.as_json import Json, in_json, show_json
from chatd.cli.exits import Exit
from chatd.cli.root import complain
from chatd.cli.start import Config
from chatd.cli.table import table
from chatd.settings import ConfigurationError, Loaded, Problem, file_of, read, shown

app = App(
    name="config",
    help="Check the configuration, or show what is in force.",
    help_epilogue="""Examples:
  chatd config check --config /etc/chatd/config.toml
  chatd config check --json | jq -r '.problems[].key'
  CHATD_WORKER__MAX_CHATS=50 chatd config show
  chatd config show --json | jq '.[] | select(.origin.kind != "default")'""",
)


@app.command
def check(*, config: Config = None, json: Json = False) -> int:
    """Read everything, and report all problems: of keys first, then of what they make together.

    Each names the key, where it came from and what is wrong with it. The exit
    code is 78 when there is one. It connects to nothing and opens no port: what
    'run' would refuse apart from these is found here.
    """
    try:
        loaded = read(config)
    except ConfigurationError as error:
        if not json:
            raise
        return _tell(config, error.problems)
    from chatd.daemon.rehearsal import rehearse  # noqa: PLC0415  ('show' does not pay for it)

    refused = rehearse(loaded.settings)
    if json:
        return _tell(config, [_problem(text, loaded) for text in refused])
    if refused:
        complain("\n".join(refused))
        return Exit.CONFIGURATION
    print(f"The configuration is fine ({loaded.file or 'no file'}).")
    return Exit.DONE


def _tell(config: Config, problems: Sequence[Problem]) -> int:
    """What is wrong, for programs."""
    show_json({"file": file_of(config), "problems": [asdict(one) for one in problems]})
    return Exit.CONFIGURATION if problems else Exit.DONE


def _problem(refused: str, loaded: Loaded) -> Problem:
    """What a start would refuse; it comes from where the key, or the table around it, was given."""
    key, _, reason = refused.partition(": ")
    given = {".".join(path): origin.text for path, origin in loaded.origins.items()}
    around = [name for name in given if f"{key}.".startswith(f"{name}.")]
    return Problem(key, reason, given[max(around, key=len)] if around else "not set")


@app.command
def show(
    *,
    config: Config = None,
    json: Json = False,
) -> None:
    """Print every key with its value and where it came from. Secrets are not shown."""
    entries = shown(read(config))
    if json:
        show_json([asdict(entry) for entry in entries])
        return
    rows = [(entry.key, in_json(entry.value), entry.origin.text) for entry in entries]
    print(table(("KEY", "VALUE", "FROM"), rows))
