"""What follows from the exit of a child that was running: the heart of OTP's rules."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from supervisor_tree.core import strategy
from supervisor_tree.core.actions import ReportContext, Why
from supervisor_tree.core.backoff import delay_s, next_attempt
from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.exits import SHUTDOWN
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import AutoShutdown, OnLimit, Restart, Strategy
from supervisor_tree.core.timers import cancel_timer, set_timer
from supervisor_tree.core.work import BackoffElapsed, ExitNotice, Lane, Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["backoff_elapsed", "exited", "restart"]

_GROUPED = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
_LIVE_OR_RESTARTING = ALIVE | {ChildState.BACKOFF}


def exited(sup: Supervisor, lane: Lane, notice: ExitNotice) -> None:
    child = notice.child
    reason = child.exit
    if reason is None or child.generation != notice.generation:
        return
    child.bury()
    if strategy.is_reported(child.spec.restart, reason):
        sup.report(ReportContext.CHILD_TERMINATED, child, reason.term)
    if strategy.must_restart(child.spec.restart, reason):
        sup.tree.move(child, ChildState.STOPPED, "exited")
        restart(sup, lane, child)
        return
    child.wanted = False
    sup.down(child, "ended")
    _consider_auto_shutdown(sup, child)


def restart(sup: Supervisor, lane: Lane, child: Child) -> None:
    """Count first, then carry out (OTP)."""
    window = sup.window
    if child.spec.on_limit is OnLimit.PARK:
        if child.window is None:
            child.window = RestartWindow()
        window = child.window
    spec = sup.spec
    within = window.record(sup.tree.now, intensity=spec.intensity, period=spec.period)
    detail: dict[str, Any] = {
        "child": child.id,
        "restarts": len(window),
        "intensity": spec.intensity,
        "period": spec.period,
    }
    if not within:
        _limit_reached(sup, child, detail)
        return
    sup.tree.publish_own(EventName.SUPERVISOR_RESTARTING, sup, detail)
    wait_s = _delay_s(sup, child)
    if wait_s > 0:
        _back_off(sup, lane, child, wait_s)
    else:
        _carry_out(sup, lane, child)


def _limit_reached(sup: Supervisor, child: Child, detail: dict[str, Any]) -> None:
    sup.tree.publish_own(EventName.INTENSITY_REACHED, sup, detail)
    if child.spec.on_limit is OnLimit.PARK:
        sup.tree.move(child, ChildState.PARKED, "too many restarts")
        sup.tree.publish(EventName.CHILD_PARKED, child, detail)
        return
    sup.report(ReportContext.SHUTDOWN, child, "reached_max_restart_intensity")
    child.wanted = False
    sup.down(child, "too many restarts")
    sup.end(SHUTDOWN, Why.INTENSITY, child)


def _delay_s(sup: Supervisor, child: Child) -> float:
    backoff = child.spec.backoff
    if backoff is None:
        return 0.0
    if child.started_at is not None:
        child.attempt = next_attempt(backoff, child.attempt, sup.tree.now - child.started_at)
    jitter = sup.tree.jitter() if backoff.jitter else 0.0
    wait_s = delay_s(backoff, child.attempt, jitter)
    child.attempt += 1
    return wait_s


def _back_off(sup: Supervisor, lane: Lane, child: Child, wait_s: float) -> None:
    """Wait; a group waits for its largest delay, and a failure meanwhile joins it."""
    deadline = sup.tree.now + wait_s
    members = strategy.group(sup.spec.strategy, sup.children.values(), child)
    sup.tree.move(child, ChildState.BACKOFF, f"restart in {wait_s:.3g} s")
    detail = {"delay_s": wait_s, "attempt": child.attempt, "error": child.error}
    sup.tree.publish(EventName.CHILD_BACKOFF, child, detail)
    if sup.spec.strategy in _GROUPED:
        waiting = [c for c in sup.children.values() if c.timer and c.state is ChildState.BACKOFF]
        deadline = max([deadline, *(c.deadline for c in waiting)])
        for other in waiting:
            set_timer(sup, other, "backoff", deadline)
        siblings = [c for c in reversed(members) if c is not child and c not in waiting]
        for sibling in siblings:
            sibling.waiting_for = f"restart of {child.id}"
        lane.work = Work(Purpose.CLEAR, lane, stops=deque(siblings))
    set_timer(sup, child, "backoff", deadline)


def backoff_elapsed(sup: Supervisor, lane: Lane, message: BackoffElapsed) -> None:
    child = message.child
    if child.timer is None or child.generation != message.generation:
        return
    if child.state is ChildState.BACKOFF and sup.tree.now >= child.deadline:
        waiting = (c for c in sup.children.values() if c.timer and c.state is child.state)
        grouped = sup.spec.strategy in _GROUPED
        _carry_out(sup, lane, next(waiting) if grouped else child)


def _carry_out(sup: Supervisor, lane: Lane, child: Child) -> None:
    """Stop the group in stop order, then start it in start order (OTP)."""
    members = strategy.group(sup.spec.strategy, sup.children.values(), child)
    work = Work(Purpose.RESTART, lane, subject=child)
    if len(members) == 1:
        work.starts.append(child)
    else:
        if child.state is ChildState.BACKOFF:
            # OTP: a retry leaves the whole group undefined, also the child that it is due to;
            # if one before it fails to start, that one is restarting and this one is not.
            cancel_timer(sup, child)
            sup.tree.move(child, ChildState.STOPPED, "restarted with its group")
        work.stops.extend(m for m in reversed(members) if m is not child)
        work.starts.extend(m for m in members if m.spec.restart is not Restart.TEMPORARY)
    lane.work = work


def _consider_auto_shutdown(sup: Supervisor, child: Child) -> None:
    """OTP: a significant child has ended by itsup and is not restarted."""
    mode = sup.spec.auto_shutdown
    if mode is AutoShutdown.NEVER or not child.spec.significant:
        return
    if mode is AutoShutdown.ALL_SIGNIFICANT and any(
        (sup.simple or c.spec.significant) and c.state in _LIVE_OR_RESTARTING
        for c in sup.children.values()
    ):
        return
    sup.end(SHUTDOWN, Why.SIGNIFICANT, child)
