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
from dataclasses import replace
from itertools import product
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from supervisor_tree.core import outcomes, watchdog
from supervisor_tree.core.actions import SignalChild, StartChild, StopSignal
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason, Term
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.stimuli import (
    LIFE_NOTICES,
    ChildBeat,
    ChildBusy,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    KillRequested,
    MemoryExceeded,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    StartChildRequested,
    StartTimeoutExtended,
    Stimulus,
    TerminateChildRequested,
    TimerFired,
    WatchdogChanged,
    WatchdogTriggered,
)
from supervisor_tree.core.timers import cancel_timer, is_due, set_timer
from supervisor_tree.core.work import BackoffElapsed, ExitNotice, Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = [
    "CHILD_STIMULI",
    "TRANSITIONS",
    "begin_start",
    "kill",
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
    child.watch = watchdog.watch_of(spec)
    child.started_at = None
    child.oversize = False
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
    tree.emit(StartChild(child.path, child.generation, spec, child.args, child.code))


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


def kill(sup: Supervisor, child: Child, cause: str = "killed by its supervisor") -> None:
    """End a life at once; waits for its end without limit."""
    cancel_timer(sup, child)
    sup.tree.move(child, KILLING, cause)
    _signal_kill(sup, child)


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
    watchdog.begin(sup, child, now)
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
    reason = _note_exit(sup, child, stimulus.reason)
    _start_over(sup, child, reason.term)


def _running_exited(sup: Supervisor, child: Child, stimulus: ChildExited, now: float) -> None:
    if child.exit is not None:
        return
    cancel_timer(sup, child)
    child.exit = _note_exit(sup, child, stimulus.reason)
    child.inner = None
    sup.post(child.lane, ExitNotice(child, child.generation))
    sup.tree.touch(child.path)


def _stopping_exited(sup: Supervisor, child: Child, stimulus: ChildExited, now: float) -> None:
    _stop_over(sup, child, _note_exit(sup, child, stimulus.reason))


def _stopping_unborn(sup: Supervisor, child: Child, stimulus: Any, now: float) -> None:
    """It was told to stop, and its start has come to nothing: as good as stopped."""
    _stop_over(sup, child, SHUTDOWN)


def _starting_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    if is_due(sup, child, stimulus, now):
        child.failure = "timeout"
        kill(sup, child, "not ready in time")


def _stopping_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    if is_due(sup, child, stimulus, now):
        kill(sup, child)


def _backoff_timer(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    # The timer stays set until the mailbox comes to it: a failure meanwhile may move it.
    if stimulus.key == child.timer:
        sup.post(child.lane, BackoffElapsed(child, child.generation))


def _extend(sup: Supervisor, child: Child, stimulus: StartTimeoutExtended, now: float) -> None:
    """More time, never less (systemd's EXTEND_TIMEOUT_USEC)."""
    if child.timer is not None and now + stimulus.seconds > child.deadline:
        set_timer(sup, child, child.timer.name, now + stimulus.seconds)


def _oversize(sup: Supervisor, child: Child, stimulus: MemoryExceeded, now: float) -> None:
    """It ends as if the kernel had killed it.  The state stays: for the rules this is an exit."""
    if child.pid is not None and child.exit is None:
        child.oversize = True
        _signal_kill(sup, child)


def _stopping_oversize(sup: Supervisor, child: Child, stimulus: MemoryExceeded, now: float) -> None:
    if child.pid is not None:
        child.oversize = True
        kill(sup, child)


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
    if child.state is RUNNING:
        cancel_timer(sup, child)  # nothing is expected of it any more
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


def _note_exit(sup: Supervisor, child: Child, reason: ExitReason) -> ExitReason:
    """An end is made public when it happens, not when it is acted upon.

    Returns the whole reason: the status of one that was killed does not say what for.
    """
    reason = watchdog.reason_of(child, reason)
    if child.oversize and reason.term == KILLED.term:
        reason = replace(reason, oom=True)
    if child.failure is not None:
        reason = replace(reason, start_timeout=child.spec.start_timeout)
    child.last_exit = reason
    child.ready = False
    sup.tree.publish_exit(child, reason)
    _answer_killers(sup, child)
    return reason


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
        ((RUNNING,), (TimerFired,), watchdog.fired),
        ((STOPPING,), (TimerFired,), _stopping_timer),
        ((BACKOFF,), (TimerFired,), _backoff_timer),
        ((STARTING, STOPPING), (StartTimeoutExtended,), _extend),
        ((RUNNING,), (ChildBeat,), watchdog.beat),
        ((STARTING, RUNNING), (ChildBusy,), watchdog.busy),
        ((STARTING, RUNNING), (WatchdogChanged,), watchdog.changed),
        ((RUNNING,), (WatchdogTriggered,), watchdog.triggered),
        ((STARTING, RUNNING), (MemoryExceeded,), _oversize),
        ((STOPPING,), (MemoryExceeded,), _stopping_oversize),
        ((STARTING,), ABORTING, _break_off),
        (ending, ABORTING, _break_off_too),
        ((STARTING, RUNNING), (KillRequested,), _kill_alive),
        (ending, (KillRequested,), _kill_stopping),
        (dead, (KillRequested,), _kill_dead),
    ]
    return {pair: handler for states, kinds, handler in lines for pair in product(states, kinds)}


# What the world says about a life, and what is asked of it.
NOTICES: tuple[type, ...] = (*LIFE_NOTICES, TimerFired)
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
