"""Write the reference pages that are read off the code: `python docs/generate.py [--check]`.

With --check nothing is written; the exit code is 1 if a page is not what it would be.
"""

from __future__ import annotations

import argparse
import inspect
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from itertools import product
from pathlib import Path
from typing import Any

import supervisor_tree
from supervisor_tree import config
from supervisor_tree.agents.stopping import Stopping
from supervisor_tree.bus.speaker import Speaker
from supervisor_tree.config.units import format_duration, format_size
from supervisor_tree.core.actions import SetTimer
from supervisor_tree.core.child import ChildState, StoryLine
from supervisor_tree.core.exits import SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.life import CHILD_STIMULI, TRANSITIONS
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import (
    Backoff,
    Build,
    ChildSpec,
    Logs,
    Need,
    OnLimit,
    SupervisorSpec,
)
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    HoldRequested,
    KillRequested,
    ReleaseRequested,
    ResetFailedRequested,
    RestartRequested,
    Stimulus,
    TimerFired,
)
from supervisor_tree.core.tree import Tree
from supervisor_tree.embed import RunningTree

__all__ = ["PAGES", "main"]

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: `make docs`. Do not edit. -->\n"

# How long the core is watched for the diagram: enough for every move to be seen many times.
LIVES, STEPS = 300, 30
ORDERS = (HoldRequested, ReleaseRequested, RestartRequested, KillRequested, ResetFailedRequested)

# What each event says.  A test keeps this list and the code's own equal.
EVENTS = {
    EventName.HOST_STARTED: "The host is up: the first start of every child has had its "
    "outcome, good or bad, or waits for a need. `child_ready` says who is ready. `safe_mode`: none "
    "was started.",
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
    EventName.CHILD_PARKED: "It has used up its restarts and stays down until `reset-failed`; or "
    "(`safe_mode`) the host has not even begun to start it.",
    EventName.CHILD_UNRESPONSIVE: "No sign of life for `silent_s` seconds: `budget` is "
    "`idle`, or `busy` with `label`; `trigger`: it has asked for it. It is sent SIGABRT, so that "
    "its log has its stacks, and its scope is killed; the rules restart it.",
    EventName.CHILD_LEAKED: "Processes had escaped from its scope; which, and whether they ended.",
    EventName.SUPERVISOR_RESTARTING: "A supervisor starts children anew by its strategy.",
    EventName.INTENSITY_REACHED: "More restarts than `intensity` within `period`.",
    EventName.CONFIG_APPLIED: "A changed configuration is in force. `changes` counts them by their "
    "actions, `failed` names the children whose new lives have failed.",
    EventName.CONFIG_REJECTED: "A changed configuration was refused, and nothing of it was done; "
    "or, with `child` and `goes_on`, an included file was left out: its child goes on as it was, "
    "or is not there.",
    EventName.DRAIN_STARTED: "New work is refused. Not sent yet.",
    EventName.DRAIN_FINISHED: "No work is left. Not sent yet.",
    EventName.DEAD_LETTER: "A cast was given up: as many lives of its receiver have died over it "
    "as `deaths` says. `number` is that of the letter that is kept.",
    EventName.MESSAGE_REFUSED: "An agent has refused a message: `why` is `forged` (`sender` and "
    "`pid` claimed to be `claimed`) or `not_allowed`.",
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
    yield from diagram()
    yield "| stimulus | " + " | ".join(f"`{state}`" for state in ChildState) + " |"
    yield "| --- |" + " --- |" * len(ChildState)
    for stimulus in CHILD_STIMULI:
        cells = (cell(TRANSITIONS[state, stimulus]) for state in ChildState)
        yield f"| `{stimulus.__name__}` | " + " | ".join(cells) + " |"


def diagram() -> Iterator[str]:
    """The moves that the core makes when anything may happen to one child, in any order."""
    yield "Which states follow which, and why, as seen on thousands of random lives of one child:\n"
    yield "```mermaid\nstateDiagram-v2"
    for state in ChildState:
        yield f"    {state}"
    for (before, after), causes in sorted(observed_moves().items()):
        yield f"    {before} --> {after}: {', '.join(sorted(causes))}"
    yield "```\n"


def observed_moves() -> dict[tuple[str, str], set[str]]:
    chance = random.Random(0)
    moves: dict[tuple[str, str], set[str]] = {}
    for on_limit, shutdown, backoff in product(OnLimit, (5.0, "brutal_kill"), (None, Backoff())):
        child = ChildSpec(
            id="x",
            agent="m:f",
            on_limit=on_limit,
            shutdown=shutdown,  # type: ignore[arg-type]  # one of the two words
            backoff=backoff,
        )
        for _ in range(LIVES):
            for _, before, after, cause in one_life(child, chance):
                # "restart in 0.2 s" is one cause, whatever the delay.
                words = re.sub(r"[0-9.]+ s", "a while", cause)
                moves.setdefault((before, after), set()).add(words)
    return moves


def one_life(child: ChildSpec, chance: random.Random) -> list[StoryLine]:
    """What is remembered of a child to which random things have happened."""
    tree, now, timer = Tree(), 0.0, None
    tree.handle(BootRequested("/", SupervisorSpec(children=(child,))), now)
    for step in range(STEPS):
        row = tree.row("/x")
        if row is None:
            break
        now += chance.choice((0.0, 0.1, 2.0, 60.0))
        life = ("/x", row.generation)
        abnormal = ExitReason(kind=ExitKind.ABNORMAL, term="error", code=1)
        choices: list[Stimulus] = [
            ChildSpawned(*life, pid=1),
            ChildReady(*life),
            ChildStartFailed(*life, reason="error"),
            ChildExited(*life, reason=abnormal),
            ChildExited(*life, reason=SHUTDOWN),
            *(order(step, "/x") for order in ORDERS),
        ]
        if timer is not None:
            choices.append(TimerFired(timer))
        for action in tree.handle(chance.choice(choices), now):
            if isinstance(action, SetTimer):
                timer = action.key
    return tree.story("/x")


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
        "`2m`, `1h`, `30d` or `infinity`, sizes `64 KB`, `20 MB` or `1 GB`.\n"
    )
    found = parts(schema)
    for title, definition in found.items():
        yield f"## {title}\n"
        yield one_line(definition.get("description")) + "\n"
        base = BASES.get(title)
        known = found[base]["properties"] if base else {}
        if base:
            yield f"The keys of [{base}](#{base}), and:\n"
        yield "| key | value | |\n| --- | --- | --- |"
        required = definition.get("required", ())
        for key, value in definition["properties"].items():
            if value == known.get(key):
                continue
            text = one_line(value.get("description"))
            note = f"required; {text}" if key in required else text
            note = "; ".join(filter(None, (note, default_of(title, key, note))))
            yield f"| `{key}` | {shown_type(value, schema['$defs'])} | {note} |"
        yield ""
    yield BESIDE


# What the models leave to the core, which has the defaults.
SPECS: dict[str, Any] = {
    "backoff": Backoff,
    "build": Build,
    "child": ChildSpec,
    "defaults": ChildSpec,
    "hostlogs": Logs,
    "logs": Logs,
    "need": Need,
    "supervisor": SupervisorSpec,
}
SECONDS = ("initial", "max", "reset_after", "period", "start_timeout", "max_age", "timeout")
BYTES = ("rotation", "total_bytes")


def default_of(title: str, key: str, note: str) -> str:
    """The core's default, unless the description has said it or it is "nothing"."""
    if title not in SPECS or "default" in note:
        return ""
    found = {field.name: field.default for field in fields(SPECS[title])}.get(key)
    if found is None or found is MISSING or found == "" or isinstance(found, tuple):
        return ""
    if title == "logs":
        return "default: that of host.logs"
    if key in SECONDS:
        return f"default {format_duration(found)}"
    if key in BYTES:
        return f"default {format_size(found)}"
    return f"default {str(found).lower()}"


BESIDE = """\
## Directories

| | the first of these that is given |
| --- | --- |
| run directory | `--run-dir`, `SUPERVISOR_TREE_RUN_DIR`, `host.run_dir`, `$RUNTIME_DIRECTORY`, \
`$XDG_RUNTIME_DIR/supervisor-tree`, `/run/supervisor-tree` for root, \
`~/.local/state/supervisor-tree/run` |
| state directory | `host.state_dir`, `$STATE_DIRECTORY`, \
`$XDG_STATE_HOME/supervisor-tree/NAME`, `~/.local/state/supervisor-tree/NAME` |
| log directory | `host.log_dir`, `$LOGS_DIRECTORY`, `logs` in the state directory |

One host runs in one run directory, and the default one does not depend on the host's name: a \
second host of the same user needs `--run-dir`, and so does every command that is meant for it \
(a command does not read `host.run_dir`, as it knows of no file). Hosts of one name share their \
state and log directories unless told otherwise; give hosts different names.

## Agents, and what `check` does not look at

An agent's module is looked for in the working directory of `run`, then beside the configuration \
file, then where Python looks. `check` reads the configuration alone: it imports no module and \
asks for no user, program, directory or `env_file`. What is wrong with those is told by the \
first start."""


# A mapping that has all keys of another one shows only what it adds.
BASES = {"child": "defaults", "included": "child", "template": "child"}


def parts(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every mapping of the file by its title, in the order in which a reader comes upon it."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [schema]
    while waiting or "included" not in found:
        node = waiting.pop(0) if waiting else schema["$defs"]["IncludedDocument"]
        if "$ref" in node:
            node = schema["$defs"][referred(node)]
        if "properties" in node:
            if title_of(node) in found:
                continue
            found[title_of(node)] = node
            waiting.extend(node["properties"].values())
        waiting.extend(node.get("anyOf", ()))
        waiting.extend(item for item in [node.get("items")] if item)
    return found


def title_of(definition: dict[str, Any]) -> str:
    """`BackoffDocument` -> `backoff`."""
    name = str(definition["title"]).removesuffix("Document")
    return name.lower() if name.isidentifier() else "The file"


def referred(node: dict[str, Any]) -> str:
    return str(node["$ref"]).rsplit("/", 1)[-1]


# A pattern that only one kind of value has, and what that kind is called.
PATTERNS = {"ms|s|m|h|d": "duration", "[bB]": "size"}


def shown_type(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in value:
        return shown_type(definitions[referred(value)], definitions)
    if "properties" in value:
        return f"[{title_of(value)}](#{title_of(value).lower().replace(' ', '-')})"
    if "const" in value or "enum" in value:
        return ", ".join(f"`{word}`" for word in value.get("enum", [value.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in value:
            kinds = dict.fromkeys(shown_type(one, definitions) for one in value[key])
            if {"duration", "size"} & kinds.keys():
                kinds.pop("number", None)  # seconds, or bytes
                kinds.pop("integer", None)
            return " or ".join(kind for kind in kinds if kind != "null")
    if value.get("type") == "array":
        return f"list of {shown_type(value.get('items', {}), definitions)}"
    extra = value.get("additionalProperties")
    if value.get("type") == "object" and isinstance(extra, dict):
        return f"mapping to {shown_type(extra, definitions)}"
    for mark, kind in PATTERNS.items():
        if mark in value.get("pattern", ""):
            return kind
    kind = value.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def command_line_page() -> Iterator[str]:
    from supervisor_tree.cli.parsing import EXIT_CODES, RUN_ENDS, build  # noqa: PLC0415

    parser = build()
    yield "# Command line\n"
    yield "`supervisor-tree [--run-dir DIR] [--json] VERB ...`; both may also follow the verb.\n"
    yield from table("option", parser)
    yield "## Exit codes\n\n| code | |\n| ---: | --- |"
    yield from (f"| {code} | {words} |" for code, words in EXIT_CODES)
    yield "\n`run` ends with:\n\n| code | |\n| ---: | --- |"
    yield from (f"| {code} | {words} |" for code, words in RUN_ENDS)
    yield ""
    for name, verb in verbs(parser).items():
        yield f"## {name}\n"
        yield f"{verb.description}\n"
        yield from table("argument", verb)


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the command line has no verbs")


def table(heading: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Arguments and options; written here, as argparse's own form differs between Pythons."""
    everywhere = ("help", "run_dir", "json") if heading == "argument" else ()
    shown = [
        action
        for action in parser._actions
        if action.dest not in everywhere and not isinstance(action, argparse._SubParsersAction)
    ]
    if not shown:
        return
    yield f"| {heading} | |\n| --- | --- |"
    for action in shown:
        yield f"| {words_of(action)} | {one_line(action.help)} |"
    yield ""


def words_of(action: argparse.Action) -> str:
    value = action.metavar or "\\|".join(map(str, action.choices or ())) or action.dest.upper()
    if not action.option_strings:
        many = "..." if action.nargs in ("+", "*") else ""
        return f"`[{value}{many}]`" if action.nargs in ("?", "*") else f"`{value}{many}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} `{value}`"


def python_page() -> Iterator[str]:
    yield "# Python\n"
    yield "All names are imported from `supervisor_tree`.\n"
    yield from members("Agent", supervisor_tree.Agent, but=("takes_messages",))
    yield from members("Context", supervisor_tree.Context, but=("close", "end", "open_bus"))
    yield from members("The verbs of the bus", Speaker)
    yield "`Context` and `RunningTree` both have them.\n"
    yield from members(
        "Context.stopping", Stopping, but=("close", "interruptible", "listen", "request")
    )
    yield f"## run\n\n```text\n{shown_call('run', supervisor_tree.run)}\n```\n"
    yield f"{inspect.getdoc(supervisor_tree.run)}\n"
    yield from members("RunningTree", RunningTree, but=("begin",))
    yield "## Specifications\n"
    yield (
        "`SupervisorSpec`, `ChildSpec`, `Backoff`, `Build`, `Need`, `Ready`, `Watchdog`, `Limits`, "
        "`Logs`, `Acl` and `Mailbox` have the keys of the [configuration](configuration.md) as "
        "keyword arguments, durations in seconds and sizes in bytes. A word such as `one_for_all` "
        "may be given as text.\n"
    )
    yield "## Errors\n\n| error | what it says | exit code |\n| --- | --- | ---: |"
    for name in supervisor_tree.__all__:
        found = getattr(supervisor_tree, name)
        if isinstance(found, type) and issubclass(found, supervisor_tree.SupervisorTreeError):
            yield f"| `{name}` | {one_line(inspect.getdoc(found))} | {found.exit_code} |"


def members(title: str, of: type, *, but: tuple[str, ...] = ()) -> Iterator[str]:
    """What is public in a class, in the order in which it stands there."""
    yield f"## {title}\n\n{inspect.getdoc(of)}\n"
    yield "| member | |\n| --- | --- |"
    for name, member in vars(of).items():
        if name.startswith("_") or name in but:
            continue
        if isinstance(member, property):
            yield f"| `{name}` | {one_line(inspect.getdoc(member))} |"
        elif callable(member):
            call = " ".join(shown_call(name, member).split()).replace("|", "\\|")
            yield f"| `{call}` | {one_line(inspect.getdoc(member))} |"
    yield ""


def shown_call(name: str, function: Callable[..., Any]) -> str:
    """`stop(*paths, timeout=60.0)`: names and defaults; the types are for the checker."""
    signature = inspect.signature(function)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in signature.parameters.values()
        if each.name != "self"
    ]
    bare = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    return f"{name}{bare}"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "command-line.md": command_line_page,
    "configuration.md": configuration_page,
    "events.md": events_page,
    "python.md": python_page,
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
