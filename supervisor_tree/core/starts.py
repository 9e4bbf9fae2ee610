"""How a supervisor starts the next child of a work, and how one waits for what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor_tree.core import life
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.holds import is_held
from supervisor_tree.core.needs import first_missing
from supervisor_tree.core.timers import cancel_timer
from supervisor_tree.core.work import Lane, Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["forget_deferred", "resume", "start_next"]

_STARTABLE = frozenset({ChildState.STOPPED, ChildState.BACKOFF})


def start_next(sup: Supervisor, lane: Lane, work: Work) -> None:
    """Start the first of `work.starts`, or pass it over, or lay the work aside until it can."""
    child = work.starts[0]
    if _is_passed_over(sup, work, child):
        work.starts.popleft()
        if child.state in _STARTABLE and is_held(sup.tree, child):
            child.wanted = False
            cancel_timer(sup, child)
            if child.state is ChildState.BACKOFF:
                sup.tree.move(child, ChildState.STOPPED, "held")
        sup.settled(work)
    elif _waits(sup, lane, child):
        cancel_timer(sup, child)
        if child.state is not ChildState.STOPPED:
            sup.tree.move(child, ChildState.STOPPED, f"waiting for {child.waiting_for}")
        lane.work = None
        lane.deferred.append(work)
        sup.settled(work)
        if sup.tree.application is not None:
            sup.tree.application.deferred(work)
    else:
        work.starts.popleft()
        life.begin_start(sup, child, work, sup.tree.now)


def _is_passed_over(sup: Supervisor, work: Work, child: Child) -> bool:
    """It is up already, is held, waits for a restart of its own, or is gone."""
    by_rule = work.purpose in (Purpose.BOOT, Purpose.RESTART)
    return (
        child.state not in _STARTABLE
        or (work.purpose is Purpose.BOOT and child.state is ChildState.BACKOFF)
        or (by_rule and is_held(sup.tree, child))
        or sup.children.get(child.id) is not child
    )


def _waits(sup: Supervisor, lane: Lane, child: Child) -> bool:
    """Whether something that the child needs is missing; if so the lane is told of it."""
    missing = first_missing(sup.tree, child)
    if missing is None:
        return False
    path, need = missing
    child.waiting_for = f"{need.child} {need.condition.value}"
    sup.tree.watch(path, lane)
    return True


def resume(sup: Supervisor, lane: Lane) -> bool:
    """Take up a work that waited for what a child needs, if that is there now."""
    for work in lane.deferred:
        child = work.starts[0]
        if _is_passed_over(sup, work, child) or not _waits(sup, lane, child):
            lane.deferred.remove(work)
            lane.work = work
            return True
    return False


def forget_deferred(sup: Supervisor, child: Child) -> None:
    """An order about a child ends its waiting for what it needs."""
    for work in list(child.lane.deferred):
        if child in work.starts:
            work.starts.remove(child)
            if work.request is not None and work.subject is child:
                sup.tree.reply(work.request, ("error", "aborted"))
                work.request = None
            if not work.starts:
                child.lane.deferred.remove(work)
                sup.finish(work)
    child.waiting_for = None
