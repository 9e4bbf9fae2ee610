"""Rows and events as text for people: aligned, one line each, coloured only if asked to.

Pure: what comes in is the plain data of the control protocol, what goes out are lines
without line ends.  Text that a child has chosen (a path, an error) cannot move the cursor
or begin a line of its own: control characters are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from supervisor_tree.control.config_words import applied_words, rejected_words
from supervisor_tree.control.letter_words import letter_words
from supervisor_tree.control.words import (
    clean,
    duration,
    exit_words,
    is_clean,
    or_dash,
    paint,
    size,
    term_words,
    unmet_words,
)

__all__ = [
    "event_line",
    "state_words",
    "status_table",
    "table",
    "tree_lines",
]

_Row = Mapping[str, Any]

_STATE_COLOURS = {
    "running": "green",
    "starting": "cyan",
    "stopping": "cyan",
    "killing": "yellow",
    "backoff": "yellow",
    "parked": "red",
    "stopped": "dim",
}


# --- tables ---------------------------------------------------------------------------------

_HEADINGS = ("PATH", "KIND", "STATE", "PID", "GEN", "RESTARTS", "UPTIME", "MEMORY", "CPU")
_RIGHT = frozenset({"PID", "GEN", "RESTARTS", "UPTIME", "MEMORY", "CPU"})
_LONGEST_GROUND = 60  # characters in a table; `show` and `explain` have all


def status_table(rows: Sequence[_Row], *, colour: bool = False) -> list[str]:
    """`status` for people: a heading and one line per row.

    Where a row is not as it is wanted, its state says what the last life ended with.
    """
    cells = [_status_cells(row) for row in rows]
    lines = table(_HEADINGS, cells, right=_RIGHT)
    at = lines[0].index("STATE")
    lines[0] = paint(lines[0], "bold", colour)
    for number, (row, line) in enumerate(zip(rows, cells, strict=True), 1):
        state, text = line[2], lines[number]
        painted = paint(state, _STATE_COLOURS.get(row["state"], ""), colour)
        lines[number] = text[:at] + painted + text[at + len(state) :]
    return lines


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    colour: bool = False,
) -> list[str]:
    """Cells in columns, those under `right` aligned to that side, under bold headings."""
    columns = zip(headings, *rows, strict=True)
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = []
    for cells in (headings, *rows):
        padded = (
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(cells, widths, headings, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    lines[0] = paint(lines[0], "bold", colour)
    return lines


def _status_cells(row: _Row) -> tuple[str, ...]:
    state = state_words(row)
    cpu = row.get("cpu_percent")
    return (
        clean(row["path"]),
        row["kind"],
        state,
        or_dash(row["pid"]),
        or_dash(row["generation"] or None),
        str(row["restarts"]),
        or_dash(row["uptime_s"], duration),
        or_dash(row.get("rss_bytes"), size),
        "-" if cpu is None else f"{cpu:.1f}%",
    )


def state_words(row: _Row) -> str:
    """`running`, `stopped (by order)`, `backoff (exit code 1)`."""
    why = _ground(row)
    return f"{row['state']} ({why})" if why else str(row["state"])


def _ground(row: _Row) -> str:
    """Why it is not as one might expect it, in a few words; "" if there is nothing to say."""
    ground = _full_ground(row)
    return ground if len(ground) <= _LONGEST_GROUND else f"{ground[: _LONGEST_GROUND - 3]}..."


def _full_ground(row: _Row) -> str:
    match row["state"]:
        case "running":
            return "" if row["ready"] else "not ready"
        case "parked" if not row.get("last_exit"):
            return "safe mode"  # it has not had a life to fail in
        case "backoff" | "parked" if row.get("last_exit"):
            return exit_words(row["last_exit"])
        case "stopped":
            say = _STOPPED.get(str(row.get("because")))
            return "" if say is None else say(row)
    return ""


def _ending(row: _Row) -> str:
    return exit_words(row["last_exit"]) if row.get("last_exit") else ""


def _start_failure(row: _Row) -> str:
    return f"start failed: {_ending(row) or term_words(row['error'])}"


def _need(row: _Row) -> str:
    child, _, condition = str(row["waiting_for"]).rpartition(" ")
    return f"waits for {clean(child)} to be {clean(condition)}"


_STOPPED: dict[str, Callable[[_Row], str]] = {
    "held": lambda _: "by order",
    "disabled": lambda _: "disabled",
    "need": _need,
    "group": lambda row: f"waits for {clean(row['waiting_for'])}",
    "failed": _start_failure,
    "ignored": lambda _: "has declined to start",
    "terminated": lambda _: "by terminate_child",
    "not_started": lambda _: "not asked for",
    "supervisor_ends": lambda _: "its supervisor ends",
    "ended": _ending,
    "exit_waits": _ending,
    "turn": lambda row: _ending(row) or "waits for its turn",
}


def tree_lines(nodes: Sequence[_Row], *, colour: bool = False) -> list[str]:
    """The nodes of the `tree` verb (see `rows.nested`), drawn.

    / one_for_one                running
    ├─ greeter                   running    agent, pid 4711, #1
    └─ chat rest_for_one         running
       └─ bot                    backoff    agent, #4: exit code 1
    """
    drawn: list[tuple[str, _Row]] = []
    for node in nodes:
        _draw(node, "", "", drawn)
    width = max((len(label) for label, _ in drawn), default=0)
    lines = []
    for label, node in drawn:
        state = node["state"]
        shown = paint(state, _STATE_COLOURS.get(state, ""), colour)
        gap = " " * (10 - len(state))
        lines.append(f"{label.ljust(width)}  {shown}{gap} {_tree_facts(node)}".rstrip())
    return lines


def _draw(node: _Row, first: str, below: str, drawn: list[tuple[str, _Row]]) -> None:
    strategy = f" {node['strategy']}" if node.get("strategy") else ""
    drawn.append((f"{first}{clean(node['id'])}{strategy}", node))
    children = node.get("children", ())
    for position, child in enumerate(children, 1):
        last = position == len(children)
        branch, trunk = ("└─ ", "   ") if last else ("├─ ", "│  ")
        _draw(child, below + branch, below + trunk, drawn)


def _tree_facts(node: _Row) -> str:
    why = _ground(node)
    if node.get("strategy"):
        return why
    words = [node["kind"]]
    if node["pid"] is not None:
        words.append(f"pid {node['pid']}")
    if node["generation"]:
        words.append(f"#{node['generation']}")
    if node["state"] == "running":
        return ", ".join([*words, why] if why else words)
    return ", ".join(words) + (f": {why}" if why else "")


# --- events -----------------------------------------------------------------------------------

_EVENT_COLOURS = {
    "child_ready": "green",
    "host_started": "green",
    "child_backoff": "yellow",
    "supervisor_restarting": "yellow",
    "child_unresponsive": "yellow",
    "child_leaked": "yellow",
    "child_parked": "red",
    "intensity_reached": "red",
    "config_rejected": "red",
    "dead_letter": "red",
    "child_starting": "dim",
    "child_stopping": "dim",
}
_PATH_WIDTH = 20


def event_line(event: Mapping[str, Any], *, colour: bool = False, clock: bool = True) -> str:
    """One event: time (unless `clock` is off), whom it is about, and what has happened."""
    name = str(event["event"])
    words = _EVENT_WORDS.get(name, _any_event)(event)
    shade = _EVENT_COLOURS.get(name, "")
    if name == "child_exited":
        shade = "dim" if is_clean(event.get("reason")) else "red"
    time = paint(str(event["time"]), "dim", colour) + " " if clock else ""
    path = clean(event["path"]).ljust(_PATH_WIDTH)
    return f"{time}{path} {paint(words, shade, colour)}"


def _host_started(event: _Row) -> str:
    safe = " IN SAFE MODE: no child was started" if event.get("safe_mode") else ""
    return f"host {clean(event.get('host', ''))} is running{safe}"


def _started(event: _Row) -> str:
    pid = f", pid {event['pid']}" if event.get("pid") is not None else ""
    return f"started {_life(event)}{pid}"


def _exited(event: _Row) -> str:
    asked = " as asked" if event.get("asked") else ""
    usage = event.get("rusage")
    used = ""
    if usage:
        used = (
            f" after {duration(usage['wall_s'])} "
            f"({usage['cpu_s']:.2f} s cpu, {size(usage['max_rss_bytes'])})"
        )
    lacks = f": it {unmet_words(event['unmet'])}" if event.get("unmet") else ""
    return f"ended {_life(event)}{asked}: {exit_words(event.get('reason'))}{lacks}{used}"


def _backoff(event: _Row) -> str:
    error = f": {term_words(event['error'])}" if event.get("error") else ""
    return f"starts again in {duration(event.get('delay_s', 0))}{error}"


def _limits(event: _Row) -> str:
    return (
        f"{event.get('restarts')} restarts within {duration(event.get('period', 0))}, "
        f"{event.get('intensity')} allowed"
    )


def _restarting(event: _Row) -> str:
    return (
        f"restarts {clean(event.get('child', '?'))} "
        f"(restart {event.get('restarts')} of {event.get('intensity')} "
        f"within {duration(event.get('period', 0))})"
    )


def _parked(event: _Row) -> str:
    path = clean(event["path"])
    why = "not started, safe mode" if event.get("safe_mode") else f"has given up: {_limits(event)}"
    return f"{why}; `reset-failed {path}` starts it again"


def _unresponsive(event: _Row) -> str:
    silent_s, label = event.get("silent_s", 0), event.get("label")
    match event.get("budget"):
        case "trigger":
            found = "asks its watchdog to end it"
        case "busy":
            found = f"is busy with {clean(label)} for {duration(silent_s)} without a word"
        case _:
            found = f"gives no sign of life for {duration(silent_s)}"
    return f"{found}; it is ended, and its log has its stacks if it can write them"


def _leaked(event: _Row) -> str:
    processes = event.get("processes") or []
    named = ", ".join(f"{p['pid']} ({clean(p['command'])[:60]})" for p in processes[:3])
    more = f" and {len(processes) - 3} more" if len(processes) > 3 else ""
    fate = "now ended" if event.get("ended") else "STILL THERE: end them by hand"
    if event.get("path") == "/" and not event.get("ended"):  # nobody knows whose
        fate = "they end with the host"
    return f"left processes behind: {named}{more}; {fate}"


def _with_error(words: str) -> Callable[[_Row], str]:
    def say(event: _Row) -> str:
        error = f": {term_words(event['error'])}" if event.get("error") else ""
        return words + error

    return say


def _any_event(event: _Row) -> str:
    """An event that this version has no words for: its name and what it carries."""
    known = {"seq", "time", "host", "event", "path", "id", "kind", "generation", "pid"}
    rest = ", ".join(f"{key} {term_words(event[key])}" for key in event if key not in known)
    name = str(event["event"]).replace("_", " ")
    return clean(f"{name}: {rest}" if rest else name)


_EVENT_WORDS: dict[str, Callable[[_Row], str]] = {
    "": lambda event: clean(event["words"]),  # what the host says of itself beside its events
    "host_started": _host_started,
    "host_stopping": lambda event: f"host {clean(event.get('host', ''))} is stopping",
    "spawner_started": lambda event: f"spawner started, pid {event.get('pid')}",
    "child_starting": lambda event: f"starting {_life(event)}",
    "child_started": _started,
    "child_ready": lambda event: f"ready {_life(event)}",
    "child_exited": _exited,
    "child_stopping": lambda event: f"stopping {_life(event)}",
    "child_stopped": _with_error("stopped"),
    "child_backoff": _backoff,
    "child_parked": _parked,
    "child_unresponsive": _unresponsive,
    "child_leaked": _leaked,
    "dead_letter": lambda event: clean(letter_words(event)),
    "supervisor_restarting": _restarting,
    "config_applied": lambda event: clean(applied_words(event)),
    "config_rejected": lambda event: clean(rejected_words(event)),
    "intensity_reached": lambda event: (
        f"too many restarts of {clean(event.get('child', '?'))}: {_limits(event)}"
    ),
}


# --- words -------------------------------------------------------------------------------------


def _life(event: _Row) -> str:
    return f"#{event.get('generation')}"
