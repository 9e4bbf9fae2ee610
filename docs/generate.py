"""Write the reference pages that are read off the code: `python docs/generate.py [--check]`.

With --check nothing is written; the exit code is 1 if a page is not what it would be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from supervisor_tree import config
from supervisor_tree.core.child import ChildState
from supervisor_tree.core.life import CHILD_STIMULI, TRANSITIONS
from supervisor_tree.core.lifecycle import EventName

__all__ = ["PAGES", "main"]

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: `make docs`. Do not edit. -->\n"

# What each event says.  A test keeps this list and the code's own equal.
EVENTS = {
    EventName.HOST_STARTED: "The host has its lock, its sockets and its spawner.",
    EventName.HOST_STOPPING: "The host has been told to stop, or its tree has ended.",
    EventName.HOST_REEXEC: "The host replaces its own program. Not sent yet.",
    EventName.SPAWNER_STARTED: "A process that forks is there; after the first, a replacement.",
    EventName.CHILD_STARTING: "A new life has its number and is asked for.",
    EventName.CHILD_STARTED: "The process of that life exists.",
    EventName.CHILD_READY: "Its start has succeeded: siblings that need it may go on.",
    EventName.CHILD_EXITED: "The process has ended and so has all that it had started.",
    EventName.CHILD_STOPPING: "It has been told to stop and has its `shutdown` time to do so.",
    EventName.CHILD_STOPPED: "It is down, and nothing is going to start it.",
    EventName.CHILD_BACKOFF: "It will be started again after `delay_s` seconds.",
    EventName.CHILD_PARKED: "It has used up its restarts and stays down until `reset-failed`.",
    EventName.CHILD_UNRESPONSIVE: "Its watchdog has run out. Not sent yet.",
    EventName.CHILD_LEAKED: "Processes had escaped from its scope; which, and whether they ended.",
    EventName.SUPERVISOR_RESTARTING: "A supervisor starts children anew by its strategy.",
    EventName.INTENSITY_REACHED: "More restarts than `intensity` within `period`.",
    EventName.CONFIG_APPLIED: "A changed configuration is in force. Not sent yet.",
    EventName.CONFIG_REJECTED: "A changed configuration was refused. Not sent yet.",
    EventName.DRAIN_STARTED: "New work is refused. Not sent yet.",
    EventName.DRAIN_FINISHED: "No work is left. Not sent yet.",
    EventName.DEAD_LETTER: "A message could not be delivered. Not sent yet.",
}


def events_page() -> Iterator[str]:
    yield "# Lifecycle events\n"
    yield (
        "`supervisor-tree events` prints them, `--json` one object per line, and "
        "`tree.events()` yields them. Each has `seq` (from 1, without holes, for one life of "
        "the host), `time` (RFC 3339, UTC), `host`, `event`, `path`, and for a child `id`, "
        "`kind`, `generation` and `pid`.\n"
    )
    yield "| event | what it says |\n| --- | --- |"
    for event in EventName:
        yield f"| `{event}` | {EVENTS[event]} |"


def states_page() -> Iterator[str]:
    yield "# States of a child\n"
    yield (
        "Every pair of a state and a stimulus is decided; the cell names the handler in "
        "`supervisor_tree/core/life.py`, and a dot means that the notice is from a former time "
        "and changes nothing. `later` puts an order into the supervisor's mailbox.\n"
    )
    yield "| stimulus | " + " | ".join(f"`{state}`" for state in ChildState) + " |"
    yield "| --- |" + " --- |" * len(ChildState)
    for stimulus in CHILD_STIMULI:
        cells = (cell(TRANSITIONS[state, stimulus]) for state in ChildState)
        yield f"| `{stimulus.__name__}` | " + " | ".join(cells) + " |"


def cell(handler: Callable[..., Any]) -> str:
    name = handler.__name__.lstrip("_")
    return "." if name == "ignore" else name.replace("_", " ")


def configuration_page() -> Iterator[str]:
    schema = config.schema()
    yield "# Configuration\n"
    yield (
        "A YAML file; `supervisor-tree check FILE` validates it and reports all its mistakes "
        "at once, and `supervisor-tree schema` prints the JSON Schema from which this page is "
        "made. Unknown and duplicate keys are mistakes. Durations are written `250ms`, `5s`, "
        "`2m`, `1h` or `infinity`, sizes `64 KB`, `20 MB` or `1 GB`.\n"
    )
    yield from table("The file", schema)
    for name, definition in sorted(schema.get("$defs", {}).items()):
        if "properties" in definition:
            yield from table(name, definition)


def table(title: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    if text := definition.get("description"):
        yield one_line(text) + "\n"
    yield "| key | value | default | |\n| --- | --- | --- | --- |"
    required = definition.get("required", ())
    for key, value in definition["properties"].items():
        default = "required" if key in required else shown_default(value)
        yield f"| `{key}` | {shown_type(value)} | {default} | {one_line(value.get('description'))} |"
    yield ""


def shown_default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ({}, [], ""):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def shown_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    for key in ("anyOf", "oneOf"):
        if key in value:
            kinds = dict.fromkeys(map(shown_type, value[key]))
            return " or ".join(kind for kind in kinds if kind != "null")
    if value.get("type") == "array":
        return f"list of {shown_type(value.get('items', {}))}"
    extra = value.get("additionalProperties")
    if value.get("type") == "object" and isinstance(extra, dict):
        return f"map to {shown_type(extra)}"
    return str(value.get("format") or value.get("type") or "anything")


def one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def command_line_page() -> Iterator[str]:
    from supervisor_tree.cli.parser import build_parser  # noqa: PLC0415

    parser = build_parser()
    yield "# Command line\n"
    yield f"```text\n{usage(parser)}\n```\n"
    for name, verb in verbs(parser).items():
        yield f"## {name}\n"
        yield f"```text\n{usage(verb)}\n```\n"


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the command line has no verbs")


def usage(parser: argparse.ArgumentParser) -> str:
    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog, width=98, max_help_position=30)

    parser.formatter_class = formatter  # type: ignore[assignment]  # not the terminal's width
    return parser.format_help().strip()


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "command-line.md": command_line_page,
    "configuration.md": configuration_page,
    "events.md": events_page,
    "states.md": states_page,
}


def main(arguments: list[str]) -> int:
    """Write all pages, or say which are out of date."""
    stale = []
    for name, page in PAGES.items():
        text = NOTE + "\n" + "\n".join(page()).rstrip() + "\n"
        file = REFERENCE / name
        if file.exists() and file.read_text() == text:
            continue
        if "--check" in arguments:
            stale.append(name)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            print(f"wrote docs/reference/{name}")
    if stale:
        print(f"out of date, run `make docs`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
