"""The closed set of what can happen to a tree.

A stimulus about a process names the life it is about by (path, generation): a notice
from a former life is then harmless.  Requests carry the number under which the answer
is given back (`actions.Reply`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from supervisor_tree.core.diff import Drift
from supervisor_tree.core.exits import SHUTDOWN, ExitReason, Term
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec

__all__ = [
    "LIFE_NOTICES",
    "PATH_ORDERS",
    "SUPERVISOR_REQUESTS",
    "ApplyRequested",
    "BootRequested",
    "ChildBeat",
    "ChildBusy",
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
    "MemoryExceeded",
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
    "WatchdogChanged",
    "WatchdogTriggered",
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
class MemoryExceeded:
    """The processes of this life hold more memory together than its `limits.memory_max`."""

    path: str
    generation: int


@dataclass(frozen=True, slots=True)
class ChildBeat:
    """WATCHDOG=1: the child's loop turns."""

    path: str
    generation: int


@dataclass(frozen=True, slots=True)
class ChildBusy:
    """X_SUPERVISOR_TREE_BUSY: what the child works on from now on; None: it is done with it."""

    path: str
    generation: int
    label: str | None


@dataclass(frozen=True, slots=True)
class WatchdogChanged:
    """WATCHDOG_USEC: the child wants to be held to `idle` seconds from now on; None: to none."""

    path: str
    generation: int
    idle: float | None


@dataclass(frozen=True, slots=True)
class WatchdogTriggered:
    """WATCHDOG=trigger: the child has found itself to be beyond help."""

    path: str
    generation: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by actions.SetTimer has elapsed."""

    key: TimerKey


# --- OTP's run-time interface --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BootRequested:
    """Start a top-level supervisor ("/" or "/_").

    `held` is what `HoldChanged` has told in former lives of the host: path -> `down`.
    `parked`: its children are there, but none is started before an operator says so.
    """

    path: str
    spec: SupervisorSpec
    held: Mapping[str, bool] = field(default_factory=dict)
    parked: bool = False


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

    Unlike terminate_child, a group restart does not revive it.  With `amend` its specification
    says so from now on (`disable PATH`), and nothing is held by the order itself.
    """

    request: int
    path: str
    amend: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """`start PATH`: the child is wanted up again; answered when it is ready or has failed.

    One whose start fails stays wanted up, and its rules go on: it is tried again, counted.
    With `amend` its specification says so from now on (`enable PATH`), and nothing below it is
    touched.  A path that no child has, but that is held, is answered ("ok", "released"); one of a
    supervisor that does not run is amended too, and answered ("ok", "absent").
    """

    request: int
    path: str
    amend: bool = False


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """`restart PATH`: stop, then start anew.  Counts no restart.  Siblings are not touched.

    On `trial` a child whose start fails stays down; else its rules go on.
    """

    request: int
    path: str
    trial: bool = False


@dataclass(frozen=True, slots=True)
class KillRequested:
    """`kill PATH`: SIGKILL to the scope now; the restart rules follow.

    For a supervisor this is OTP's exit(Pid, kill): all below it is killed at once.
    """

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class ResetFailedRequested:
    """`reset-failed PATH`: a parked child is started anew, with its counters at 0.

    Its rules go on if that fails.
    """

    request: int
    path: str


@dataclass(frozen=True, slots=True)
class ApplyRequested:
    """`apply`: the user's tree becomes what `spec` says; who has not changed is not touched.

    `drift` names what has changed beside the specification.  With `rollback` the old specification
    of a child whose new life fails to become ready is put back.  `code` numbers the code that new
    lives of changed children run; it is not less than the last one.  Answered with ("ok",
    outcomes), see `applying.Outcome`, or ("error", reason) when nothing was changed.
    """

    request: int
    spec: SupervisorSpec
    drift: Drift = field(default_factory=dict)
    rollback: bool = False
    code: int = 0


Stimulus: TypeAlias = (
    ChildSpawned
    | ChildReady
    | ChildStartFailed
    | ChildStartIgnored
    | ChildExited
    | StartTimeoutExtended
    | ChildBeat
    | ChildBusy
    | WatchdogChanged
    | WatchdogTriggered
    | MemoryExceeded
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
    | ApplyRequested
)

# Who each is for: the life that it names, the mailbox of a supervisor, the child at a path.
LIFE_NOTICES: tuple[type, ...] = (
    ChildSpawned,
    ChildReady,
    ChildStartFailed,
    ChildStartIgnored,
    ChildExited,
    StartTimeoutExtended,
    ChildBeat,
    ChildBusy,
    WatchdogChanged,
    WatchdogTriggered,
    MemoryExceeded,
)
SUPERVISOR_REQUESTS: tuple[type, ...] = (
    StartChildRequested,
    TerminateChildRequested,
    RestartChildRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    WhichChildrenRequested,
    CountChildrenRequested,
    UpgradeRequested,
)
PATH_ORDERS: tuple[type, ...] = (
    HoldRequested,
    ReleaseRequested,
    RestartRequested,
    KillRequested,
    ResetFailedRequested,
)
