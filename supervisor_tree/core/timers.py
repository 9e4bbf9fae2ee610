"""The one timer of a child: set, cancelled, and looked at when it fires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor_tree.core.actions import CancelTimer, SetTimer
from supervisor_tree.core.child import Child
from supervisor_tree.core.stimuli import TimerFired, TimerKey

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["cancel_timer", "is_due", "set_timer"]


def set_timer(sup: Supervisor, child: Child, name: str, at: float) -> None:
    """A child has one timer at most; the state says which."""
    key = TimerKey(child.path, name, child.generation)
    if child.timer != key:
        cancel_timer(sup, child)
    child.timer = key
    child.deadline = at
    sup.tree.emit(SetTimer(key, at))


def cancel_timer(sup: Supervisor, child: Child) -> None:
    """Forget the child's timer, if it has one."""
    if child.timer is not None:
        sup.tree.emit(CancelTimer(child.timer))
        child.timer = None


def is_due(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> bool:
    """Whether the child's timer has elapsed, which forgets it; too early, it is set again."""
    if stimulus.key != child.timer:
        return False
    if now < child.deadline:
        sup.tree.emit(SetTimer(stimulus.key, child.deadline))
        return False
    child.timer = None
    return True
