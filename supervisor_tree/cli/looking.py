"""Verbs that only look: status tree show events logs."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.output import colour, dump, say
from supervisor_tree.control.render import (
    clean,
    duration,
    event_line,
    exit_words,
    size,
    status_table,
    tree_lines,
)

__all__ = ["events", "logs", "show", "status", "tree"]

_NOT_RUNNING = 3  # systemctl's and supervisorctl's code for a `status` that is a "no"


def status(options: Namespace) -> int:
    """`status [PATH]`: 3 if PATH is not running."""
    with connect(options) as client:
        rows = client.status(options.path or "/", all=options.all)
    say(options, rows, status_table(rows, colour=colour()) if rows else ["no children"])
    if options.path is None or (rows and rows[0]["state"] == "running"):
        return 0
    return _NOT_RUNNING


def tree(options: Namespace) -> int:
    """`tree [PATH]`"""
    with connect(options) as client:
        nodes = client.request("tree", {"path": options.path, "all": options.all})
    say(options, nodes, tree_lines(nodes, colour=colour()))
    return 0


# --- show ------------------------------------------------------------------------------------


def show(options: Namespace) -> int:
    """`show PATH`"""
    with connect(options) as client:
        facts = client.show(options.path)
    say(options, facts, _show_lines(facts))
    return 0


def _show_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from status_table([facts], colour=colour())
    yield ""
    yield from _aligned(_state_facts(facts))
    yield ""
    yield "specification"
    yield from _aligned(_flat(_in_full(facts["spec"] or {}, supervisor=facts["path"] == "/")))
    yield ""
    yield "history"
    for line in facts["story"]:
        yield f"  {line['time']}  {line['from']} -> {line['to']}: {clean(line['cause'])}"
    if not facts["story"]:
        yield "  nothing yet"


def _state_facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "wanted", facts["wanted"]
    yield "since", facts["since"]
    if facts["last_exit"]:
        yield "last exit", exit_words(facts["last_exit"])
    if facts["error"]:
        yield "last error", _words(facts["error"])
    if facts["said"]:
        yield "says", clean(facts["said"])
    if facts["waiting_for"]:
        yield "waits for", clean(facts["waiting_for"])
    if facts["next_start_in_s"] is not None:
        yield "starts again", f"in {duration(facts['next_start_in_s'])}"
    if facts["state"] == "parked":
        yield "what to do", f"repair the cause, then `reset-failed {facts['path']}`"
    if facts["rss_bytes"] is not None:
        yield "memory", size(facts["rss_bytes"])


_DURATIONS = frozenset(
    ("period", "shutdown", "start_timeout", "initial", "max", "reset_after")  # in seconds
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
        else:
            yield f"{prefix}{key}", _words(item)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return clean(" ".join(str(item) for item in value))
    return "by default" if value == {} else clean(value)


def _aligned(pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, text in listed:
        yield f"  {name.ljust(width)}  {text}"


# --- events ----------------------------------------------------------------------------------

_SHOWN_BEFORE_FOLLOWING = 10


def events(options: Namespace) -> int:
    """`events [PATH] [-f] [--since SEQ] [-n N]`; a host that ends, ends a follower."""
    with connect(options) as client:
        args: dict[str, Any] = {"since": options.since or 0}
        if options.since is None and options.follow and options.count is None:
            args["last"] = _SHOWN_BEFORE_FOLLOWING
        page = client.request("events", args)
        first, missing = page["first"], (options.since or 0) + 1
        if options.since is not None and first > missing:
            _tell_gap(missing, first - 1)
        shown = [event for event in page["events"] if _concerns(event, options.path)]
        if options.count is not None:
            shown = shown[-options.count :] if options.count else []
        for event in shown:
            _print_event(event, options)
        if not options.follow:
            return 0
        live = client.subscribe_events(page["next"] - 1, on_gap=_tell_gap)
        with contextlib.closing(live):
            for event in live:
                if _concerns(event, options.path):
                    _print_event(event, options)
    note("the host has ended")
    return 0


def _concerns(event: Mapping[str, Any], path: str | None) -> bool:
    if path is None:
        return True
    above = "/" + path.strip("/")
    return above == "/" or event["path"] == above or event["path"].startswith(above + "/")


def _print_event(event: Mapping[str, Any], options: Namespace) -> None:
    if options.json:
        dump(event, line=True)
    else:
        print(event_line(event, colour=colour()), flush=True)


def _tell_gap(first: int, last: int) -> None:
    note(f"events {first} to {last} are no longer kept by the host")


# --- logs ------------------------------------------------------------------------------------


def logs(options: Namespace) -> int:
    """`logs PATH [-f] [-n N] [--since TIME]`"""
    from supervisor_tree.cli.reading_logs import read  # noqa: PLC0415 - and the log reader

    return read(options)
