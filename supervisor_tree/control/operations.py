"""What each verb of the control socket does, over an abstract host.

Reads are answered at once from the core's picture.  Orders become requests to the core
and are answered when they are done, which holds up nobody: each has its own number.
All arguments are checked, and all paths looked up, before anything is touched.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.arguments import (
    new_child,
    no_such_child,
    read_id,
    read_number,
    read_path,
    read_paths,
    read_signal,
    refuse_infrastructure,
    refuse_instance,
)
from supervisor_tree.control.events import EventLog
from supervisor_tree.control.gathering import Gathered
from supervisor_tree.control.holds import Asker, Hold, hold_data, read_asker
from supervisor_tree.control.rows import TreeView, is_missing, nested, row_data, show_data
from supervisor_tree.control.waits import CONDITIONS, Waits
from supervisor_tree.core.child import ChildRow
from supervisor_tree.core.specdata import to_data
from supervisor_tree.core.specs import ChildSpec
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
_MAX_MISSING = 100  # that `health` names
_NO_MORE: Mapping[str, Any] = {}


def _enable(request: int, path: str) -> Stimulus:
    return ReleaseRequested(request, path, amend=True)


def _disable(request: int, path: str) -> Stimulus:
    return HoldRequested(request, path, amend=True)


_HOLDING = (HoldRequested, _disable)  # to be kept down
_AMENDING = (_enable, _disable)  # which say what is so in files that are changed already


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
        """`name instance pid version config run_dir log_dir logs`, and `uptime_s`; plain data."""
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

    def holds(self) -> Mapping[str, Hold]:
        """What operators want against the rules and the specification, by path."""
        ...

    def submit(
        self,
        make: Callable[[int], Stimulus],
        answer: Callable[[Any], None],
        asker: Asker | None = None,
    ) -> None:
        """Hand the core a request; `answer` is called with its reply, now or later.

        ("ok", "unremembered") is an order that is carried out and dies with the host.
        """
        ...

    def say(self, line: str) -> None:
        """A line for the host's log."""
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

    def __init__(
        self, host: HostView, more: Mapping[str, Callable[[Request], None]] = _NO_MORE
    ) -> None:
        """`more`: verbs beside those of this module."""
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
            "enable": lambda request: self._amend(request, _enable),
            "disable": lambda request: self._amend(request, _disable),
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
            **more,
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
        missing = list(filter(is_missing, rows))
        missing.sort(key=lambda row: row.strategy is not None)  # who is to blame comes first
        facts = {
            "children": max(0, len(rows) - 1),
            "not_ready": len(missing),
            "missing": [row.path for row in missing[:_MAX_MISSING]],
            **host.facts(),
        }
        healthy = host.phase == "running" and not missing and not facts["left_out"]
        request.reply({"state": host.phase, "ready": healthy, **facts})

    def _status(self, request: Request) -> None:
        now, why = self._host.now(), bool(request.args.get("why"))
        request.reply([row_data(row, now, why=why) for row in self._rows(request.args)])

    def _snapshot(self, request: Request) -> None:
        log, now = self._host.log, self._host.now()
        rows = [row_data(row, now) for row in self._rows(request.args)]
        request.reply({"instance": log.instance, "seq": log.seq, "rows": rows})

    def _tree(self, request: Request) -> None:
        request.reply(nested(self._rows(request.args), self._host.now()))

    def _rows(self, args: Mapping[str, Any]) -> list[ChildRow]:
        path = read_path(args.get("path") or "/")
        rows = self._host.tree.rows(path, infrastructure=bool(args.get("all")))
        if not rows and path not in _TOPS:
            raise no_such_child(path, self._host.tree)
        return rows

    def _show(self, request: Request) -> None:
        host = self._host
        row = self._row(read_path(request.args.get("path")))
        more = {"said": host.said(row.path), "hold": hold_data(host.holds(), row.path)}
        request.reply({**show_data(host.tree, row, host.now(), host.wall()), **more})

    def _events(self, request: Request) -> None:
        log = self._host.log
        limit = min(int(read_number(request.args, "limit", _MAX_EVENTS) or 0), _MAX_EVENTS)
        newest = read_number(request.args, "last", None)
        if newest is None:
            first, events = log.since(int(read_number(request.args, "since", 0) or 0), limit)
        else:
            first, events = log.first, log.last(min(int(newest), limit))
        following = events[-1]["seq"] + 1 if events else log.seq + 1
        request.reply(
            {"instance": log.instance, "first": first, "next": following, "events": events}
        )

    def _logs_info(self, request: Request) -> None:
        path = read_path(request.args.get("path") or "/")
        known = path == "/" or self._host.tree.row(path) is not None
        facts = self._host.facts()
        named = {name: facts[name] for name in ("log_dir", "logs")}
        request.reply({"path": path, "known": known, **named})

    # --- orders -----------------------------------------------------------------------------

    def _order(self, request: Request, kind: Callable[[int, str], Stimulus]) -> None:
        self._order_all(request, read_paths(request.args), kind)

    def _amend(self, request: Request, kind: Callable[[int, str], Stimulus]) -> None:
        """What their files say from now on, which is for whoever asks to see to."""
        for path in read_paths(request.args):
            refuse_instance(request.verb, path, self._host.tree)
        self._order(request, kind)

    def _order_all(
        self, request: Request, paths: list[str], kind: Callable[[int, str], Stimulus]
    ) -> None:
        """Every order is given at once; the answer comes when the last one is done.

        With `wait: false` it comes when all are given.
        """
        for path in paths:
            if path in _TOPS:
                raise UsageError(f"cannot {request.verb} {path} itself; see `shutdown`")
            if kind in _HOLDING:
                refuse_infrastructure(request.verb, path)
            forgets = kind is ReleaseRequested and path in self._host.holds()
            if not forgets and kind not in _AMENDING:
                self._row(path)
        if self._host.phase == "stopping":
            raise TryAgain("the host is ending")
        gathered = Gathered(request, paths, forgiving=kind in _AMENDING)
        asker = read_asker(request)
        self._host.say(asker.line(*paths))
        for path in paths:
            self._host.submit(
                lambda number, path=path: kind(number, path),  # type: ignore[misc]
                lambda result, path=path: gathered.take(path, result),  # type: ignore[misc]
                asker,
            )
        if request.args.get("wait") is False:
            request.reply(dict.fromkeys(paths, "asked"))

    def _reset_failed(self, request: Request) -> None:
        """A supervisor stands for all below it that have given up."""
        paths: list[str] = []
        for path in read_paths(request.args, default=["/"]):
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
        number = read_signal(request.args.get("signal"))
        targets: dict[str, ChildRow] = {}
        for path in read_paths(request.args):
            rows = self._rows({"path": path})
            live = {row.path: row for row in rows if row.pid is not None}
            if not live:
                raise OperationFailed(f"{path} has no process to signal")
            targets |= live
        self._host.say(read_asker(request).line(signal.Signals(number).name, *targets))
        for row in targets.values():
            self._host.signal_child(row.path, row.generation, number)
        request.reply(dict.fromkeys(targets, "done"))

    def _wait(self, request: Request) -> None:
        condition = request.args.get("for")
        if condition not in CONDITIONS:
            raise UsageError(f"can wait for {' or '.join(CONDITIONS)}, not for {condition!r}")
        path = read_path(request.args.get("path"))
        timeout_s = read_number(request.args, "timeout", None)
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
        timeout_s = read_number(request.args, "timeout", None)
        facts = self._host.facts()
        self._host.say(read_asker(request).line())
        request.reply({"pid": facts["pid"], "instance": facts["instance"]})
        self._host.begin_shutdown(timeout_s=timeout_s)

    # --- OTP's run-time interface -------------------------------------------------------------

    def _start_child(self, request: Request) -> None:
        supervisor = self._supervisor(request)
        self._change(request, supervisor)
        spec, name, args = new_child(supervisor, request.args, self._host.tree)
        about = spec.id if spec is not None else name or ""
        self._host.say(read_asker(request).line(supervisor, about))
        self._otp(request, lambda number: StartChildRequested(number, supervisor, spec, name, args))

    def _child(self, request: Request, kind: Callable[[int, str, str], Stimulus]) -> None:
        supervisor = self._supervisor(request)
        id = read_id(request.args)
        if kind is not GetChildspecRequested:
            self._change(request, supervisor)
            self._host.say(read_asker(request).line(supervisor, id))
        self._otp(request, lambda number: kind(number, supervisor, id))

    def _children(self, request: Request, kind: Callable[[int, str], Stimulus]) -> None:
        supervisor = self._supervisor(request)
        self._otp(request, lambda number: kind(number, supervisor))

    def _supervisor(self, request: Request) -> str:
        """OTP answers `noproc` for one that is not there; we, whether it comes back."""
        path = read_path(request.args.get("supervisor"), "the path of a supervisor")
        tree = self._host.tree
        if tree.row(path) is None and path not in _TOPS:
            error = no_such_child(path, tree)
            if isinstance(error, TryAgain):
                raise error
        return path

    def _change(self, request: Request, supervisor: str) -> None:
        """OTP's functions that change the list of children are for the user's own tree."""
        refuse_infrastructure(request.verb, supervisor)
        if self._host.phase == "stopping":
            raise TryAgain("the host is ending")

    def _otp(self, request: Request, make: Callable[[int], Stimulus]) -> None:
        """OTP's return value, tuples as lists, specifications as data."""
        self._host.submit(make, lambda result: request.reply(_plain(result)))

    def _row(self, path: str) -> ChildRow:
        row = self._host.tree.row(path)
        if row is None:
            raise no_such_child(path, self._host.tree)
        return row


# --- answers ------------------------------------------------------------------------------


def _plain(result: Any) -> Any:
    if isinstance(result, ChildSpec):
        return to_data(result)
    if isinstance(result, tuple | list):
        return [_plain(item) for item in result]
    return result
