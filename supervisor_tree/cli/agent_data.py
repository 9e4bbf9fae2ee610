"""Verbs about what children keep: clear-memory delete-cache."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.output import say
from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.words import clean, size

__all__ = ["clear_memory", "delete_cache"]


def clear_memory(options: Namespace) -> int:
    """`clear-memory PATH [--restart]`"""
    return _take_away("clear_memory", options)


def delete_cache(options: Namespace) -> int:
    """`delete-cache PATH [--restart]`"""
    return _take_away("delete_cache", options)


def _take_away(verb: str, options: Namespace) -> int:
    with connect(options) as client:
        up = _stopped(client, options.path) if options.restart else []
        try:
            counts = client.request(verb, {"path": options.path}, timeout=None)
        finally:
            if up:
                client.request("start", {"paths": up, "wait": False})
    say(options, counts, [_line(counts)])
    return 1 if counts["left"] else 0


def _stopped(client: ControlClient, path: str) -> list[str]:
    """Stop those that are wanted up at and below `path`; returns them."""
    rows = client.status(path)
    up = [row["path"] for row in rows if row["kind"] != "supervisor" and row["wanted"] == "up"]
    if up:
        client.request("stop", {"paths": up}, timeout=None)
    return up


def _line(counts: dict[str, Any]) -> str:
    files, folders = counts["files"], counts["directories"]
    told = f"{files} file{'s' * (files != 1)} ({size(counts['bytes'])})"
    if folders:
        told += f" and {folders} director{'ies' if folders != 1 else 'y'}"
    if counts["checkpoints"]:
        told += f", {counts['checkpoints']} of them checkpoints"
    left = f"; {counts['left']} could not be deleted" if counts["left"] else ""
    return f"{clean(counts['path'])}: {told} deleted{left}"
