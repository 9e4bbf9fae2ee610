"""Rows and events as text for people: aligned, one line each, coloured only if asked to.

Pure: what comes in is the plain data of the control protocol, what goes out are lines
without line ends.  Text that a child has chosen (a path, an error) cannot move the cursor
or begin a line of its own: control characters are shown as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a command that draws rows must not pay for the core
    from supervisor_tree.core.actions import TreeEnded

__all__ = [
    "clean",
    "duration",
    "event_line",
    "exit_words",
    "size",
    "status_table",
    "tree_lines",
    "why_ended",
]

_Row = Mapping[str, Any]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_STATE_COLOURS = {
    "running": "green",
    "starting": "cyan",
    "stopping": "cyan",
    "killing": "yellow",
    "backoff": "yellow",
    "parked": "red",
    "stopped": "dim",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


# --- tables ---------------------------------------------------------------------------------

_HEADINGS = ("PATH", "KIND", "STATE", "PID", "GEN", "RESTARTS", "UPTIME", "MEMORY", "CPU")
_RIGHT = frozenset({"PID", "GEN", "RESTARTS", "UPTIME", "MEMORY", "CPU"})


def status_table(rows: Sequence[_Row], *, colour: bool = False) -> list[str]:
    """`status` for people: a heading and one line per row.

    Where a row is not as it is wanted, its state says what the last life ended with.
    """
    cells = [_HEADINGS, *(_status_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [_paint(_aligned(_HEADINGS, widths), "bold", colour)]
    for row, line in zip(rows, cells[1:], strict=True):
        state = line[2]
        text = _aligned(line, widths)
        at = widths[0] + widths[1] + 4
        painted = _paint(state, _STATE_COLOURS.get(row["state"], ""), colour)
        lines.append(text[:at] + painted + text[at + len(state) :])
    return lines


def _status_cells(row: _Row) -> tuple[str, ...]:
    state = row["state"]
    if state == "running" and not row["ready"]:
        state = "running (not ready)"
    elif state == "stopped" and row["wanted"] == "up" and row.get("last_exit"):
        state = f"stopped ({exit_words(row['last_exit'])})"
    elif state in ("backoff", "parked") and row.get("last_exit"):
        state = f"{state} ({exit_words(row['last_exit'])})"
    cpu = row.get("cpu_percent")
    return (
        clean(row["path"]),
        row["kind"],
        state,
        _or_dash(row["pid"]),
        _or_dash(row["generation"] or None),
        str(row["restarts"]),
        _or_dash(row["uptime_s"], duration),
        _or_dash(row.get("rss_bytes"), size),
        "-" if cpu is None else f"{cpu:.1f}%",
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
        for cell, width, heading in zip(cells, widths, _HEADINGS, strict=True)
    )
    return "  ".join(padded).rstrip()


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
        shown = _paint(state, _STATE_COLOURS.get(state, ""), colour)
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
    if node.get("strategy"):
        return "" if node["ready"] or node["state"] != "running" else "not ready"
    words = [node["kind"]]
    if node["pid"] is not None:
        words.append(f"pid {node['pid']}")
    if node["generation"]:
        words.append(f"#{node['generation']}")
    if node["state"] == "running" and not node["ready"]:
        words.append("not ready")
    last = node.get("last_exit")
    ending = f": {exit_words(last)}" if last and node["pid"] is None else ""
    return ", ".join(words) + ending


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
        shade = "dim" if _is_clean(event.get("reason")) else "red"
    time = _paint(str(event["time"]), "dim", colour) + " " if clock else ""
    path = clean(event["path"]).ljust(_PATH_WIDTH)
    return f"{time}{path} {_paint(words, shade, colour)}"


def why_ended(ended: TreeEnded) -> str:
    """What has brought a tree down, in a few words."""
    if ended.why == "intensity":
        return f"{clean(ended.cause or ended.path)} has been restarted too often"
    if ended.why == "significant":
        return f"{clean(ended.cause or ended.path)} has ended, and was significant"
    return _failed_start(ended.reason.term)


def _failed_start(term: Any) -> str:
    """OTP's nested {shutdown, {failed_to_start_child, Id, Reason}}."""
    match term:
        case ("shutdown", ("failed_to_start_child", child, ("shutdown", inner))):
            return f"{clean(child)}/{_failed_start(('shutdown', inner))}"
        case ("shutdown", ("failed_to_start_child", child, reason)):
            return f"{clean(child)} has failed to start: {_term(reason)}"
    return _term(term)


def exit_words(reason: Mapping[str, Any] | None) -> str:
    """Why a life ended, in a few words."""
    if not reason:
        return "unknown"
    term, number, code = reason.get("term"), reason.get("signal"), reason.get("code")
    if reason.get("watchdog"):
        return f"silent for too long ({clean(reason['watchdog'])})"
    if reason.get("oom"):
        return "out of memory"
    if isinstance(term, list | tuple) and term and term[0] in ("init", "start_error"):
        return _term(term[1:])
    if number is not None:
        how = "stopped" if reason.get("kind") == "shutdown" else "killed"
        return f"{how} by {_signal_name(number)}"
    if code:
        return f"exit code {code}"
    kind = str(reason.get("kind", "unknown"))
    return kind if term in (None, kind) or kind != "abnormal" else _term(term)


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
    return f"ended {_life(event)}{asked}: {exit_words(event.get('reason'))}{used}"


def _backoff(event: _Row) -> str:
    error = f": {_term(event['error'])}" if event.get("error") else ""
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
    return f"has given up: {_limits(event)}; `reset-failed {path}` starts it again"


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
        error = f": {_term(event['error'])}" if event.get("error") else ""
        return words + error

    return say


def _any_event(event: _Row) -> str:
    """An event that this version has no words for: its name and what it carries."""
    known = {"seq", "time", "host", "event", "path", "id", "kind", "generation", "pid"}
    rest = ", ".join(f"{key} {_term(event[key])}" for key in event if key not in known)
    name = str(event["event"]).replace("_", " ")
    return clean(f"{name}: {rest}" if rest else name)


_EVENT_WORDS: dict[str, Callable[[_Row], str]] = {
    "host_started": lambda event: f"host {clean(event.get('host', ''))} is running",
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
    "child_leaked": _leaked,
    "supervisor_restarting": _restarting,
    "intensity_reached": lambda event: (
        f"too many restarts of {clean(event.get('child', '?'))}: {_limits(event)}"
    ),
}


# --- words -------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """`80 ms`, `3.2 s`, `4m05s`, `3h07m`, `12d04h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: int) -> str:
    """Bytes in the units of 1000 that the configuration uses: `950 B`, `6.1 MB`."""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 999.5:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} TB"


def clean(text: Any) -> str:
    """`text` with control characters shown as escapes."""
    return _CONTROL.sub(lambda match: ascii(match.group())[1:-1], str(text))


def _signal_name(number: int) -> str:
    import signal  # noqa: PLC0415 - its enums cost each command that shows no death 1 ms

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _life(event: _Row) -> str:
    return f"#{event.get('generation')}"


def _is_clean(reason: Any) -> bool:
    return isinstance(reason, Mapping) and reason.get("kind") in ("normal", "shutdown")


def _term(term: Any) -> str:
    """A reason of the core, which may be nested: its parts one after the other."""
    if isinstance(term, list | tuple):
        return ": ".join(_term(part) for part in term)
    return clean(term)


def _or_dash(value: Any, show: Callable[[Any], str] = str) -> str:
    return "-" if value is None else show(value)


def _paint(text: str, name: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if colour and name else text
