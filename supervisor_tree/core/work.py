"""What a supervisor has to do, and what it does now.

OTP's supervisor blocks while a child starts or stops, and everything that comes in
meanwhile waits in its mailbox.  A Lane is that mailbox with the Work in hand; it never
blocks, but it takes the next message only when the work is done, which gives the same order.
A sequential supervisor has one lane.  In a concurrent one every child has its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.stimuli import Stimulus

if TYPE_CHECKING:
    from supervisor_tree.core.child import Child
    from supervisor_tree.core.supervisor import Supervisor

__all__ = [
    "BackoffElapsed",
    "Boot",
    "ExitNotice",
    "Lane",
    "Message",
    "ParentStop",
    "Purpose",
    "Retry",
    "Work",
]


class Purpose(Enum):
    """Why children are stopped or started; decides what a failure means."""

    BOOT = auto()  # failure: roll back and end
    RESTART = auto()  # failure: try again, counted
    CLEAR = auto()  # stop a group whose restart waits for a backoff
    ADD = auto()  # start_child; failure: forget the child
    REVIVE = auto()  # restart_child; failure: the child stays down (OTP)
    START = auto()  # an operator's start; failure: answer, then try again, counted
    RENEW = auto()  # an operator's restart; failure: answer, then try again, counted
    TRY = auto()  # the same on trial; failure: the child stays down, its old self is put back
    TERMINATE = auto()  # terminate_child
    HOLD = auto()  # an operator's stop; a temporary child is kept, too
    END = auto()  # stop all, then end
    KILL = auto()  # the supervisor has been killed: kill all, then end


@dataclass(slots=True, eq=False)
class Work:
    """At most one effect is in flight: the start of `starting`, or `awaiting` stops."""

    purpose: Purpose
    lane: Lane
    stops: deque[Child] = field(default_factory=deque)
    starts: deque[Child] = field(default_factory=deque)
    together: bool = False  # stop all at once
    starting: Child | None = None
    awaiting: int = 0
    settled: bool = False  # concurrent boot: this first start has had its outcome
    request: int | None = None
    subject: Child | None = None  # whom the request is about, or who made the supervisor end
    reason: ExitReason | None = None  # END, KILL: with which the supervisor will end
    errors: dict[object, tuple[Child, ExitReason]] = field(default_factory=dict)
    blocked: dict[Child, int] = field(default_factory=dict)  # needed by so many live siblings


@dataclass(frozen=True, slots=True)
class Boot:
    """First message of every supervisor.  `parked`: its children wait for an operator."""

    parked: bool = False


@dataclass(frozen=True, slots=True)
class ExitNotice:
    """A child that was running has ended; void if another stop has used it up meanwhile."""

    child: Child
    generation: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again to start this id; void unless it is restarting when its turn comes (OTP)."""

    id: str


@dataclass(frozen=True, slots=True)
class BackoffElapsed:
    """The delay of this life's successor is over."""

    child: Child
    generation: int


@dataclass(frozen=True, slots=True)
class ParentStop:
    """The exit signal of the parent."""

    reason: ExitReason


Message: TypeAlias = Boot | ExitNotice | Retry | BackoffElapsed | ParentStop | Stimulus


@dataclass(slots=True, eq=False)
class Lane:
    """One mailbox, one work in hand, and works that wait for what a child needs.

    Lists: there may be one lane per child, mostly empty, and an empty deque takes 760 bytes.
    """

    supervisor: Supervisor
    mailbox: list[Message] = field(default_factory=list)
    work: Work | None = None
    deferred: list[Work] = field(default_factory=list)
    queued: bool = False  # is in the tree's queue of lanes to run
