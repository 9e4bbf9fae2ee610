"""A running child gives signs of life, or its scope is ended.

Two budgets: `idle`, how long it may be silent, and `busy`, how long it may work on something
that it has announced.  A beat (WATCHDOG=1 of sd_notify(3)) counts against the first alone: it
comes from the child's loop, and says nothing of a tool that hangs while the loop turns.  What
counts against the second is word of the work itself.  Without a budget for it, work that is
announced is held to `idle` like everything else.

A child that has used its budget up is told of.  It is sent SIGABRT, systemd's WatchdogSignal=,
so that it can say where it stands, and `ABORT_S` later its scope is killed.  For the rules that
is an abnormal exit, whatever its status.  All the while it counts as running: orders about it
are carried out as ever, and beats come too late.

The watch begins when the child is ready and ends when it is told to stop.  A beat only moves
the deadline, and a timer that fires before it is set again, so that beats cost next to nothing.
A timer that fires `LATE_S` after it shows that we have been deaf ourselves, stopped or starved:
what a child has said meanwhile may be lost, so it gets another budget.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from supervisor_tree.core.actions import SignalChild, StopSignal
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import ExitKind, ExitReason
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.core.stimuli import (
    ChildBeat,
    ChildBusy,
    TimerFired,
    WatchdogChanged,
    WatchdogTriggered,
)
from supervisor_tree.core.timers import cancel_timer, is_due, set_timer

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = [
    "ABORT_S",
    "LATE_S",
    "Watch",
    "beat",
    "begin",
    "busy",
    "changed",
    "fired",
    "reason_of",
    "triggered",
    "watch_of",
]

ABORT_S = 2.0
LATE_S = 1.0

_WATCHDOG, _ABORT = "watchdog", "abort"


@dataclass(slots=True)
class Watch:
    """What is known of the signs of life of one life.

    `label` is what it is busy with, None if it is not.  `heard` is when the last sign came.
    `hit` is what has ended it: "idle", "busy", or "trigger" if it has asked for it.
    """

    idle: float | None = None
    busy: float | None = None
    label: str | None = None
    heard: float = 0.0
    hit: str | None = None

    @property
    def budget(self) -> str:
        """The name of the one in force."""
        return "busy" if self.label is not None and self.busy is not None else "idle"

    @property
    def budget_s(self) -> float | None:
        """The one in force, None: there is none."""
        return self.busy if self.budget == "busy" else self.idle


def watch_of(spec: ChildSpec) -> Watch | None:
    """That of a new life; None for one that is not watched."""
    given = spec.watchdog
    return None if given is None else Watch(given.idle, given.busy)


def begin(sup: Supervisor, child: Child, now: float) -> None:
    """A sign of life, or the first moment that one is asked for: the whole budget is left."""
    watch = child.watch
    if watch is None or watch.hit is not None:
        return
    if child.state is not ChildState.RUNNING or child.exit is not None:
        return
    watch.heard = now
    budget_s = watch.budget_s
    if budget_s is None:
        cancel_timer(sup, child)
    else:
        set_timer(sup, child, _WATCHDOG, now + budget_s)


def reason_of(child: Child, reason: ExitReason) -> ExitReason:
    """Why a life has ended: a watchdog's hit goes over whatever the status says."""
    if child.watch is None or child.watch.hit is None:
        return reason
    hit = child.watch.hit
    return replace(reason, kind=ExitKind.ABNORMAL, term=("watchdog", hit), watchdog=hit)


# --- what comes in ---------------------------------------------------------------------


def beat(sup: Supervisor, child: Child, stimulus: ChildBeat, now: float) -> None:
    """Thousands come of these, so it is the deadline that moves and not the timer."""
    watch = child.watch
    if watch is None or watch.hit is not None or child.timer is None:
        return
    if watch.idle is not None and watch.budget == "idle":
        watch.heard = now
        child.deadline = now + watch.idle


def busy(sup: Supervisor, child: Child, stimulus: ChildBusy, now: float) -> None:
    """It begins or ends to be busy, or tells how its work goes on; also while it starts."""
    if child.watch is not None:
        child.watch.label = stimulus.label
        begin(sup, child, now)


def changed(sup: Supervisor, child: Child, stimulus: WatchdogChanged, now: float) -> None:
    """It wants another budget, or one at all (WATCHDOG_USEC=); also while it starts."""
    watch = child.watch = child.watch or Watch()
    watch.idle = stimulus.idle
    if watch.budget == "idle":
        begin(sup, child, now)


def triggered(sup: Supervisor, child: Child, stimulus: WatchdogTriggered, now: float) -> None:
    """It asks to be treated as one that is silent (WATCHDOG=trigger), watched or not."""
    watch = child.watch = child.watch or Watch(heard=now)
    if watch.hit is None and child.exit is None:
        _hit(sup, child, watch, "trigger", now)


def fired(sup: Supervisor, child: Child, stimulus: TimerFired, now: float) -> None:
    """Of a running child: a budget is used up, or the time to write where it stands."""
    late = now - child.deadline > LATE_S
    if not is_due(sup, child, stimulus, now):
        return
    watch = child.watch
    assert watch is not None, child
    if watch.hit is not None:
        sup.tree.emit(SignalChild(child.path, child.generation, StopSignal.KILL))
    elif late:
        begin(sup, child, now)
    else:
        _hit(sup, child, watch, watch.budget, now)


def _hit(sup: Supervisor, child: Child, watch: Watch, by: str, now: float) -> None:
    watch.hit = by
    child.remember(child.state, f"watchdog: {by}", now)
    silent_s = round(now - watch.heard, 3)
    detail = {"budget": by, "label": watch.label, "silent_s": silent_s}
    sup.tree.publish(EventName.CHILD_UNRESPONSIVE, child, detail)
    sup.tree.emit(SignalChild(child.path, child.generation, StopSignal.ABORT))
    set_timer(sup, child, _ABORT, now + ABORT_S)
