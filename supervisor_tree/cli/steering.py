"""Verbs that tell the host what is wanted: start stop restart kill signal reset-failed wait."""

from __future__ import annotations

from argparse import Namespace

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.output import say
from supervisor_tree.control.client import NotSent
from supervisor_tree.errors import TimedOut

__all__ = ["kill", "reset_failed", "restart", "signal", "start", "stop", "wait"]

# A wait is timed by the host, which knows what was missing; the client only a little later.
_SLACK_S = 5.0

_DONE = {
    "start": ("started", "already running"),
    "stop": ("stopped", "already stopped"),
    "restart": ("restarted", "already restarted"),
    "kill": ("killed", "has no process; nothing to kill"),
    "reset_failed": ("started anew", "had not given up; counters are at 0"),
}


def start(options: Namespace) -> int:
    """`start PATH...`"""
    return _order(options, "start")


def stop(options: Namespace) -> int:
    """`stop PATH...`"""
    return _order(options, "stop")


def restart(options: Namespace) -> int:
    """`restart PATH...`"""
    return _order(options, "restart")


def kill(options: Namespace) -> int:
    """`kill PATH...`"""
    return _order(options, "kill")


def reset_failed(options: Namespace) -> int:
    """`reset-failed [PATH...]`"""
    return _order(options, "reset_failed")


def _order(options: Namespace, verb: str) -> int:
    args = {"paths": options.paths, "wait": options.wait}
    with connect(options) as client:
        try:
            results = client.request(verb, args, timeout=options.timeout)
        except NotSent:
            raise
        except TimedOut:
            name = verb.replace("_", "-")
            raise TimedOut(
                f"not done within {options.timeout:g} s: {name} {' '.join(options.paths)}; "
                "the order stands, see `status`"
            ) from None
    words = {"done": _DONE[verb][0], "already": _DONE[verb][1], "asked": "will be done"}
    lines = [f"{path}: {words[result]}" for path, result in results.items()]
    say(options, results, lines or ["nothing has given up"])
    return 0


def signal(options: Namespace) -> int:
    """`signal SIGNAL PATH...`; the signal is also understood in the last place."""
    name, paths = options.signal, options.paths
    if name.startswith("/") and not paths[-1].startswith("/"):
        name, paths = paths[-1], [name, *paths[:-1]]
    with connect(options) as client:
        results = client.request("signal", {"signal": name, "paths": paths})
    say(options, results, [f"{path}: {name} sent" for path in results])
    return 0


def wait(options: Namespace) -> int:
    """`wait PATH --for ready | stopped`"""
    timeout = options.timeout
    args = {"path": options.path, "for": options.condition, "timeout": timeout}
    with connect(options) as client:
        limit = None if timeout is None else timeout + _SLACK_S
        result = client.request("wait", args, timeout=limit)
    say(options, result, [f"{path}: {condition}" for path, condition in result.items()])
    return 0
