"""``chatd config``: find every mistake before a start does, and see what is in force and why."""

from dataclasses import asdict

from cyclopts import App

from chatd.cli.as_json import Json, in_json, show_json
from chatd.cli.exits import Exit
from chatd.cli.root import complain
from chatd.cli.start import Config
from chatd.cli.table import table
from chatd.settings import read, shown

app = App(
    name="config",
    help="Check the configuration, or show what is in force.",
    help_epilogue="""Examples:
  chatd config check --config /etc/chatd/config.toml
  CHATD_WORKER__MAX_CHATS=50 chatd config show
  chatd config show --json | jq '.[] | select(.origin.kind != "default")'""",
)


@app.command
def check(*, config: Config = None) -> int:
    """Read everything, and report all problems: of keys first, then of what they make together.

    Each names the key, where it came from and what is wrong with it. The exit
    code is 78 when there is one. It connects to nothing and opens no port: what
    'run' would refuse apart from these is found here.
    """
    loaded = read(config)
    from chatd.daemon.rehearsal import rehearse  # noqa: PLC0415  ('show' does not pay for it)

    if refused := rehearse(loaded.settings):
        complain("\n".join(refused))
        return Exit.CONFIGURATION
    print(f"The configuration is fine ({loaded.file or 'no file'}).")
    return Exit.DONE


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
