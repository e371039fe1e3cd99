"""``chatd config``: checks the configuration, or shows the values in force with their origins."""

from collections.abc import Sequence
from dataclasses import asdict

from cyclopts import App

from chatd.cli.exit_codes import Exit
from chatd.cli.options import Config
from chatd.cli.output import Json, echo, format_table, print_error, print_json, to_json
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
    help="Check the configuration, or show the values in force.",
    help_epilogue="""Examples:
  chatd config check --config /etc/chatd/config.toml
  chatd config check --json | jq -r '.problems[].key'
  CHATD_WORKER__MAX_CHATS=50 chatd config show
  chatd config show --json | jq '.[] | select(.origin.kind != "default")'""",
)


@app.command
def check(*, config: Config = None, json: Json = False) -> int:
    """Report all problems of the configuration: each with its key, its origin and the reason.

    It also reports what 'run' would reject at start, as far as that is known
    without a connection or a port. The exit code is 78 if there is a problem.
    """
    try:
        loaded = load_with_origins(config)
    except ConfigurationError as error:
        if not json:
            raise
        return _print_problems(config, error.problems)
    from chatd.daemon.preflight import preflight_checks

    messages = preflight_checks(loaded.settings)
    if json:
        return _print_problems(config, [_to_problem(text, loaded) for text in messages])
    if messages:
        print_error("\n".join(messages))
        return Exit.CONFIGURATION
    echo(f"The configuration is valid ({loaded.file or 'no file'}).")
    return Exit.DONE


def _print_problems(config: Config, problems: Sequence[Problem]) -> int:
    """Print the problems as JSON and return the exit code."""
    print_json({"file": config_path(config), "problems": [asdict(problem) for problem in problems]})
    return Exit.CONFIGURATION if problems else Exit.DONE


def _to_problem(message: str, loaded: LoadedSettings) -> Problem:
    """Return a preflight message as a problem, with the origin of its key or of the table around it."""
    key, _, reason = message.partition(": ")
    origins = {".".join(path): origin.text for path, origin in loaded.origins.items()}
    enclosing = [name for name in origins if f"{key}.".startswith(f"{name}.")]
    return Problem(key, reason, origins[max(enclosing, key=len)] if enclosing else "not set")


@app.command
def show(
    *,
    config: Config = None,
    json: Json = False,
) -> None:
    """Print every key with its value and origin. Secrets are not shown."""
    entries = shown_settings(load_with_origins(config))
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [(entry.key, to_json(entry.value), entry.origin.text) for entry in entries]
    echo(format_table(("KEY", "VALUE", "FROM"), rows))
