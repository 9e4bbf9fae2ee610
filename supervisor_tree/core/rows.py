"""The picture of a child that readers get, and reasons as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor_tree.core.child import Child, ChildRow, ChildState
from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.explanation import ground_of
from supervisor_tree.core.holds import kept_down_by
from supervisor_tree.core.specs import Kind

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["plain_reason", "row_of_child", "row_of_top"]

_LIMITED = frozenset({ChildState.STARTING, ChildState.STOPPING})


def plain_reason(reason: ExitReason) -> dict[str, Any]:
    """As events carry it."""
    return {
        "kind": reason.kind.value,
        "code": reason.code,
        "signal": reason.signal,
        "oom": reason.oom,
        "watchdog": reason.watchdog,
        "start_timeout": reason.start_timeout,
        "term": reason.term,
    }


def row_of_child(child: Child) -> ChildRow:
    """A child that has ended is shown as stopped, also before its exit has had its turn."""
    spec, state = child.spec, child.state
    if child.exit is not None:
        state = ChildState.STOPPED
    elif child.inner is not None and state is ChildState.RUNNING:
        state = _state_of_supervisor(child.inner)
    nested = spec.supervisor
    return ChildRow(
        path=child.path,
        id=child.id,
        kind=spec.kind,
        state=state,
        ready=child.ready,
        pid=None if child.exit is not None else child.pid,
        generation=child.generation,
        restarts=child.restarts,
        since=child.since,
        started_at=child.started_at,
        wanted="up" if child.wanted else "down",
        kept_down_by=kept_down_by(child.owner.tree, child),
        last_exit=child.last_exit,
        strategy=None if nested is None else nested.strategy,
        error=child.error,
        next_start_at=child.deadline if state is ChildState.BACKOFF and child.timer else None,
        waiting_for=child.waiting_for if state is ChildState.STOPPED else None,
        limit_at=child.deadline if state in _LIMITED and child.timer else None,
        because=ground_of(child)[0].value if state is ChildState.STOPPED else None,
    )


def _state_of_supervisor(sup: Supervisor) -> ChildState:
    """The phase of a supervisor in the words of a child's state."""
    return _STATES[sup.phase.name]


_STATES = {
    "BOOTING": ChildState.STARTING,
    "ACTIVE": ChildState.RUNNING,
    "ENDING": ChildState.STOPPING,
    "GONE": ChildState.STOPPED,
}


def row_of_top(sup: Supervisor) -> ChildRow:
    """A top-level supervisor has no record in a parent's list."""
    state = _state_of_supervisor(sup)
    up = state in (ChildState.STARTING, ChildState.RUNNING)
    return ChildRow(
        path=sup.path,
        id=sup.path,
        kind=Kind.SUPERVISOR,
        state=state,
        ready=state is ChildState.RUNNING,
        pid=None,
        generation=sup.generation,
        restarts=0,
        since=sup.since,
        started_at=sup.started_at,
        wanted="up" if up else "down",
        kept_down_by=None,
        last_exit=None,
        strategy=sup.spec.strategy,
        error=None,
        next_start_at=None,
        waiting_for=None,
    )
