"""What follows from the outcome of a start.

Which work had asked for the start decides: the same failure rolls back a boot, is tried
again after a crash, is only answered after start_child, and is both answered and tried again
after an operator's order (`work.Purpose`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor_tree.core.actions import ReportContext, Why
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import ExitKind, ExitReason, Term
from supervisor_tree.core.holds import hold
from supervisor_tree.core.specs import Restart
from supervisor_tree.core.stimuli import HoldRequested, RestartRequested
from supervisor_tree.core.work import Purpose, Retry, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["broken_off", "failed", "ignored", "succeeded"]


def succeeded(sup: Supervisor, work: Work, child: Child, info: Term) -> None:
    """OTP: {ok, Pid} or {ok, Pid, Info}."""
    sup.settled(work)
    result = ("ok", child.handle) if info is None else ("ok", child.handle, info)
    if work.request is not None:
        sup.tree.reply(work.request, result)
        work.request = None
    _answer(sup, child, result)


def ignored(sup: Supervisor, work: Work, child: Child) -> None:
    """OTP: `ignore`.  The child becomes undefined; there is no retry (OTP)."""
    sup.settled(work)
    child.wanted = False
    # OTP keeps what an order has started, also a temporary child that an upgrade had added.
    kept = work.purpose in (Purpose.REVIVE, Purpose.START) and not sup.simple
    sup.down(child, "start ignored", forget=False if kept else None)
    if work.request is not None:
        sup.tree.reply(work.request, ("ok", None))
        work.request = None
    _answer(sup, child, ("ok", None))


def broken_off(sup: Supervisor, work: Work, child: Child) -> None:
    """Orders about this child have broken off its start: the last one is what happens now."""
    orders, child.breakers = child.breakers, []
    if isinstance(orders[-1], RestartRequested):
        child.askers.extend(order.request for order in orders[:-1])
        child.askers.append(orders[-1].request)
        sup.down(child, "start broken off", forget=False)
        work.starts.appendleft(child)
        return
    sup.settled(work)
    child.wanted = False
    if work.request is not None:
        sup.tree.reply(work.request, ("error", "aborted"))
        work.request = None
    held = isinstance(orders[-1], HoldRequested)
    if held:
        hold(sup.tree, child, orders[-1])
    forgotten = work.purpose is Purpose.ADD and not held
    sup.down(child, "start broken off", forget=forgotten)
    for order in orders:
        sup.tree.reply(order.request, ("ok",))
    _answer(sup, child, ("error", "aborted"))


def _answer(sup: Supervisor, child: Child, result: Any) -> None:
    """Answer those who wait for this start besides the work that had asked for it."""
    for request in child.askers:
        sup.tree.reply(request, result)
    child.askers.clear()


def failed(sup: Supervisor, work: Work, child: Child, reason: Term) -> None:
    """OTP: {error, Reason}."""
    child.error = reason
    _answer(sup, child, ("error", reason))
    if work.request is not None:
        with_record = work.purpose is Purpose.ADD and not sup.simple
        shown: Term = (reason, "child") if with_record else reason
        sup.tree.reply(work.request, ("error", shown))
        work.request = None
    if work.purpose is Purpose.ADD:
        sup.down(child, "start failed", forget=True)
        return
    temporary = child.spec.restart is Restart.TEMPORARY
    if work.purpose in (Purpose.REVIVE, Purpose.TRY) or (
        work.purpose is Purpose.START and temporary
    ):
        child.wanted = False
        sup.down(child, "start failed", forget=False)
        return
    if work.purpose is Purpose.RENEW and temporary:
        sup.down(child, "start failed")
        return
    sup.report(ReportContext.START_ERROR, child, reason)
    if work.purpose is Purpose.BOOT and not sup.concurrent:
        sup.down(child, "start failed")
        if not sup.ending:
            _roll_back(sup, child, reason)
        return
    # OTP: not a loop but a message to onesup, so that requests come in between.
    sup.settled(work)
    work.starts.clear()
    sup.tree.move(child, ChildState.BACKOFF, "start failed")
    sup.post(child.lane, Retry(child.id))


def _roll_back(sup: Supervisor, child: Child, reason: Term) -> None:
    """OTP: stop what has been started; no retry, no counting."""
    term = ("shutdown", ("failed_to_start_child", child.id, reason))
    sup.end(ExitReason(kind=ExitKind.SHUTDOWN, term=term), Why.BOOT, child)
