"""The life of one child as a keyed, total table.

Every pair (state, what has come in) is decided here: TRANSITIONS holds all of them, and a
test says so.  The handlers below it are about one process each; what follows for siblings is
the supervisor's business (`supervisor.py`).

    STOPPED -> STARTING -> RUNNING -> (exit: the supervisor decides)
                  |           |
                  +-----------+--> STOPPING -> KILLING -> STOPPED
    BACKOFF: a restart is due.  PARKED: given up, an operator must act.

A notice names the life it is about; the router drops those of other generations before they
come here.  An exit of a RUNNING child only waits in the mailbox: the child's state changes
when its turn comes, as in OTP.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from supervisor_tree.core import outcomes
from supervisor_tree.core.actions import CancelTimer, SetTimer, SignalChild, StartChild, StopSignal
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import SHUTDOWN, ExitKind, ExitReason, Term
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.stimuli import (
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    KillRequested,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    StartChildRequested,
    StartTimeoutExtended,
    Stimulus,
    TerminateChildRequested,
    TimerFired,
    TimerKey,
)
from supervisor_tree.core.work import BackoffElapsed, ExitNotice, Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = [
    "CHILD_STIMULI",
    "TRANSITIONS",
    "begin_start",
    "cancel_timer",
    "kill",
    "set_timer",
    "stop",
]

_Handler: TypeAlias = "Callable[[Supervisor, Child, Any, float], None]"

_START, _SHUTDOWN, _BACKOFF = "start", "shutdown", "backoff"

STOPPED, STARTING, RUNNING = ChildState.STOPPED, ChildState.STARTING, ChildState.RUNNING
STOPPING, KILLING = ChildState.STOPPING, ChildState.KILLING
BACKOFF, PARKED = ChildState.BACKOFF, ChildState.PARKED


# --- what a supervisor does to a child ------------------------------------------------


def begin_start(sup: Supervisor, child: Child, work: Work, now: float) -> None:
    """Ask for a new life; `work` waits for its outcome."""
    tree, spec = sup.tree, child.spec
    cancel_timer(sup, child)
    # A new life gets its number before it is asked for: what is still on its way
    # about the old one must not be taken for this one's.
    child.generation = tree.next_generation(child.path)
    child.failure = child.error = child.waiting_for = child.cause = None
    child.started_at = None
    child.wanted = True
    if work.purpose is Purpose.RESTART:
        child.restarts += 1
    child.starter, work.starting = work, child
    tree.move(child, STARTING, work.purpose.name.lower())
    tree.publish(EventName.CHILD_STARTING, child)
    if spec.supervisor is not None:
        if not tree.gated:
            tree.open(child, spec.supervisor)
            return
        child.unopened = spec.supervisor
    elif spec.start_timeout is not None:
        set_timer(sup, child, _START, now + spec.start_timeout)
    tree.emit(StartChild(child.path, child.generation, spec, child.args))


def stop(sup: Supervisor, child: Child, now: float, reason: ExitReason = SHUTDOWN) -> None:
    """Ask a life to end by the child's shutdown rule (OTP)."""
    shutdown = child.spec.shutdown_or_default
    if shutdown == "brutal_kill":
        kill(sup, child)
        return
    cancel_timer(sup, child)
    sup.tree.move(child, STOPPING, "told to stop")
    sup.tree.publish(EventName.CHILD_STOPPING, child)
    if child.inner is not None:
        child.inner.parent_stop(reason)
    elif child.unopened is None:
        sup.tree.emit(SignalChild(child.path, child.generation, StopSignal.STOP))
    # An upgrade may change the rule meanwhile; what has begun goes on as it was.
    child.deadline = inf
    if shutdown != "infinity":
        set_timer(sup, child, _SHUTDOWN, now + float(shutdown))


def kill(sup: Supervisor, child: Child) -> None:
    """End a life at once; waits for its end without limit."""
    cancel_timer(sup, child)
    sup.tree.move(child, KILLING, "killed by its supervisor")
    _signal_kill(sup, child)


def set_timer(sup: Supervisor, child: Child, name: str, at: float) -> None:
    """A child has one timer at most; the state says which."""
    child.timer = TimerKey(child.path, name, child.generation)
    child.deadline = at
    sup.tree.emit(SetTimer(child.timer, at))


def cancel_timer(sup: Supervisor, child: Child) -> None:
    """Forget the child's timer, if it has one."""
    if child.timer is not None:
        sup.tree.emit(CancelTimer(child.timer))
        child.timer = None


def _signal_kill(sup: Supervisor, child: Child) -> None:
    if child.inner is not None:
        child.inner.kill_all()
    elif child.unopened is None:
        sup.tree.emit(SignalChild(child.path, child.generation, StopSignal.KILL))


# --- what comes in ---------------------------------------------------------------------


def _ignore(sup: Supervisor, child: Child, stimulus: Any, now: float) -> None:
    """From a former time, or said twice."""


def _starting_spawned(sup: Supervisor, child: Child, stimulus: ChildSpawned, now: float) -> None:
    if child.pid is not None or child.inner is not None:
        return
    if child.unopened is not None:
        nested, child.unopened = child.unopened, None
        sup.tree.open(child, nested)
    else:
        child.pid = stimulus.pid
        sup.tree.publish(EventName.CHILD_STARTED, child)
        sup.tree.touch(child.path)
    if child.killers:
        _signal_kill(sup, child)


def _late_spawned(sup: Supervisor, child: Child, stimulus: ChildSpawned, now: float) -> None:
    """The order to end it may have overtaken its birth: say it again."""
    if child.pid is not None or child.inner is not None:
        return
    if child.unopened is not None:
        _stop_over(sup, child, SHUTDOWN)
        return
    child.pid = stimulus.pid
    sup.tree.publish(EventName.CHILD_STARTED, child)
    signal = StopSignal.STOP if child.state is STOPPING else StopSignal.KILL
    sup.tree.emit(SignalChild(child.path, child.generation, signal))


def _starting_ready(sup: Supervisor, child: Child, stimulus: ChildReady, now: float) -> None:
    cancel_timer(sup, child)
    child.ready = True
    child.born = child.generation
    child.started_at = now
    sup.tree.move(child, RUNNING, "ready")
    detail = {} if stimulus.info is None else {"info": stimulus.info}
    sup.tree.publish(EventName.CHILD_READY, child, detail)
    outcomes.succeeded(sup, _take_starter(sup, child), child, stimulus.info)


def _starting_failed(sup: Supervisor, child: Child, stimulus: ChildStartFailed, now: float) -> None:
    # No process came of it, but it is an end all the same, and its reason is for all to see.
    _note_exit(sup, child, ExitReason(kind=ExitKind.ABNORMAL, term=stimulus.reason))
    _start_over(sup, child, stimulus.reason)


def _starting_ignored(
    sup: Supervisor, child: Child, stimulus: ChildStartIgnored, now: float
) -> None:
    _life_over(sup, child)
    outcomes.ignored(sup, _take_starter(sup, child), child)


def _starting_exited(sup: Supervisor, child: Child, stimulus: ChildExited, now: float) -> None:
    _note_exit(sup, child, stimulus.reason)
    _start_over(sup, child, stimulus.reason.term)


def _running_exited(sup: Supervisor, child: Child, stimulus: ChildExited, now: float) -> None:
    if child.exit is not None:
        return
    _note_exit(sup, child, stimulus.reason)
    child.exit = stimulus.reason
    child.inner = None
    sup.post(child.lane, ExitNotice(child, child.generation))
    sup.tree.touch(child.path)


def _stopping_exited(sup: Supervisor, child: Child, stimulus: ChildExited, now: float) -> None:
    _note_exit(sup, child, stimulus.reason)
    _stop_over(sup, child, stimulus.reason)


def _stopping_unborn(sup: Supervisor, child: Child, stimulus: Any, now: float) -> None:
    """It was told to stop, and its start has come to nothing: as good as stopped."""
    _stop_over(sup, child, SHUTDOWN)


def _starting_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    if _is_due(sup, child, stimulus, now):
        child.failure = "timeout"
        kill(sup, child)


def _stopping_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    if _is_due(sup, child, stimulus, now):
        kill(sup, child)


def _backoff_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    # The timer stays set until the mailbox comes to it: a failure meanwhile may move it.
    if stimulus.key == child.timer:
        sup.post(child.lane, BackoffElapsed(child, child.generation))


def _extend(sup: Supervisor, child: Child, stimulus: StartTimeoutExtended, now: float) -> None:
    """More time, never less (systemd's EXTEND_TIMEOUT_USEC)."""
    if child.timer is not None and now + stimulus.seconds > child.deadline:
        set_timer(sup, child, child.timer.name, now + stimulus.seconds)


# --- orders about one child ------------------------------------------------------------


def _later(sup: Supervisor, child: Child, stimulus: Stimulus, now: float) -> None:
    """In the order of the mailbox: at once, if nothing is in flight."""
    sup.post(child.lane, stimulus)


def _break_off(sup: Supervisor, child: Child, stimulus: Stimulus, now: float) -> None:
    """An order about the very child whose start is pending does not wait for that start."""
    if not sup.tree.abort_starts:
        sup.post(child.lane, stimulus)
        return
    child.breakers.append(stimulus)
    stop(sup, child, now)


def _break_off_too(sup: Supervisor, child: Child, stimulus: Any, now: float) -> None:
    """A second order about a child whose start is being broken off already."""
    if child.breakers and child.starter is not None:
        child.breakers.append(stimulus)
    else:
        sup.post(child.lane, stimulus)


def _kill_alive(sup: Supervisor, child: Child, stimulus: KillRequested, now: float) -> None:
    """The state stays: for the rules this is an exit like any other."""
    child.killers.append(stimulus.request)
    if child.exit is None:
        _signal_kill(sup, child)
    else:
        _answer_killers(sup, child)


def _kill_stopping(sup: Supervisor, child: Child, stimulus: KillRequested, now: float) -> None:
    child.killers.append(stimulus.request)
    if child.state is STOPPING:
        kill(sup, child)


def _kill_dead(sup: Supervisor, child: Child, stimulus: KillRequested, now: float) -> None:
    sup.tree.reply(stimulus.request, ("ok", "already"))


# --- shared endings --------------------------------------------------------------------


def _is_due(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> bool:
    if stimulus.key != child.timer:
        return False
    if now < child.deadline:
        sup.tree.emit(SetTimer(stimulus.key, child.deadline))
        return False
    child.timer = None
    return True


def _take_starter(sup: Supervisor, child: Child) -> Work:
    """The work that waits for this start now has its answer."""
    work = child.starter
    assert work is not None, child
    child.starter = work.starting = None
    sup.tree.wake(work.lane)
    return work


def _life_over(sup: Supervisor, child: Child) -> None:
    cancel_timer(sup, child)
    child.pid = child.inner = child.unopened = None
    child.ready = False
    _answer_killers(sup, child)


def _note_exit(sup: Supervisor, child: Child, reason: ExitReason) -> None:
    """An end is made public when it happens, not when it is acted upon."""
    child.last_exit = reason
    child.ready = False
    sup.tree.publish_exit(child, reason)
    _answer_killers(sup, child)


def _answer_killers(sup: Supervisor, child: Child) -> None:
    for request in child.killers:
        sup.tree.reply(request, ("ok",))
    child.killers.clear()


def _start_over(sup: Supervisor, child: Child, reason: Term) -> None:
    _life_over(sup, child)
    work = _take_starter(sup, child)
    if child.breakers:
        outcomes.broken_off(sup, work, child)
    else:
        outcomes.failed(sup, work, child, reason)


def _stop_over(sup: Supervisor, child: Child, reason: ExitReason) -> None:
    """The end of a child that was told to end: by a stop, or because its start was broken off."""
    _life_over(sup, child)
    if child.stopper is not None:
        sup.stopped(child, reason)
    else:
        _start_over(sup, child, child.failure)


def _table() -> dict[tuple[ChildState, type], _Handler]:
    """Each line: in these states, when this comes in, do that; all other notices are ignored."""
    dead = (STOPPED, BACKOFF, PARKED)
    ending = (STOPPING, KILLING)
    lines: list[tuple[tuple[ChildState, ...], tuple[type, ...], _Handler]] = [
        (tuple(ChildState), NOTICES, _ignore),
        (tuple(ChildState), ORDERS, _later),
        ((STARTING,), (ChildSpawned,), _starting_spawned),
        (ending, (ChildSpawned,), _late_spawned),
        ((STARTING,), (ChildReady,), _starting_ready),
        ((STARTING,), (ChildStartFailed,), _starting_failed),
        ((STARTING,), (ChildStartIgnored,), _starting_ignored),
        (ending, (ChildStartFailed, ChildStartIgnored), _stopping_unborn),
        ((STARTING,), (ChildExited,), _starting_exited),
        ((RUNNING,), (ChildExited,), _running_exited),
        (ending, (ChildExited,), _stopping_exited),
        ((STARTING,), (TimerFired,), _starting_timer),
        ((STOPPING,), (TimerFired,), _stopping_timer),
        ((BACKOFF,), (TimerFired,), _backoff_timer),
        ((STARTING, STOPPING), (StartTimeoutExtended,), _extend),
        ((STARTING,), ABORTING, _break_off),
        (ending, ABORTING, _break_off_too),
        ((STARTING, RUNNING), (KillRequested,), _kill_alive),
        (ending, (KillRequested,), _kill_stopping),
        (dead, (KillRequested,), _kill_dead),
    ]
    return {pair: handler for states, kinds, handler in lines for pair in product(states, kinds)}


# What the world says about a life, and what is asked of it.
NOTICES: tuple[type, ...] = (
    ChildSpawned,
    ChildReady,
    ChildStartFailed,
    ChildStartIgnored,
    ChildExited,
    StartTimeoutExtended,
    TimerFired,
)
ORDERS: tuple[type, ...] = (
    StartChildRequested,
    TerminateChildRequested,
    RestartChildRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    ReleaseRequested,
    RestartRequested,
    KillRequested,
    ResetFailedRequested,
)
ABORTING: tuple[type, ...] = (TerminateChildRequested, HoldRequested, RestartRequested)
CHILD_STIMULI = NOTICES + ORDERS
TRANSITIONS: dict[tuple[ChildState, type], _Handler] = _table()
