"""``chatd config``: find every mistake before a start does, and see what is in force and why."""

from collections.abc import Sequence
from dataclasses import asdict

from cyclopts import App

from chatd.cli.exit_codes import Exit
from chatd.cli.main import print_error
from chatd.cli.options import Config
from chatd.cli.output import Json, print_json, to_json
from chatd.cli.table import format_table
from chatd.settings import (
    ConfigurationError,
    LoadedSettings,
    Problem,
    config_path,
    load_with_origins,
    shown_settings,
)

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
        loaded = load_with_origins(config)
    except ConfigurationError as error:
        if not json:
            raise
        return _print_problems(config, error.problems)
    from chatd.daemon.preflight import preflight_checks

    refused = preflight_checks(loaded.settings)
    if json:
        return _print_problems(config, [_to_problem(text, loaded) for text in refused])
    if refused:
        print_error("\n".join(refused))
        return Exit.CONFIGURATION
    print(f"The configuration is fine ({loaded.file or 'no file'}).")
    return Exit.DONE


def _print_problems(config: Config, problems: Sequence[Problem]) -> int:
    """What is wrong, for programs."""
    print_json({"file": config_path(config), "problems": [asdict(one) for one in problems]})
    return Exit.CONFIGURATION if problems else Exit.DONE


def _to_problem(message: str, loaded: LoadedSettings) -> Problem:
    """What a start would refuse; it comes from where the key, or the table around it, was given."""
    key, _, reason = message.partition(": ")
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
    entries = shown_settings(load_with_origins(config))
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [(entry.key, to_json(entry.value), entry.origin.text) for entry in entries]
    print(format_table(("KEY", "VALUE", "FROM"), rows))
