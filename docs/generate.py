"""Generator of the tables in the documentation that follow from the code, and of the example config.

A page marks the place of a table with ``<!-- generated: NAME -->`` and ``<!-- end generated -->``.
``config.example.toml`` is generated as a whole. ``python -m docs.generate`` writes all of them.
``--check`` names the files that are not up to date.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chatd.api.errors.codes import PROBLEMS
from chatd.cli.main import COMMANDS
from chatd.domain.chat import Status
from chatd.domain.reason import ReasonCode
from chatd.domain.transitions import TABLE, Target
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.logs import events as logs
from chatd.settings.keys import sections
from chatd.telemetry.metrics import Metrics
from docs.settings_reference import (
    example_config,
    reference_row,
    section_description,
    section_keys,
)

DOCS = Path(__file__).parent
EXAMPLE_CONFIG = DOCS.parent / "config.example.toml"
OPENAPI = DOCS.parent / "clients" / "openapi.json"
PLACE = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end generated -->)", re.DOTALL)

GROUPS = {
    "turns": "Turns",
    "leases": "Leases",
    "streams": "Streams",
    "notifications": "Notifications",
    "search": "Search",
    "containment": "Containment",
    "http": "Requests",
    "process": "The process",
    "database": "The database",
}
"""Headings of the groups of ``Metrics``, by attribute."""


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; pipes inside cells are escaped."""
    lines = [
        [*header],
        ["---"] * len([*header]),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """Return ``text`` in Markdown's code style, or nothing for nothing."""
    return f"`{text}`" if text else ""


def document() -> dict[str, Any]:
    """Return the OpenAPI document that is checked in."""
    parsed: dict[str, Any] = json.loads(OPENAPI.read_text("utf-8"))
    return parsed


def operations() -> str:
    """Return the operations of the API, in the order of their paths."""
    rows = []
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            text = operation.get("description", "").partition("\n\n")[0].replace("\n", " ")
            sentence = text.partition(". ")[0].rstrip(".")
            rows.append((f"`{method.upper()} {path}`", f"{sentence}."))
    return markdown_table(("Operation", "Does"), rows)


def events(union: str) -> str:
    """Return the events of the union schema of this name, with the fields of their data."""
    schemas = document()["components"]["schemas"]
    rows = []
    for reference in schemas[union]["oneOf"]:
        event = schemas[reference["$ref"].rpartition("/")[2]]
        properties = event["properties"]
        fields = ", ".join(code(name) for name in _fields(properties["data"], schemas))
        text = event["description"].replace("\n", " ")
        rows.append((code(properties["event"]["const"]), text, fields))
    return markdown_table(("Event", "Meaning", "Fields of `data`"), rows)


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterable[str]:
    """Return the fields of a schema; of a union, those of all its members."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = schemas[name]
    members = [_fields(member, schemas) for member in schema.get("oneOf", ())]
    return dict.fromkeys(
        [*schema.get("properties", ()), *(field for member in members for field in member)]
    )


def problems() -> str:
    """Return every problem code with its HTTP status."""
    rows = (
        (code(name), str(int(problem.status)), problem.description)
        for name, problem in PROBLEMS.items()
    )
    return markdown_table(("Code", "Status", "Meaning"), rows)


def reasons() -> str:
    """Return the codes of reasons in one sentence."""
    return f"Codes: {', '.join(code(reason) for reason in ReasonCode)}. Several may hold at once.\n"


def commands() -> str:
    """Return the commands of the command line."""
    return markdown_table(
        ("Command", "Does"), ((code(f"chatd {name}"), text) for name, text in COMMANDS.items())
    )


def transitions() -> str:
    """Return the table of transitions, from each status."""
    header = ("Transition", "By", "new", *(code(status) for status in Status))
    rows = []
    for (transition, busy), cells in TABLE.items():
        name = code(transition) + (f" ({code(busy)})" if busy else "")
        by = transition.rule.actor.name.lower()
        rows.append((name, by, *(_cell(cells.get(status), status) for status in (None, *Status))))
    return markdown_table(header, rows)


def _cell(target: Target | None, status: Status | None) -> str:
    if target is None:
        return "-"
    if not target.journaled:
        return "unchanged"
    others = {
        "queue": target.when_queued,
        "crash loop": target.when_exhausted,
        "no message": target.without_message,
        "while asking": target.when_asking,
    }
    special = "".join(f"; {case}: {other}" for case, other in others.items() if other)
    return ("same" if target.status == status else str(target.status)) + special


def log_events() -> str:
    """Return every log event, with what it means and what to do."""
    rows = []
    for event in logs.log_events().values():
        bound = logs.CONTEXT_FIELDS[event.context] if event.context else ()
        fields = (*event.fields, *bound, *(("exception",) if event.exception else ()))
        named = ", ".join(code(name) for name in fields)
        rows.append(
            (code(event.name), ", ".join(event.levels), event.description, event.action, named)
        )
    return markdown_table(("Event", "Level", "Meaning", "Action", "Fields"), rows)


def metrics() -> str:
    """Return every metric, in groups."""
    return "\n".join(_metrics())


def _metrics() -> Iterator[str]:
    for group, heading in GROUPS.items():
        rows = (
            (
                code(metric.name),
                metric.kind,
                ", ".join(map(code, metric.labels)),
                metric.description,
            )
            for metric in vars(getattr(Metrics(), group)).values()
        )
        yield f"## {heading}\n\n{markdown_table(('Metric', 'Kind', 'Labels', 'Meaning'), rows)}"


def labels() -> str:
    """Return the labels whose values are a fixed list."""
    found: dict[tuple[str, str], list[str]] = {}
    for metric in Metrics():
        for label, values in zip(metric.labels, metric._allowed_values, strict=True):
            if values is not None:
                found.setdefault((label, ", ".join(values)), []).append(metric.name)
    rows = (
        (code(label), ", ".join(map(code, names)), values)
        for (label, values), names in found.items()
    )
    return markdown_table(("Label", "Of", "Values"), rows)


def settings() -> str:
    """Return every configuration key, in sections."""
    return "\n".join(_settings())


def _settings() -> Iterator[str]:
    for section, (_, named) in sections().items():
        header = ("Key", "Type", "Default", "Reloadable", "Description")
        table = markdown_table(header, map(reference_row, section_keys(section)))
        title = f"{section}.NAME" if named else section
        yield f"### `[{title}]`\n\n{section_description(section)}\n\n{table}"


def providers() -> str:
    """Return the kinds of providers, with what each was tried against."""
    header = ("Kind", "Address", "API key", "Limit of an answer", "Tried against")
    rows = []
    for kind in PROVIDER_KINDS.values():
        address = code(kind.base_url or "") or ("required" if kind.needs_base_url else "its own")
        limit = "max_completion_tokens" if kind.takes_max_completion_tokens else "max_tokens"
        is_chat = kind.connector == "openai:connect_compatible"
        key = code(kind.api_key_variable or "") or (
            "required" if kind.needs_api_key else "optional"
        )
        rows.append(
            (code(kind.name), address, key, code(limit) if is_chat else "", kind.tried_against)
        )
    return markdown_table(header, rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "operations": operations,
    "chat_events": lambda: events("ChatEvent"),
    "list_events": lambda: events("ChatListEvent"),
    "problems": problems,
    "reasons": reasons,
    "commands": commands,
    "transitions": transitions,
    "log_events": log_events,
    "metrics": metrics,
    "labels": labels,
    "settings": settings,
    "providers": providers,
}


def generated(text: str) -> str:
    """Return a page with its generated places filled."""

    def fill(place: re.Match[str]) -> str:
        begin, name, end = place.groups()
        return f"{begin}\n{TABLES[name]()}\n{end}" if name in TABLES else place[0]

    return PLACE.sub(fill, text)


def pages() -> dict[Path, str]:
    """Return the files that are not up to date, as they should be."""
    found = {}
    if EXAMPLE_CONFIG.read_text("utf-8") != example_config():
        found[EXAMPLE_CONFIG] = example_config()
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        if (new := generated(text)) != text:
            found[path] = new
    return found


def main(arguments: list[str]) -> int:
    """Write the tables, or with ``--check`` report those that differ."""
    outdated = pages()
    for path, text in outdated.items():
        if "--check" in arguments:
            print(f"{path}: run 'make generate'", file=sys.stderr)
        else:
            path.write_text(text, "utf-8")
            print(path)
    return 1 if outdated and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
