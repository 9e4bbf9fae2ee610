"""What each verb of the control socket does, over an abstract host.

Reads are answered at once from the core's picture.  Orders become requests to the core
and are answered when they are done, which holds up nobody: each has its own number.
All arguments are checked, and all paths looked up, before anything is touched.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.events import EventLog
from supervisor_tree.control.rows import TreeView, nested, row_data, show_data
from supervisor_tree.control.waits import CONDITIONS, Waits
from supervisor_tree.core.child import ChildRow
from supervisor_tree.core.specs import ChildSpec, spec_from_data, to_data
from supervisor_tree.core.stimuli import (
    CountChildrenRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    KillRequested,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    StartChildRequested,
    Stimulus,
    TerminateChildRequested,
    WhichChildrenRequested,
)
from supervisor_tree.errors import (
    NoSuchChild,
    OperationFailed,
    SupervisorTreeError,
    TryAgain,
    UsageError,
)

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["HostView", "Operations"]

_TOPS = ("/", "/_")
_MAX_EVENTS = 10_000


class HostView(Protocol):
    """What the operations need of the host.  Implemented by `host.Host`."""

    @property
    def phase(self) -> str:
        """`starting`, `running` or `stopping`."""
        ...

    @property
    def tree(self) -> TreeView: ...

    @property
    def log(self) -> EventLog: ...

    def facts(self) -> dict[str, Any]:
        """`name instance pid version config run_dir log_dir`, and `uptime_s`; plain data."""
        ...

    def now(self) -> float:
        """The time that the core was given with its stimuli, in seconds."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def said(self, path: str) -> str:
        """The last STATUS= of the child's present life, or ""."""
        ...

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None:
        """Hand the core a request; `answer` is called with its reply, now or later."""
        ...

    def signal_child(self, path: str, generation: int, number: int) -> None:
        """Send a signal to the leading process of one life."""
        ...

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        """Turn the loop again in `delay_s` seconds."""
        ...

    def begin_shutdown(self, *, timeout_s: float | None = None) -> None:
        """Stop the tree and end; what is left after `timeout_s` is ended by force."""
        ...


class Operations:
    """Verb -> action, for one host."""

    def __init__(self, host: HostView) -> None:
        self._host = host
        self._waits = Waits()
        self._wait_count = 0
        self._verbs: dict[str, Callable[[Request], None]] = {
            "ping": self._ping,
            "health": self._health,
            "status": self._status,
            "tree": self._tree,
            "snapshot": self._snapshot,
            "show": self._show,
            "events": self._events,
            "logs_info": self._logs_info,
            "start": lambda request: self._order(request, ReleaseRequested),
            "stop": lambda request: self._order(request, HoldRequested),
            "restart": lambda request: self._order(request, RestartRequested),
            "kill": lambda request: self._order(request, KillRequested),
            "reset_failed": self._reset_failed,
            "signal": self._signal,
            "wait": self._wait,
            "shutdown": self._shutdown,
            "start_child": self._start_child,
            "terminate_child": lambda request: self._child(request, TerminateChildRequested),
            "restart_child": lambda request: self._child(request, RestartChildRequested),
            "delete_child": lambda request: self._child(request, DeleteChildRequested),
            "get_childspec": lambda request: self._child(request, GetChildspecRequested),
            "which_children": lambda request: self._children(request, WhichChildrenRequested),
            "count_children": lambda request: self._children(request, CountChildrenRequested),
        }

    @property
    def verbs(self) -> tuple[str, ...]:
        """All verbs, in the order of this file."""
        return tuple(self._verbs)

    def handle(self, request: Request) -> None:
        """Answer one request, now or later.  Raises SupervisorTreeError for a bad one."""
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise UsageError(
                f"unknown verb {request.verb!r}; this host knows {', '.join(self._verbs)}"
            )
        verb(request)

    def look(self) -> None:
        """Answer the waits that are over; the host calls this once per turn of its loop."""
        if self._waits.pending:
            host = self._host
            self._waits.look(host.tree, host.now(), booting=host.phase == "starting")

    def give_up(self) -> None:
        """The host is about to end: answer everybody who still waits."""
        self._waits.give_up(TryAgain("the host is ending"))

    # --- reads ------------------------------------------------------------------------------

    def _ping(self, request: Request) -> None:
        host = self._host
        facts = host.facts()
        request.reply({**facts, "seq": host.log.seq, "state": host.phase})

    def _health(self, request: Request) -> None:
        host = self._host
        rows = host.tree.rows("/")
        missing = sum(map(_is_missing, rows))
        facts = {"children": max(0, len(rows) - 1), "not_ready": missing}
        healthy = host.phase == "running" and missing == 0
        request.reply({"state": host.phase, "ready": healthy, **facts, **host.facts()})

    def _status(self, request: Request) -> None:
        request.reply(self._row_data(request.args))

    def _snapshot(self, request: Request) -> None:
        log = self._host.log
        rows = self._row_data(request.args)
        request.reply({"instance": log.instance, "seq": log.seq, "rows": rows})

    def _row_data(self, args: Mapping[str, Any]) -> list[dict[str, Any]]:
        now = self._host.now()
        return [row_data(row, now) for row in self._rows(args)]

    def _tree(self, request: Request) -> None:
        request.reply(nested(self._rows(request.args), self._host.now()))

    def _rows(self, args: Mapping[str, Any]) -> list[ChildRow]:
        path = _path(args.get("path") or "/")
        rows = self._host.tree.rows(path, infrastructure=bool(args.get("all")))
        if not rows and path not in _TOPS:
            raise _no_such_child(path)
        return rows

    def _show(self, request: Request) -> None:
        host = self._host
        row = self._row(_path(request.args.get("path")))
        said = host.said(row.path)
        request.reply({**show_data(host.tree, row, host.now(), host.wall()), "said": said})

    def _events(self, request: Request) -> None:
        log = self._host.log
        limit = min(int(_number(request.args, "limit", _MAX_EVENTS) or 0), _MAX_EVENTS)
        newest = _number(request.args, "last", None)
        if newest is None:
            first, events = log.since(int(_number(request.args, "since", 0) or 0), limit)
        else:
            first, events = log.first, log.last(min(int(newest), limit))
        following = events[-1]["seq"] + 1 if events else log.seq + 1
        request.reply(
            {"instance": log.instance, "first": first, "next": following, "events": events}
        )

    def _logs_info(self, request: Request) -> None:
        path = _path(request.args.get("path") or "/")
        known = path == "/" or self._host.tree.row(path) is not None
        facts = self._host.facts()
        request.reply({"path": path, "log_dir": facts["log_dir"], "known": known})

    # --- orders -----------------------------------------------------------------------------

    def _order(self, request: Request, kind: Callable[[int, str], Stimulus]) -> None:
        self._order_all(request, _paths(request.args), kind)

    def _order_all(
        self, request: Request, paths: list[str], kind: Callable[[int, str], Stimulus]
    ) -> None:
        """Every order is given at once; the answer comes when the last one is done.

        With `wait: false` it comes when all are given.
        """
        for path in paths:
            if path in _TOPS:
                raise UsageError(f"cannot {request.verb} {path} itself; see `shutdown`")
            self._row(path)
        if self._host.phase == "stopping":
            raise TryAgain("the host is ending")
        gathered = _Gathered(request, paths)
        for path in paths:
            self._host.submit(
                lambda number, path=path: kind(number, path),  # type: ignore[misc]
                lambda result, path=path: gathered.take(path, result),  # type: ignore[misc]
            )
        if request.args.get("wait") is False:
            request.reply(dict.fromkeys(paths, "asked"))

    def _reset_failed(self, request: Request) -> None:
        """A supervisor stands for all below it that have given up."""
        paths: list[str] = []
        for path in _paths(request.args, default=["/"]):
            if path not in _TOPS:
                self._row(path)
            below = self._host.tree.rows(path)
            parked = [row.path for row in below if row.state.value == "parked"]
            is_one_child = len(below) == 1 and below[0].strategy is None
            paths += parked or ([path] if is_one_child else [])
        if paths:
            self._order_all(request, list(dict.fromkeys(paths)), ResetFailedRequested)
        else:
            request.reply({})

    def _signal(self, request: Request) -> None:
        """To the leading process of each child named, and of each below a supervisor."""
        number = _signal_number(request.args.get("signal"))
        targets: dict[str, ChildRow] = {}
        for path in _paths(request.args):
            rows = self._rows({"path": path})
            live = {row.path: row for row in rows if row.pid is not None}
            if not live:
                raise OperationFailed(f"{path} has no process to signal")
            targets |= live
        for row in targets.values():
            self._host.signal_child(row.path, row.generation, number)
        request.reply(dict.fromkeys(targets, "done"))

    def _wait(self, request: Request) -> None:
        condition = request.args.get("for")
        if condition not in CONDITIONS:
            raise UsageError(f"can wait for {' or '.join(CONDITIONS)}, not for {condition!r}")
        path = _path(request.args.get("path"))
        timeout_s = _number(request.args, "timeout", None)
        deadline = None if timeout_s is None else self._host.now() + timeout_s

        def done(error: SupervisorTreeError | None) -> None:
            if error is None:
                request.reply({path: condition})
            else:
                request.reply_error(error)

        self._waits.add(path, condition, deadline, done)
        self.look()
        if timeout_s is not None and not request.answered:
            self._wait_count += 1
            self._host.call_in(("wait", self._wait_count), timeout_s, self.look)

    def _shutdown(self, request: Request) -> None:
        timeout_s = _number(request.args, "timeout", None)
        facts = self._host.facts()
        request.reply({"pid": facts["pid"], "instance": facts["instance"]})
        self._host.begin_shutdown(timeout_s=timeout_s)

    # --- OTP's run-time interface -------------------------------------------------------------

    def _start_child(self, request: Request) -> None:
        args = request.args
        supervisor = _path(args.get("supervisor"))
        spec = _spec(args.get("spec"))
        name, given = args.get("name"), args.get("args")
        if name is not None and not isinstance(name, str):
            raise UsageError("the name of an instance is a string")
        self._otp(
            request,
            lambda number: StartChildRequested(number, supervisor, spec, name, given),
        )

    def _child(self, request: Request, kind: Callable[[int, str, str], Stimulus]) -> None:
        supervisor, id = _path(request.args.get("supervisor")), _text(request.args, "id")
        self._otp(request, lambda number: kind(number, supervisor, id))

    def _children(self, request: Request, kind: Callable[[int, str], Stimulus]) -> None:
        supervisor = _path(request.args.get("supervisor"))
        self._otp(request, lambda number: kind(number, supervisor))

    def _otp(self, request: Request, make: Callable[[int], Stimulus]) -> None:
        """OTP's return value, tuples as lists, specifications as data."""
        self._host.submit(make, lambda result: request.reply(_plain(result)))

    def _row(self, path: str) -> ChildRow:
        row = self._host.tree.row(path)
        if row is None:
            raise _no_such_child(path)
        return row


class _Gathered:
    """Collects the answers to one order about several paths."""

    def __init__(self, request: Request, paths: list[str]) -> None:
        self._request = request
        self._waiting = set(paths)
        self._results: dict[str, str] = {}
        self._errors: dict[str, Any] = {}

    def take(self, path: str, result: Any) -> None:
        """One core reply: ("ok", ...) or ("error" | "exit", reason)."""
        self._waiting.discard(path)
        if result[0] == "ok":
            self._results[path] = "already" if result[1:] == ("already",) else "done"
        else:
            self._errors[path] = result[1]
        if self._waiting:
            return
        if not self._errors:
            self._request.reply(self._results)
            return
        lines = [f"{path}: {_words(reason)}" for path, reason in self._errors.items()]
        lines += [f"{path}: {word}" for path, word in self._results.items()]
        gone = all(reason in ("noproc", "not_found") for reason in self._errors.values())
        kind = NoSuchChild if gone else OperationFailed
        lines[0] = f"cannot {self._request.verb.replace('_', '-')} {lines[0]}"
        self._request.reply_error(kind("\n".join(lines)))


def _is_missing(row: ChildRow) -> bool:
    """Wanted and not there: neither ready nor done with its work for good."""
    if row.ready or row.wanted == "down":
        return False
    done = row.last_exit is not None and row.last_exit.clean
    return not (row.state.value == "stopped" and done and row.waiting_for is None)


# --- arguments ----------------------------------------------------------------------------


def _path(value: Any) -> str:
    """A path as the tree writes it; the leading slash may be left out."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"a path is a string such as /chat/bot, not {value!r:.40}")
    return "/" + value.strip("/")


def _paths(args: Mapping[str, Any], default: list[str] | None = None) -> list[str]:
    paths = args.get("paths") or default
    if not isinstance(paths, list) or not paths:
        raise UsageError("name at least one path, such as /chat/bot")
    return list(dict.fromkeys(_path(path) for path in paths))


def _text(args: Mapping[str, Any], key: str) -> str:
    value = args.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is a string, not {value!r:.40}")
    return value


def _number(args: Mapping[str, Any], key: str, default: float | None) -> float | None:
    value = args.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise UsageError(f"{key} is a number that is not negative, not {value!r:.40}")
    return value


def _signal_number(value: Any) -> int:
    """`TERM`, `SIGTERM`, `15` or 15."""
    try:
        if isinstance(value, str) and not value.isdigit():
            name = value.upper()
            return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
        return signal.Signals(int(value)).value
    except (KeyError, ValueError, TypeError, OverflowError):
        raise UsageError(f"no signal is called {value!r:.40}; try HUP, USR1 or TERM") from None


def _spec(data: Any) -> ChildSpec | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise UsageError("a child specification is a map")
    try:
        return spec_from_data(data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"not a child specification: {error}") from None


# --- answers ------------------------------------------------------------------------------


def _plain(result: Any) -> Any:
    if isinstance(result, ChildSpec):
        return to_data(result)
    if isinstance(result, tuple | list):
        return [_plain(item) for item in result]
    return result


_WORDS = {
    "noproc": "no child has this path",
    "not_found": "no child has this path",
    "running": "it is running",
    "restarting": "it is being restarted",
}


def _words(reason: Any) -> str:
    """A core reason for people: `("init", "ValueError: no key")` and the like."""
    if isinstance(reason, tuple | list):
        return ": ".join(_words(item) for item in reason)
    return _WORDS.get(str(reason), str(reason))


def _no_such_child(path: str) -> NoSuchChild:
    return NoSuchChild(f"no child has the path {path}; `status` lists them all")
