"""Verbs about one child: show explain."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.currency import (
    config_facts,
    config_lines,
    content_hash,
    naming_left_out,
)
from supervisor_tree.cli.inside import inside
from supervisor_tree.cli.output import colour, say
from supervisor_tree.cli.wanting import wanted_words
from supervisor_tree.control.render import status_table, table
from supervisor_tree.control.sentences import sentences
from supervisor_tree.control.words import clean, duration, exit_words, size, term_words

__all__ = ["explain", "show"]


def show(options: Namespace) -> int:
    """`show PATH`"""
    with connect(options) as client:
        with naming_left_out(client, options.path):
            facts = client.show(options.path)
        facts |= inside(client, facts) | config_facts(client)
        facts["messages"] = _messages(client.run_dir, facts)
    facts["content_hash"] = content_hash(facts["spec"] or {})
    say(options, facts, _show_lines(facts))
    return 0


def _show_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from status_table([facts], colour=colour())
    yield ""
    yield from _aligned(_state_facts(facts))
    yield ""
    yield f"specification {facts['content_hash']}"
    yield from (f"  ({line})" for line in config_lines(facts))
    yield from _aligned(_flat(_in_full(facts["spec"] or {}, supervisor=facts["path"] == "/")))
    if facts["processes"]:
        yield ""
        yield "processes"
        yield from (f"  {line}" for line in _process_table(facts["processes"]))
    if facts["limits"]:
        yield ""
        yield "limits of its leading process"
        yield from _aligned((name, clean(value)) for name, value in facts["limits"].items())
    yield ""
    yield from _history(facts)
    if facts["environment"]:
        yield ""
        yield "environment"
        yield from _aligned(_variables(facts["environment"]))


def _process_table(processes: Sequence[Mapping[str, Any]]) -> list[str]:
    headings = ("PID", "PARENT", "STATE", "MEMORY", "CPU", "AGE", "COMMAND")
    cells = [
        (
            str(each["pid"]),
            str(each["parent"]),
            each["state"],
            size(each["rss_bytes"]),
            f"{each['cpu_s']:.1f} s",
            duration(each["age_s"]),
            clean(each["command"]),
        )
        for each in processes
    ]
    return table(headings, cells, right=("PID", "PARENT", "MEMORY", "CPU", "AGE"))


def _variables(variables: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for each in variables:
        beaten = f", over {', '.join(map(clean, each['instead_of']))}" if each["instead_of"] else ""
        origin = f"({clean(each['origin'])}{beaten})"
        yield clean(each["key"]), f"{clean(each['value'])}  {origin}"


def _history(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "history"
    for line in facts["story"]:
        yield f"  {line['time']}  {line['from']} -> {line['to']}: {clean(line['cause'])}"
    if not facts["story"]:
        yield (
            "  the root is there as long as the host is"
            if facts["path"] == "/"
            else "  nothing yet"
        )


def _messages(run_dir: Path, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """What a child on the bus has had and sent in the last 24 h; None: it is not on it."""
    if facts["kind"] == "supervisor":
        return None
    from supervisor_tree.bus.meter import read_traffic  # noqa: PLC0415
    from supervisor_tree.bus.place import inbox_name  # noqa: PLC0415

    found = read_traffic(run_dir / "inbox", inbox_name(facts["path"]), time.time())
    if found is None:
        return None
    return {"in": found.received, "out": found.sent, "dropped": found.dropped}


def _state_facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "wanted", wanted_words(facts)
    yield "since", facts["since"]
    if facts["last_exit"]:
        yield "last exit", exit_words(facts["last_exit"])
    if facts["error"]:
        yield "last error", term_words(facts["error"])
    if facts["said"]:
        yield "says", clean(facts["said"])
    if facts["waiting_for"]:
        yield "waits for", clean(facts["waiting_for"])
    if facts["next_start_in_s"] is not None:
        yield "starts again", f"in {duration(facts['next_start_in_s'])}"
    if facts["state"] == "parked":
        yield "what to do", f"repair the cause, then `reset-failed {facts['path']}`"
    if facts["messages"] is not None:
        counts = facts["messages"]
        dropped = f", {counts['dropped']} dropped" if counts["dropped"] else ""
        yield "messages", f"{counts['in']} in, {counts['out']} out in the last 24 h{dropped}"
    if facts["rss_bytes"] is not None:
        yield "memory", size(facts["rss_bytes"])


_DURATIONS = frozenset(  # in seconds
    (
        *("period", "shutdown", "start_timeout", "initial", "max", "reset_after", "max_age"),
        *("idle", "busy", "delay"),
    )
)


def _in_full(spec: Mapping[str, Any], *, supervisor: bool) -> dict[str, Any]:
    """The specification with what holds by default where only an empty mapping is left of it."""
    from supervisor_tree.config.units import format_duration  # noqa: PLC0415
    from supervisor_tree.core.specs import Backoff, SupervisorSpec  # noqa: PLC0415

    full: dict[str, Any] = {}
    if supervisor:
        flags = SupervisorSpec()
        full = {name: getattr(flags, name) for name in ("strategy", "intensity", "period")}
    full |= spec
    if "backoff" in full:
        backoff = Backoff()
        names = ("initial", "factor", "max", "jitter", "reset_after")
        full["backoff"] = {name: getattr(backoff, name) for name in names} | full["backoff"]
        full["backoff"] = _with_units(full["backoff"], format_duration)
    for part in ("ready", "watchdog"):
        if part in full:
            full[part] = _with_units(full[part], format_duration)
    if "supervisor" in full:
        full["supervisor"] = _in_full(full["supervisor"], supervisor=True)
    return _with_units(full, format_duration)


def _with_units(spec: Mapping[str, Any], shown: Callable[[float], str]) -> dict[str, Any]:
    return {
        key: shown(value) if key in _DURATIONS and isinstance(value, int | float) else value
        for key, value in spec.items()
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested maps as dotted keys; the children of a supervisor by their ids."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{prefix}{key}.")
        elif key == "children":
            yield f"{prefix}{key}", ", ".join(clean(child["id"]) for child in item)
        elif key == "umask":
            yield f"{prefix}{key}", f"{item:03o}"
        else:
            yield f"{prefix}{key}", _words(item)


def _words(value: Any) -> str:
    """As the configuration has it."""
    match value:
        case bool():
            return "true" if value else "false"
        case list() if any(isinstance(item, dict) for item in value):
            return ", ".join(
                " ".join(f"{key}: {_words(part)}" for key, part in item.items()) for item in value
            )
        case list():
            return clean(" ".join(str(item) for item in value))
        case {} if not value:
            return "by default"
        case _:
            return clean(value)


def _aligned(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, text in listed:
        yield f"  {name.ljust(width)}  {text}"


# --- explain -----------------------------------------------------------------------------------


def explain(options: Namespace) -> int:
    """`explain PATH`"""
    with connect(options) as client, naming_left_out(client, options.path):
        facts = client.request("explain", {"path": options.path})
    told = sentences(facts)
    say(options, facts | {"sentences": told}, [*told, "", *_history(facts)])
    return 0
