"""The closed set of what a tree asks of the world.

The shell (`runtime.driver`) carries each one out and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from supervisor_tree.core.exits import ExitReason, Term
from supervisor_tree.core.lifecycle import LifecycleEvent
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.core.stimuli import TimerKey

__all__ = [
    "Action",
    "CancelTimer",
    "HoldChanged",
    "Publish",
    "ReloadChild",
    "Reply",
    "Report",
    "ReportContext",
    "SetTimer",
    "SignalChild",
    "StartChild",
    "StopSignal",
    "TreeEnded",
    "Why",
]


class StopSignal(StrEnum):
    """How to end a child; the core does not know the platform's numbers."""

    STOP = "stop"  # its stop_signal, to the leader; what it leaves behind is ended by the launcher
    KILL = "kill"  # SIGKILL to the whole scope
    ABORT = "abort"  # SIGABRT to the leader, which can say where it stands before it ends


@dataclass(frozen=True, slots=True)
class StartChild:
    """Begin a new life.  Answered by ChildSpawned and ChildReady, or a failure."""

    path: str
    generation: int
    spec: ChildSpec
    args: Any = None  # what start_child gave, under simple_one_for_one
    code: int = 0  # number of the code to run, as `stimuli.ApplyRequested` counts them


@dataclass(frozen=True, slots=True)
class SignalChild:
    """End a life.  Answered by ChildExited when its scope is empty."""

    path: str
    generation: int
    signal: StopSignal


@dataclass(frozen=True, slots=True)
class ReloadChild:
    """Have a running life read its files again, by the signal that its specification names."""

    path: str
    generation: int
    signal: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Deliver TimerFired(key) at time `at`; the same key replaces an older timer."""

    key: TimerKey
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget a timer; a TimerFired already under way is ignored by the core."""

    key: TimerKey


@dataclass(slots=True)  # not frozen, as LifecycleEvent
class Publish:
    """Tell whoever listens."""

    event: LifecycleEvent


@dataclass(frozen=True, slots=True)
class HoldChanged:
    """Remember what an operator wants of the child at `path`, for the next life of the host.

    `down`: True, it is to stay down; False, it is wanted up though its specification says
    `enabled: false`; None, its specification is in force again.  `request` is the order's number.
    """

    path: str
    down: bool | None
    request: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to request number `request`: OTP's return value, tuples as tuples."""

    request: int
    result: Any


class ReportContext(StrEnum):
    """OTP's supervisor reports (supervisor manual, sasl "supervisor report")."""

    START_ERROR = "start_error"
    CHILD_TERMINATED = "child_terminated"
    SHUTDOWN_ERROR = "shutdown_error"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the host's log, as OTP's supervisor would write it."""

    supervisor: str
    generation: int
    context: ReportContext
    id: str | None
    reason: Term


class Why(StrEnum):
    """What made a supervisor end."""

    STOPPED = "stopped"  # its parent asked
    KILLED = "killed"
    INTENSITY = "intensity"  # too many restarts
    SIGNIFICANT = "significant"  # auto_shutdown
    BOOT = "boot"  # a child failed to start, or the specification is off


@dataclass(frozen=True, slots=True)
class TreeEnded:
    """A top-level supervisor has ended.

    `cause` is the path whose end brought it down, if any: followed downwards through
    nested supervisors that ended because of one of theirs.  `cause_exit` is how that
    child's last life ended.
    """

    path: str
    reason: ExitReason
    cause: str | None = None
    why: Why = Why.STOPPED
    cause_exit: ExitReason | None = None

    @property
    def exit_code(self) -> int:
        """What a host whose tree this was ends with.

        0 if it was asked to; 70 (sysexits.h, EX_SOFTWARE) when restarts are used up; a
        significant child's own code, or 128 and its signal as a shell says it; else 1.
        """
        if self.why in (Why.STOPPED, Why.KILLED):
            return 0
        if self.why is Why.INTENSITY:
            return 70
        if self.why is Why.SIGNIFICANT and self.cause_exit is not None:
            reason = self.cause_exit
            return 128 + reason.signal if reason.signal is not None else reason.code or 0
        return 1


Action: TypeAlias = (
    StartChild
    | SignalChild
    | ReloadChild
    | SetTimer
    | CancelTimer
    | Publish
    | HoldChanged
    | Reply
    | Report
    | TreeEnded
)
