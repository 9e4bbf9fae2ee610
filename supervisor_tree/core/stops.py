"""How a supervisor stops the children of a work: one after the other, or all at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from supervisor_tree.core import life, strategy
from supervisor_tree.core.actions import ReportContext
from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.needs import needed_path
from supervisor_tree.core.specs import Restart
from supervisor_tree.core.timers import cancel_timer
from supervisor_tree.core.work import Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["stop_next", "stopped"]


def stop_next(sup: Supervisor, work: Work) -> None:
    """Stop the first of `work.stops`; if they go together, all that nobody needs any more."""
    if not work.together:
        _stop_one(sup, work, work.stops.popleft())
        return
    stops, work.stops = work.stops, deque()
    # Looked at before the first is stopped: whoever is freed by that comes again.
    for child in [child for child in stops if child not in work.blocked]:
        _stop_one(sup, work, child)


def _stop_one(sup: Supervisor, work: Work, child: Child) -> None:
    state = child.state
    if state is ChildState.RUNNING and child.exit is not None:
        # OTP: already dead; the queued exit is taken as the answer.
        reason = child.exit
        child.bury()
        _stopped(sup, work, child, reason)
        return
    if state in ALIVE:
        child.starter = None
        child.stopper = work
        work.awaiting += 1
        if work.purpose is Purpose.KILL:
            if state is not ChildState.KILLING:
                life.kill(sup, child)
        elif state not in (ChildState.STOPPING, ChildState.KILLING):
            life.stop(sup, child, sup.tree.now)
        return
    cancel_timer(sup, child)
    if state is ChildState.BACKOFF and work.purpose in (Purpose.RESTART, Purpose.CLEAR):
        sup.tree.move(child, ChildState.STOPPED, "restarted with its group")
    elif state is ChildState.BACKOFF:
        sup.down(child, "restart called off")
    elif (
        work.purpose in (Purpose.RESTART, Purpose.CLEAR) and child.spec.restart is Restart.TEMPORARY
    ):
        sup.down(child, "forgotten")
    _unblock(sup, work, child)


def stopped(sup: Supervisor, child: Child, reason: ExitReason) -> None:
    """The end of a child that a work waits for."""
    work = child.stopper
    assert work is not None, child
    child.stopper = None
    work.awaiting -= 1
    _stopped(sup, work, child, reason)
    sup.tree.wake(work.lane)


def _stopped(sup: Supervisor, work: Work, child: Child, reason: ExitReason) -> None:
    spec = child.spec
    if work.purpose is not Purpose.KILL and strategy.is_shutdown_error(
        spec.shutdown_or_default, spec.restart, reason
    ):
        if sup.simple and work.purpose is Purpose.END:
            # OTP: once per reason, when all are down.
            work.errors.setdefault(reason.term, (child, reason))
        else:
            sup.report(ReportContext.SHUTDOWN_ERROR, child, reason.term)
    keep = work.purpose in (Purpose.HOLD, Purpose.RENEW, Purpose.TRY)
    if work.purpose in (Purpose.HOLD, Purpose.TERMINATE, Purpose.END, Purpose.KILL):
        child.wanted = False
    sup.down(child, "stopped", forget=None if not keep else False)
    _unblock(sup, work, child)


def _unblock(sup: Supervisor, work: Work, child: Child) -> None:
    """Under a concurrent supervisor what a child needs is stopped after it."""
    if not work.blocked:
        return
    for need in child.spec.needs:
        other = sup.tree.children.get(needed_path(sup.path, need))
        if other is not None and other in work.blocked:
            work.blocked[other] -= 1
            if work.blocked[other] == 0:
                del work.blocked[other]
                work.stops.append(other)
