"""Verbs that look at the bus: directory dead-letters bus."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from supervisor_tree.bus.meter import Traffic, read_traffic
from supervisor_tree.bus.place import inbox_name
from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.jsonwords import plain
from supervisor_tree.cli.output import colour, say
from supervisor_tree.control.render import table
from supervisor_tree.control.words import clean, size
from supervisor_tree.errors import NoSuchChild

__all__ = ["bus", "dead_letters", "directory"]


# --- directory -----------------------------------------------------------------------------


def directory(options: Namespace) -> int:
    """`directory [--capability C]`"""
    args = {} if options.capability is None else {"capability": options.capability}
    with connect(options) as client:
        members = client.request("directory", args)
    say(options, members, _directory_lines(members) if members else ["nobody"])
    return 0


def _directory_lines(members: list[dict[str, Any]]) -> list[str]:
    headings = ("PATH", "STATE", "PID", "GEN", "MESSAGES", "CAPABILITIES", "DESCRIPTION")
    rows = [
        (
            clean(member["path"]),
            _state(member),
            str(member["pid"] or "-"),
            str(member["generation"] or "-"),
            "yes" if member["takes_messages"] else "no",
            clean(" ".join(member["capabilities"]) or "-"),
            clean(member["description"]),
        )
        for member in members
    ]
    return table(headings, rows, right=("PID", "GEN"), colour=colour())


def _state(member: Mapping[str, Any]) -> str:
    if member["pid"] is None:
        return "down"
    if member["draining"]:
        return "draining"
    return "ready" if member["ready"] else "starting"


# --- dead letters ----------------------------------------------------------------------------


def dead_letters(options: Namespace) -> int:
    """`dead-letters [NUMBER...] [--discard]`"""
    numbers = options.numbers or None
    with connect(options) as client:
        if options.discard:
            count = client.request("discard_dead_letters", {"numbers": numbers})
            say(options, {"discarded": count}, [f"{count} discarded"])
            return 0
        letters = client.request("dead_letters", {"numbers": numbers} if numbers else {})
    if numbers is None:
        say(options, [_listed(letter) for letter in letters], _letter_table(letters))
    else:
        opened = [_opened(letter) for letter in letters]
        say(options, opened, [line for letter in opened for line in _letter_lines(letter)])
    return 0


_FACTS = ("number", "time", "path", "sender", "seq", "deaths", "bytes")


def _listed(letter: Mapping[str, Any]) -> dict[str, Any]:
    return {name: letter.get(name) for name in _FACTS}


def _opened(letter: Mapping[str, Any]) -> dict[str, Any]:
    """With `trace`, and `payload` as JSON has it; `undecoded` in its place if it is no msgpack."""
    facts = _listed(letter) | {"trace": letter.get("trace", "")}
    payload = letter.get("payload") or b""
    try:
        return facts | {"payload": plain(msgpack.unpackb(payload, strict_map_key=False))}
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        return facts | {"payload": None, "undecoded": payload.hex()}


def _letter_table(letters: list[dict[str, Any]]) -> list[str]:
    headings = ("NUMBER", "TIME", "TO", "FROM", "DEATHS", "SIZE")
    rows = [
        (
            str(letter["number"]),
            clean(letter.get("time", "-")),
            clean(letter.get("path", "-")),
            clean(letter.get("sender", "-")),
            str(letter.get("deaths", "-")),
            size(letter["bytes"]),
        )
        for letter in letters
    ]
    right = ("NUMBER", "DEATHS", "SIZE")
    return table(headings, rows, right=right, colour=colour()) if rows else ["no dead letters"]


def _letter_lines(letter: Mapping[str, Any]) -> Iterator[str]:
    yield f"dead letter {letter['number']}"
    for name, value in letter.items():
        if name not in ("number", "payload", "undecoded") and value != "":
            yield f"  {name.ljust(7)}  {clean(value)}"
    if "undecoded" in letter:
        yield f"  payload  not msgpack: {letter['undecoded']}"
    else:
        yield f"  payload  {clean(json.dumps(letter['payload'], ensure_ascii=False))}"


# --- bus stats -------------------------------------------------------------------------------


def bus(options: Namespace) -> int:
    """`bus stats [PATH]`"""
    with connect(options) as client:
        members = client.request("directory")
        counted = [
            (
                member,
                read_traffic(client.run_dir / "inbox", inbox_name(member["path"]), time.time()),
            )
            for member in members
        ]
    rows = [_stats(member, found) for member, found in counted if found is not None]
    if options.path is not None:
        path = "/" + options.path.strip("/")
        if path != "/":
            rows = [row for row in rows if f"{row['path']}/".startswith(f"{path}/")]
        if not rows:
            raise NoSuchChild(f"nobody at or below {path} is on the bus")
    say(options, rows, _stats_table(rows) if rows else ["nobody is on the bus"])
    return 0


def _stats(member: Mapping[str, Any], found: Traffic) -> dict[str, Any]:
    """What waits, waits in a process: where there is none, nothing does."""
    lives = member["pid"] is not None
    return {
        "path": member["path"],
        "in": found.received,
        "out": found.sent,
        "queued": found.queued if lives else 0,
        "held": found.held if lives else 0,
        "redelivered": found.redelivered,
        "dropped": found.dropped,
    }


def _stats_table(rows: list[dict[str, Any]]) -> list[str]:
    headings = tuple(name.upper() for name in rows[0])
    cells = [(clean(row["path"]), *(str(row[name]) for name in list(row)[1:])) for row in rows]
    return table(headings, cells, right=headings[1:], colour=colour())
