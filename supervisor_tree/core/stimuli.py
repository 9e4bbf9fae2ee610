"""The closed set of what can happen to a tree.

A stimulus about a process names the life it is about by (path, generation): a notice
from a former life is then harmless.  Requests carry the number under which the answer
is given back (`actions.Reply`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from supervisor_tree.core.exits import SHUTDOWN, ExitReason, Term
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec

__all__ = [
    "BootRequested",
    "ChildExited",
    "ChildReady",
    "ChildSpawned",
    "ChildStartFailed",
    "ChildStartIgnored",
    "CountChildrenRequested",
    "DeleteChildRequested",
    "GetChildspecRequested",
    "HoldRequested",
    "KillRequested",
    "ReleaseRequested",
    "ResetFailedRequested",
    "RestartChildRequested",
    "RestartRequested",
    "ShutdownRequested",
    "StartChildRequested",
    "StartTimeoutExtended",
    "Stimulus",
    "TerminateChildRequested",
    "TimerFired",
    "TimerKey",
    "UpgradeRequested",
    "WhichChildrenRequested",
]


@dataclass(frozen=True, slots=True)
class TimerKey:
    """A timer belongs to one life of one child; `name` says which of its timers it is."""

    path: str
    name: str
    generation: int


# --- what the launcher reports -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildSpawned:
    """The process exists.  It is not ready yet, unless its readiness is `none`."""

    path: str
    generation: int
    pid: int


@dataclass(frozen=True, slots=True)
class ChildReady:
    """OTP: the start function has returned {ok, Pid} or {ok, Pid, Info}."""

    path: str
    generation: int
    info: Term = None


@dataclass(frozen=True, slots=True)
class ChildStartFailed:
    """OTP: the start function has returned {error, R}.  No process of it is left."""

    path: str
    generation: int
    reason: Term


@dataclass(frozen=True, slots=True)
class ChildStartIgnored:
    """OTP: the start function has returned `ignore`.  No process of it is left."""

    path: str
    generation: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The process has ended and its scope is empty.  Before ChildReady: its start failed."""

    path: str
    generation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class StartTimeoutExtended:
    """EXTEND_TIMEOUT_USEC: the child asks for `seconds` more from now, to start or to stop."""

    path: str
    generation: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by actions.SetTimer has elapsed."""

    key: TimerKey


# --- OTP's run-time interface --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BootRequested:
    """Start a top-level supervisor ("/" or "/_")."""

    path: str
    spec: SupervisorSpec


@dataclass(frozen=True, slots=True)
class StartChildRequested:
    """supervisor:start_child/2.  Under simple_one_for_one `name` and `args` make the instance."""

    request: int
    supervisor: str
    spec: ChildSpec | None = None
    name: str | None = None
    args: Any = None


@dataclass(frozen=True, slots=True)
class TerminateChildRequested:
    """supervisor:terminate_child/2.  Under simple_one_for_one `id` is the instance's name.

    With a `generation` only that life is meant, as OTP means a pid: a life that is over
    already is answered with ok, and its successor is not touched.
    """

    request: int
    supervisor: str
    id: str
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class RestartChildRequested:
    """supervisor:restart_child/2."""

    request: int
    supervisor: str
    id: str


@dataclass(frozen=True, slots=True)
class DeleteChildRequested:
    """supervisor:delete_child/2."""

    request: int
    supervisor: str
    id: str


@dataclass(frozen=True, slots=True)
class GetChildspecRequested:
    """supervisor:get_childspec/2."""

    request: int
    supervisor: str
    id: str


@dataclass(frozen=True, slots=True)
class WhichChildrenRequested:
    """supervisor:which_children/1."""

    request: int
    supervisor: str


@dataclass(frozen=True, slots=True)
class CountChildrenRequested:
    """supervisor:count_children/1."""

    request: int
    supervisor: str


@dataclass(frozen=True, slots=True)
class UpgradeRequested:
    """sys:change_code: new flags and specifications for a running supervisor; None is `ignore`."""

    request: int
    supervisor: str
    spec: SupervisorSpec | None


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The parent of a top-level supervisor asks it to end."""

    path: str
    reason: ExitReason = SHUTDOWN


# --- an operator's orders (our own; each is answered when it is done) -------------------


@dataclass(frozen=True, slots=True)
class HoldRequested:
    """`stop PATH`: end the child (a supervisor: its sub-tree) and keep it down until released.

    Unlike terminate_child, a group restart does not revive it.
    """

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """`start PATH`: the child is wanted up again; answered when it is ready or has failed."""

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """`restart PATH`: stop, then start anew.  Counts no restart.  Siblings are not touched."""

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class KillRequested:
    """`kill PATH`: SIGKILL to the scope now; the restart rules follow.

    For a supervisor this is OTP's exit(Pid, kill): all below it is killed at once.
    """

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class ResetFailedRequested:
    """`reset-failed PATH`: a parked child is started anew, with its counters at 0."""

    request: int
    path: str


Stimulus: TypeAlias = (
    ChildSpawned
    | ChildReady
    | ChildStartFailed
    | ChildStartIgnored
    | ChildExited
    | StartTimeoutExtended
    | TimerFired
    | BootRequested
    | StartChildRequested
    | TerminateChildRequested
    | RestartChildRequested
    | DeleteChildRequested
    | GetChildspecRequested
    | WhichChildrenRequested
    | CountChildrenRequested
    | UpgradeRequested
    | ShutdownRequested
    | HoldRequested
    | ReleaseRequested
    | RestartRequested
    | KillRequested
    | ResetFailedRequested
)
