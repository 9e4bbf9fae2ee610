"""Verbs that compare a configuration with what runs: plan apply operations.

This process reads and checks the files, all of them, before the host hears of it; the host
checks the result once more, and carries it out.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.currency import config_facts
from supervisor_tree.cli.output import colour, say
from supervisor_tree.control.client import ControlClient, NotSent
from supervisor_tree.control.config_words import left_out_words
from supervisor_tree.control.render import table
from supervisor_tree.control.words import clean
from supervisor_tree.errors import ConfigError, NoHost, OperationFailed, TimedOut, UsageError

__all__ = ["apply", "await_operation", "operations", "plan", "restart_fresh"]

_Lines: TypeAlias = Callable[[Mapping[str, Any]], Iterable[str]]

_SLACK_S = 5.0  # the host knows what is missing, so it is the one to say that time is over


def plan(options: Namespace) -> int:
    """`plan [CONFIG]`: 1 if an included file is broken."""
    with connect(options) as client:
        found = client.request("plan", _proposal(client, options), timeout=None)
        facts = config_facts(client)
    say(options, found, [*_plan_lines(found), *_unread_lines(found, facts)])
    return _with_problems(options, found)


def apply(options: Namespace) -> int:
    """`apply [CONFIG]`: 1 if something of it has failed, 78 if the file is wrong."""
    with connect(options) as client:
        try:
            args = _proposal(client, options)
        except ConfigError as error:
            lines = [str(problem) for problem in error.problems]
            client.request("reject", {"file": error.problems[0].file, "problems": lines})
            raise
        return _carried_out(client, options, args | {"rollback": options.rollback}, _done_lines)


def restart_fresh(options: Namespace) -> int:
    """`restart --fresh PATH...`: what is in force, with code that is read anew."""
    from supervisor_tree.config.contents import contents_of  # noqa: PLC0415
    from supervisor_tree.core.specdata import supervisor_from_data  # noqa: PLC0415

    with connect(options) as client:
        origin = client.request("origin", {"contents": True})
        sys_path = origin.pop("sys_path")
        spec = client.request("show", {"path": "/"})["spec"]
        origin["contents"] |= contents_of(supervisor_from_data(spec), [*sys_path, *sys.path])
        paths = ["/" + path.strip("/") for path in options.paths]
        args = {"spec": spec, "origin": origin, "reload": paths}
        if options.reason:
            args["why"] = options.reason
        return _carried_out(client, options, args, _restarted_lines)


def _carried_out(
    client: ControlClient, options: Namespace, args: dict[str, Any], lines: _Lines
) -> int:
    numbers: list[int] = []
    try:
        done = client.request(
            "apply",
            args | {"wait": options.wait},
            timeout=options.timeout,
            on_progress=lambda value: numbers.append(value["operation"]),
        )
    except NotSent:
        raise
    except NoHost:
        if not numbers:
            raise
        raise OperationFailed(
            f"operation {numbers[0]}: the host has ended before it was over"
        ) from None
    except TimedOut:
        if not numbers:
            raise
        raise _late(numbers[0]) from None
    if options.wait:
        return _outcome(options, done, lines)
    number = done["operation"]
    say(options, done, [f"operation {number} has begun; `wait --operation {number}`"])
    return 0


def operations(options: Namespace) -> int:
    """`operations`"""
    with connect(options) as client:
        found = client.request("operations")
    rows = [
        (str(each["operation"]), each["kind"], _state(each), each["started"], each["ended"] or "-")
        for each in found
    ]
    headings = ("NUMBER", "KIND", "STATE", "STARTED", "ENDED")
    say(options, found, table(headings, rows, colour=colour()) if rows else ["no operations yet"])
    return 0


def await_operation(options: Namespace) -> int:
    """`wait --operation N`: ends as that operation has."""
    args = {"operation": options.operation, "timeout": options.timeout}
    limit = None if options.timeout is None else options.timeout + _SLACK_S
    with connect(options) as client:
        done = client.request("wait_operation", args, timeout=limit)
        return _outcome(options, done, _done_lines)


def _late(number: int) -> TimedOut:
    return TimedOut(
        f"operation {number} is still under way; the order stands: `wait --operation {number}`"
    )


# --- what is proposed -------------------------------------------------------------------------


def _proposal(client: ControlClient, options: Namespace) -> dict[str, Any]:
    """The arguments of both verbs.  Raises ConfigError for a file that cannot be used."""
    from supervisor_tree.config import load  # noqa: PLC0415 - and what it needs
    from supervisor_tree.config.contents import proposal  # noqa: PLC0415

    known = client.request("origin")
    file = options.config or known["file"]
    if file is None:
        raise UsageError("this host was not started from a file; name one")
    # Its own word for where that is: our environment may be another than the host's.
    fetched = known["fetched"] if file == known["file"] else None
    found = proposal(load(file, fetched=fetched), [*known["sys_path"], *sys.path])
    return {**found, "reload": options.reload}


# --- what is told -----------------------------------------------------------------------------


def _plan_lines(found: Mapping[str, Any]) -> Iterator[str]:
    changes, settings = found["changes"], found["host"]
    if not changes and not settings:
        yield "nothing would change"
        return
    rows = [(each["action"], clean(each["path"]), _why(each)) for each in changes]
    rows += [(_host_action(each), each["key"], each["why"]) for each in settings]
    yield from table(("ACTION", "PATH", "WHY"), rows, colour=colour())


def _unread_lines(found: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Why `status` says "config stale" though nothing would change."""
    broken = {each["file"] for each in found["left_out"]}
    unread = [file for file in facts["stale_files"] if file not in broken]
    if not found["changes"] and not found["host"] and unread:
        files = ", ".join(map(clean, unread[:3]))
        yield f"({files}: another text that means the same; `apply` takes note of it)"


def _outcome(options: Namespace, done: Mapping[str, Any], lines: _Lines) -> int:
    """Print how an operation has ended; its exit code."""
    if "error" in done:
        raise OperationFailed(f"operation {done['operation']}: {done['error']}")
    say(options, done, lines(done))
    code = _with_problems(options, done)
    needed = [each["key"] for each in done["host"] if each["action"] == "restart_host"]
    failed = [each for each in done["changes"] if each["result"] not in ("done", "waiting")]
    if not options.json:
        if needed:
            note(f"not in force before the host is restarted: {', '.join(needed)}")
        for each in failed:
            note(f"{each['path']}: {_FAILURES[each['result']]}: {_reason(each['error'])}")
    return OperationFailed.exit_code if failed else code


_FAILURES = {
    "failed": "its new life has failed, and its restart rules go on",
    "rolled_back": "its new life has failed, so it goes on as it was before",
    "lost": "its new life has failed, and so has its old self",
}


def _done_lines(done: Mapping[str, Any]) -> Iterator[str]:
    changes, settings = done["changes"], done["host"]
    if not changes and not settings:
        yield "nothing has changed"
        return
    rows = [
        (each["action"], clean(each["path"]), each["result"].replace("_", " "), _why(each))
        for each in changes
    ]
    for each in settings:
        result = "not yet" if each["action"] == "restart_host" else "done"
        rows.append((_host_action(each), each["key"], result, each["why"]))
    yield from table(("ACTION", "PATH", "RESULT", "WHY"), rows, colour=colour())


def _restarted_lines(done: Mapping[str, Any]) -> Iterator[str]:
    """As `restart` has it; those that failed are told of as errors."""
    for each in done["changes"]:
        if each["result"] == "done":
            yield f"{clean(each['path'])}: restarted, with code read anew"
        elif each["result"] == "waiting":
            yield f"{clean(each['path'])}: is restarted when its needs are met"


def _with_problems(options: Namespace, found: Mapping[str, Any]) -> int:
    """Tell of files that were left out, and whether their children go on as they were."""
    from supervisor_tree.errors import ConfigProblem  # noqa: PLC0415

    if not options.json:
        told = set()
        for each in found["left_out"]:
            for problem in each["problems"]:
                told.add(problem)
                note(left_out_words(each | {"problems": [problem]}))
        for problem in map(str, (ConfigProblem(**each) for each in found["problems"])):
            if problem not in told:
                note(problem)
    return OperationFailed.exit_code if found["problems"] else 0


def _state(operation: Mapping[str, Any]) -> str:
    if operation["state"] != "done":
        return str(operation["state"])
    return "done" if operation["ok"] else "failed"


def _host_action(change: Mapping[str, Any]) -> str:
    return "restart the host" if change["action"] == "restart_host" else "update"


def _why(change: Mapping[str, Any]) -> str:
    return clean("; ".join(change["why"]))


def _reason(error: Any) -> str:
    if isinstance(error, list):
        return ": ".join(_reason(item) for item in error)
    return clean(str(error))
