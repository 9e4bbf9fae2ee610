"""Verbs that only look: status tree events logs."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.currency import config_facts, config_lines, naming_left_out
from supervisor_tree.cli.output import colour, dump, say
from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.control.render import event_line, status_table, tree_lines
from supervisor_tree.errors import NoHost

if TYPE_CHECKING:
    from supervisor_tree.control.client import ControlClient

__all__ = ["events", "logs", "status", "tree"]

_NOT_RUNNING = 3  # systemctl's and supervisorctl's code for a `status` that is a "no"


def status(options: Namespace) -> int:
    """`status [PATH]`: 3 if PATH is not running."""
    with connect(options) as client:
        with naming_left_out(client, options.path or "/"):
            rows = client.status(options.path or "/", all=options.all, why=not options.json)
        about = [] if options.json else config_lines(config_facts(client))
    lines = status_table(rows, colour=colour()) if rows else ["no children"]
    say(options, rows, [*lines, *about])
    if options.path is None or (rows and rows[0]["state"] == "running"):
        return 0
    return _NOT_RUNNING


def tree(options: Namespace) -> int:
    """`tree [PATH]`"""
    with connect(options) as client:
        nodes = client.request("tree", {"path": options.path, "all": options.all})
    say(options, nodes, tree_lines(nodes, colour=colour()))
    return 0


# --- events ----------------------------------------------------------------------------------

_SHOWN_BEFORE_FOLLOWING = 10


def events(options: Namespace) -> int:
    """`events [PATH] [-f] [--since SEQ] [-n N]`; a host that ends, ends a follower."""
    with _of_living(options) as client:
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
            if not shown:
                _say_none(client, options)
            return 0
        live = client.subscribe_events(page["next"] - 1, on_gap=_tell_gap)
        with contextlib.closing(live):
            for event in live:
                if _concerns(event, options.path):
                    _print_event(event, options)
    note("the host has ended")
    return 0


def _of_living(options: Namespace) -> ControlClient:
    """Events are kept by the host alone; its log has had each of them as a line."""
    try:
        return connect(options)
    except NoHost as error:
        from supervisor_tree.cli.former import former_host  # noqa: PLC0415 - as rarely as that

        former = former_host(resolve_run_dir(options.run_dir, None))
        if former is None:
            raise
        where = f"what has happened stands in its log, {former.log_dir / 'host.log'} (`logs /`)"
        raise NoHost(f"{error}; {where}") from None


def _say_none(client: ControlClient, options: Namespace) -> None:
    """Raises NoSuchChild for a path that has no events as nobody has it."""
    if options.path is not None:
        client.request("status", {"path": options.path})
    if not options.json:
        note("no events")


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
    """`logs PATH... [-f] [-n N] [--since TIME] [--until TIME] [--stream S] [--grep TEXT]`"""
    from supervisor_tree.cli.reading_logs import read  # noqa: PLC0415 - and the log reader

    return read(options)
