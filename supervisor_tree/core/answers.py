"""What a supervisor answers to a request when its turn in the mailbox has come.

The tables are OTP's (supervisor manual, the run-time functions), with a row for each state:
STOPPED is OTP's undefined, BACKOFF its restarting, and PARKED (ours) answers as undefined
does.  A child in any other state has an effect in flight, so the request waits for it.

Replies are tuples: ("ok",), ("ok", Handle), ("ok", Handle, Info), ("error", Reason),
("exit", Reason); a handle is the pid, or "path#generation" for a supervisor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from supervisor_tree.core import starts
from supervisor_tree.core.checks import check_child
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import Term
from supervisor_tree.core.groups import release_below, start_all
from supervisor_tree.core.holds import forget_hold, hold, is_held, release, revive
from supervisor_tree.core.specs import ChildSpec, Kind, Restart
from supervisor_tree.core.stimuli import (
    CountChildrenRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    StartChildRequested,
    TerminateChildRequested,
    UpgradeRequested,
    WhichChildrenRequested,
)
from supervisor_tree.core.timers import cancel_timer
from supervisor_tree.core.upgrade import upgrade
from supervisor_tree.core.work import Lane, Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = [
    "ABOUT_A_CHILD",
    "ANSWERS",
    "SIMPLE_REFUSES",
    "answer",
    "count_children",
    "which_children",
]

_Handler: TypeAlias = "Callable[[Supervisor, Lane, Child, Any], None]"

SIMPLE_REFUSES = (RestartChildRequested, DeleteChildRequested)


def answer(sup: Supervisor, lane: Lane, message: Any) -> None:
    """Answer one request, at once or when the work that it begins is done."""
    match message:
        case StartChildRequested():
            _start_child(sup, lane, message)
        case WhichChildrenRequested():
            sup.tree.reply(message.request, which_children(sup))
        case CountChildrenRequested():
            sup.tree.reply(message.request, count_children(sup))
        case UpgradeRequested():
            sup.tree.reply(message.request, upgrade(sup, message.spec))
        case _:
            _about_a_child(sup, lane, message)


def _about_a_child(sup: Supervisor, lane: Lane, message: Any) -> None:
    path = getattr(message, "path", None)
    child_id = message.id if path is None else path.rpartition("/")[2]
    child = sup.children.get(child_id)
    if sup.simple and isinstance(message, SIMPLE_REFUSES):
        sup.tree.reply(message.request, ("error", "simple_one_for_one"))
    elif _is_over(child, message):
        sup.tree.reply(message.request, ("ok",))
    elif child is None:
        sup.tree.reply(message.request, _about_nobody(sup, message))
    elif child.lane is not lane:
        sup.post(child.lane, message)
    else:
        ANSWERS[child.state, type(message)](sup, lane, child, message)


def _about_nobody(sup: Supervisor, message: Any) -> Term | tuple[str, ChildSpec]:
    """OTP: under simple_one_for_one the template's id stands for its specification."""
    template = sup.template()
    if (
        template is not None
        and isinstance(message, GetChildspecRequested)
        and message.id == template.id
    ):
        return ("ok", template)
    return ("error", "not_found")


def _is_over(child: Child | None, message: Any) -> bool:
    """An order about one life comes too late: nothing is left to be done."""
    if not isinstance(message, TerminateChildRequested) or message.generation is None:
        return False
    return child is None or child.born != message.generation


# --- start_child -----------------------------------------------------------------------


def _start_child(sup: Supervisor, lane: Lane, message: StartChildRequested) -> None:
    spec = sup.template() or message.spec
    child_id = message.name if sup.simple else spec.id if spec is not None else None
    # OTP: the specification is checked before its id is looked for.
    error = _refusal(sup, spec, child_id)
    if error is not None or spec is None or child_id is None:
        sup.tree.reply(message.request, ("error", error))
        return
    child = sup.children.get(child_id)
    if child is not None:
        ANSWERS[child.state, StartChildRequested](sup, lane, child, message)
        return
    child = sup.add_child(child_id, spec, message.args)
    child.code = sup.tree.code
    forget_hold(sup.tree, child.path, message.request)
    _begin(sup, child, Purpose.ADD, message.request)


def _refusal(sup: Supervisor, spec: ChildSpec | None, child_id: str | None) -> Term:
    if spec is None:
        return ("invalid_child_spec", None)
    if not sup.simple:
        return check_child(spec, sup.spec.auto_shutdown)
    return None if child_id and "/" not in child_id else ("invalid_child_spec", child_id)


def _begin(sup: Supervisor, child: Child, purpose: Purpose, request: int | None) -> None:
    """Start a child in its lane; a new child of a concurrent supervisor has a fresh one."""
    work = Work(purpose, child.lane, request=request, subject=child)
    if purpose in (Purpose.TERMINATE, Purpose.HOLD, Purpose.RENEW, Purpose.TRY):
        work.stops = deque([child])
    if purpose in (Purpose.ADD, Purpose.REVIVE, Purpose.START, Purpose.RENEW, Purpose.TRY):
        work.starts = deque([child])
    child.lane.work = work
    sup.tree.wake(child.lane)


def _already_started(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("error", ("already_started", child.handle)))


def _already_present(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("error", "already_present"))


# --- the others of OTP -------------------------------------------------------------------


def _running(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("error", "running"))


def _restarting(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("error", "restarting"))


def _get_childspec(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("ok", child.spec))


def _delete(sup: Supervisor, lane: Lane, child: Child, message: DeleteChildRequested) -> None:
    starts.forget_deferred(sup, child)
    forget_hold(sup.tree, child.path, message.request)
    sup.forget(child)
    sup.tree.reply(message.request, ("ok",))


def _terminate(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    _begin(sup, child, Purpose.TERMINATE, message.request)


def _terminate_down(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    """No process: undefined it is, and a restart that was due is void (OTP)."""
    starts.forget_deferred(sup, child)
    _take_down(sup, child)
    if sup.simple:
        forget_hold(sup.tree, child.path, message.request)  # an instance is gone for good
    if sup.simple or child.spec.restart is Restart.TEMPORARY:
        sup.forget(child)
    sup.tree.reply(message.request, ("ok",))


def _take_down(sup: Supervisor, child: Child) -> None:
    cancel_timer(sup, child)
    child.wanted = False
    if child.state is not ChildState.STOPPED:
        sup.tree.move(child, ChildState.STOPPED, "terminated")


def _revive(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    """restart_child: start at its old place, with counters at 0."""
    _fresh(sup, child, message.request)
    _begin(sup, child, Purpose.REVIVE, message.request)


def _start(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    """`start`, `reset-failed`: the same, but a start that fails leaves it wanted up."""
    _fresh(sup, child, message.request)
    _begin(sup, child, Purpose.START, message.request)


def _fresh(sup: Supervisor, child: Child, request: int) -> None:
    starts.forget_deferred(sup, child)
    cancel_timer(sup, child)
    revive(sup.tree, child, request)
    child.attempt = 0
    child.wanted = True
    if child.window is not None:
        child.window.clear()
    if child.state is ChildState.PARKED:
        sup.tree.move(child, ChildState.STOPPED, "reset")


# --- an operator's orders ------------------------------------------------------------------


def _already(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    sup.tree.reply(message.request, ("ok", "already"))


def _hold(sup: Supervisor, lane: Lane, child: Child, message: HoldRequested) -> None:
    hold(sup.tree, child, message)
    _begin(sup, child, Purpose.HOLD, message.request)


def _hold_down(sup: Supervisor, lane: Lane, child: Child, message: HoldRequested) -> None:
    already = is_held(sup.tree, child)
    hold(sup.tree, child, message)
    starts.forget_deferred(sup, child)
    _take_down(sup, child)
    sup.tree.reply(message.request, ("ok", "already") if already else ("ok",))


def _release_up(sup: Supervisor, lane: Lane, child: Child, message: ReleaseRequested) -> None:
    release(sup.tree, child, message)
    below = [] if message.amend else release_below(sup.tree, child.path, message.request)
    if below:
        start_all(sup.tree, message.request, below)
    else:
        _already(sup, lane, child, message)


def _release_down(sup: Supervisor, lane: Lane, child: Child, message: ReleaseRequested) -> None:
    release(sup.tree, child, message)
    if not message.amend:
        release_below(sup.tree, child.path, message.request)
    _start(sup, lane, child, message)


def _renew(sup: Supervisor, lane: Lane, child: Child, message: RestartRequested) -> None:
    _fresh(sup, child, message.request)
    purpose = Purpose.TRY if message.trial else Purpose.RENEW
    _begin(sup, child, purpose, message.request)


def _reset_running(sup: Supervisor, lane: Lane, child: Child, message: Any) -> None:
    """Nothing has failed for good: the counters start anew."""
    child.attempt = 0
    if child.window is not None:
        child.window.clear()
    sup.tree.reply(message.request, ("ok", "already"))


# --- pictures ---------------------------------------------------------------------------


def which_children(sup: Supervisor) -> tuple[tuple[str, Term, str], ...]:
    """{Id, Pid | undefined | restarting, Type}, last started first (OTP)."""
    return tuple(
        (child.id, _shown_process(child), _shown_type(child.spec))
        for child in reversed(sup.children.values())
    )


def _shown_process(child: Child) -> Term:
    if child.state is ChildState.BACKOFF:
        return "restarting"
    if child.state in (ChildState.STOPPED, ChildState.PARKED):
        return None
    return child.handle


def _shown_type(spec: ChildSpec) -> str:
    return "supervisor" if spec.kind is Kind.SUPERVISOR else "worker"


def count_children(sup: Supervisor) -> dict[str, int]:
    """`active` counts processes that are alive, the others specifications (OTP)."""
    children = sup.children.values()
    supervisors = sum(child.spec.kind is Kind.SUPERVISOR for child in children)
    down = (ChildState.STOPPED, ChildState.BACKOFF, ChildState.PARKED)
    # OTP looks at each process, but under simple_one_for_one takes its list's word for it.
    active = sum(
        child.state not in down and (sup.simple or child.exit is None) for child in children
    )
    return {
        "specs": 1 if sup.simple else len(children),
        "active": active,
        "supervisors": supervisors,
        "workers": len(children) - supervisors,
    }


def _table() -> dict[tuple[ChildState, type], _Handler]:
    down = (ChildState.STOPPED, ChildState.PARKED)
    up, due = (ChildState.RUNNING,), (ChildState.BACKOFF,)
    parked = (ChildState.PARKED,)
    resting = (*down, *up, *due)
    lines: list[tuple[tuple[ChildState, ...], type, _Handler]] = [
        (tuple(ChildState), StartChildRequested, _already_started),
        ((*down, *due), StartChildRequested, _already_present),
        (up, RestartChildRequested, _running),
        (due, RestartChildRequested, _restarting),
        (down, RestartChildRequested, _revive),
        (up, DeleteChildRequested, _running),
        (due, DeleteChildRequested, _restarting),
        (down, DeleteChildRequested, _delete),
        (up, TerminateChildRequested, _terminate),
        ((*down, *due), TerminateChildRequested, _terminate_down),
        (resting, GetChildspecRequested, _get_childspec),
        (up, HoldRequested, _hold),
        ((*down, *due), HoldRequested, _hold_down),
        (up, ReleaseRequested, _release_up),
        ((*down, *due), ReleaseRequested, _release_down),
        (resting, RestartRequested, _renew),
        (resting, ResetFailedRequested, _reset_running),
        (parked, ResetFailedRequested, _start),
    ]
    return {(state, kind): handler for states, kind, handler in lines for state in states}


ABOUT_A_CHILD: tuple[type, ...] = (
    StartChildRequested,
    TerminateChildRequested,
    RestartChildRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    ReleaseRequested,
    RestartRequested,
    ResetFailedRequested,
)
ANSWERS: dict[tuple[ChildState, type], _Handler] = _table()
