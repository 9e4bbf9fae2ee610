"""Verbs that tell the host what is wanted: start stop restart kill signal reset-failed wait."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.output import say
from supervisor_tree.control.client import NotSent
from supervisor_tree.control.render import state_words
from supervisor_tree.control.words import clean
from supervisor_tree.errors import OrdersFailed, SupervisorTreeError, TimedOut, UsageError

__all__ = ["kill", "reset_failed", "restart", "signal", "start", "stop", "wait"]

# A wait is timed by the host, which knows what was missing; the client only a little later.
_SLACK_S = 5.0
_MOST_TOLD = 3  # of those whose order is not done in time

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
    """`restart PATH...`; with `--fresh` it is an operation as `apply` is one."""
    if options.fresh:
        from supervisor_tree.cli.changing import restart_fresh  # noqa: PLC0415

        return restart_fresh(options)
    return _order(options, "restart")


def kill(options: Namespace) -> int:
    """`kill PATH...`"""
    return _order(options, "kill")


def reset_failed(options: Namespace) -> int:
    """`reset-failed [PATH...]`"""
    return _order(options, "reset_failed")


def _order(options: Namespace, verb: str) -> int:
    args = {"paths": options.paths, "wait": options.wait}
    if options.reason:
        args["why"] = options.reason
    with connect(options) as client:
        try:
            results = client.request(verb, args, timeout=options.timeout)
        except NotSent:
            raise
        except OrdersFailed as error:
            if not options.json:
                say(options, error.results, _lines(verb, error.results))
            raise
        except TimedOut:
            name = verb.replace("_", "-")
            raise TimedOut(
                f"not done within {options.timeout:g} s: {name} {' '.join(options.paths)}"
                f"{_undone(options)}; the order stands, see `status`"
            ) from None
    say(options, results, list(_lines(verb, results)) or ["nothing has given up"])
    return 0


def _lines(verb: str, results: Mapping[str, str]) -> Iterator[str]:
    words = {
        "done": _DONE[verb][0],
        "already": _DONE[verb][1],
        "asked": "will be done",
        "released": "no child has this path; what was ordered about it is forgotten",
        "unremembered": f"{_DONE[verb][0]}, but NOT REMEMBERED: it is forgotten when the host "
        "ends, as nothing can be written to its state directory (see `doctor`)",
    }
    for path, result in results.items():
        yield f"{path}: {words[result]}"


def _undone(options: Namespace) -> str:
    """What those that an order is about are in meanwhile; "" if the host does not say."""
    try:
        with connect(options) as client:
            rows = [client.status(path, why=True)[0] for path in options.paths[:_MOST_TOLD]]
    except SupervisorTreeError:
        return ""
    told = ", ".join(f"{clean(row['path'])} is {state_words(row)}" for row in rows)
    return f" ({told})" if told else ""


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
    """`wait PATH --for ready | stopped`, `wait --operation N`"""
    if (options.path is None) == (options.operation is None):
        raise UsageError("wait for a PATH or for an --operation")
    if options.operation is not None:
        from supervisor_tree.cli.changing import await_operation  # noqa: PLC0415

        return await_operation(options)
    timeout = options.timeout
    args = {"path": options.path, "for": options.condition, "timeout": timeout}
    with connect(options) as client:
        limit = None if timeout is None else timeout + _SLACK_S
        result = client.request("wait", args, timeout=limit)
    say(options, result, [f"{path}: {condition}" for path, condition in result.items()])
    return 0
