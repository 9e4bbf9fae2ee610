"""What must always be true of a tree.  Called by tests after each step."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.work import BackoffElapsed, Lane, Retry

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor
    from supervisor_tree.core.tree import Tree

__all__ = ["validate"]

_TIMED = {
    ChildState.STARTING: ("start",),
    ChildState.RUNNING: ("watchdog", "abort"),
    ChildState.STOPPING: ("shutdown",),
    ChildState.BACKOFF: ("backoff",),
}


def validate(tree: Tree) -> None:
    """Raise AssertionError, with the story of the child, if two facts contradict each other."""
    reached = 0
    for sup in tree.supervisors.values():
        assert sup.phase.name != "GONE", sup.path
        for child_id, child in sup.children.items():
            reached += 1
            assert child.id == child_id, child
            assert child.owner is sup, child
            assert tree.children.get(child.path) is child, child
            _validate_child(tree, child)
        for lane in sup.lanes():
            _validate_lane(sup, lane)
    assert reached == len(tree.children), "a child without a supervisor"
    assert not tree.busy, "a lane was left with something to do"


def _validate_child(tree: Tree, child: Child) -> None:
    story = (repr(child), list(child.story), child.lane.work, list(child.lane.mailbox))
    nested = tree.supervisors.get(child.path)
    assert nested is child.inner, story
    if child.state not in ALIVE:
        assert child.pid is None, story
        assert child.inner is None, story
        assert child.exit is None, story
        assert not child.killers, story
    assert child.ready == (child.state is ChildState.RUNNING and child.exit is None) or (
        child.state in (ChildState.STOPPING, ChildState.KILLING)
    ), story
    if child.exit is not None:
        assert child.timer is None, story
    if child.timer is not None:
        assert child.timer.name in _TIMED.get(child.state, ()), story
        assert child.timer.generation == child.generation, story
    assert (child.starter is None) or child.starter.starting is child, story
    _validate_way_out(child, story)


def _validate_way_out(child: Child, story: object) -> None:
    """Whoever waits has something that ends the waiting."""
    state = child.state
    if state is ChildState.STARTING:
        assert child.starter is not None, story
    if state in (ChildState.STOPPING, ChildState.KILLING):
        assert child.stopper is not None or child.starter is not None, story
    if state is ChildState.STOPPING:
        assert child.timer is not None or child.deadline == inf, story
    if state is ChildState.BACKOFF and child.timer is None:
        work = child.lane.work
        at_hand = work is not None and child in work.starts
        due = any(isinstance(m, Retry) and m.id == child.id for m in child.lane.mailbox)
        assert at_hand or due, story


def _validate_lane(sup: Supervisor, lane: Lane) -> None:
    work = lane.work
    resting = lane is not sup.lane and sup.phase.name == "ENDING"
    assert work is not None or not lane.mailbox or resting, (sup.path, lane.mailbox)
    waiting_backoffs = [m for m in lane.mailbox if isinstance(m, BackoffElapsed)]
    assert len(waiting_backoffs) <= len(sup.children) * 2 + 2, sup.path
    for deferred in lane.deferred:
        assert deferred.starts, sup.path
        # An order may take the one that waits; the rest goes on when the lane is free.
        assert work is not None or deferred.starts[0].waiting_for is not None, sup.path
    if work is None:
        return
    assert work.starting is not None or work.awaiting > 0, (sup.path, work.purpose)
    awaited = sum(child.stopper is work for child in sup.children.values())
    assert awaited == work.awaiting, (sup.path, work.purpose, awaited, work.awaiting)
    if work.starting is not None:
        assert work.starting.starter is work, (sup.path, work.starting)
