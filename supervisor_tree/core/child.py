"""One child: its record, and the row that a reader sees of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from supervisor_tree.core.exits import ExitReason, Term
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.specs import ChildSpec, Kind, Strategy, SupervisorSpec
from supervisor_tree.core.stimuli import TimerKey

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor
    from supervisor_tree.core.watchdog import Watch
    from supervisor_tree.core.work import Lane, Work

__all__ = ["ALIVE", "SAFE_MODE", "Child", "ChildRow", "ChildState", "StoryLine"]

SAFE_MODE = "safe mode"  # the cause of being parked since the boot

_STORY_LENGTH = 100

# time, state before, state after, cause
StoryLine = tuple[float, str, str, str]


class ChildState(StrEnum):
    """OTP's undefined is STOPPED, its restarting is BACKOFF (with or without a delay)."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLING = "killing"
    BACKOFF = "backoff"
    PARKED = "parked"


ALIVE = frozenset(
    {ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING, ChildState.KILLING}
)


@dataclass(slots=True, eq=False)
class Child:
    """What a supervisor knows of one child.  Only the core writes to it."""

    id: str
    path: str
    spec: ChildSpec
    owner: Supervisor
    lane: Lane
    args: Any = None
    state: ChildState = ChildState.STOPPED
    generation: int = 0
    code: int = 0  # number of the code that its lives run, as `apply` counts them
    born: int = 0  # generation of the last life that became ready
    pid: int | None = None
    inner: Supervisor | None = None  # the nested supervisor, while it is there
    unopened: SupervisorSpec | None = None  # a nested supervisor whose start the shell looks at
    exit: ExitReason | None = None  # has come in, but its turn in the mailbox has not
    starter: Work | None = None  # the work that waits for its start
    stopper: Work | None = None  # the work that waits for its end
    oversize: bool = False  # is being killed for the memory it holds
    failure: Term = None  # why its start is being broken off
    breakers: list[Any] = field(default_factory=list)  # orders that have broken off its start
    askers: list[int] = field(default_factory=list)  # requests that wait for its next start
    timer: TimerKey | None = None
    deadline: float = 0.0  # of `timer`
    watch: Watch | None = None  # of its signs of life, while something asks for them
    wanted: bool = True
    waiting_for: str | None = None
    restarts: int = 0
    attempt: int = 0
    window: RestartWindow | None = None  # of its own, under on_limit: park
    since: float = 0.0
    started_at: float | None = None
    ready: bool = False
    last_exit: ExitReason | None = None
    error: Term = None
    cause: tuple[str, ExitReason | None] | None = None  # whose end ended this supervisor
    killers: list[int] = field(default_factory=list)  # kill requests to answer when it is dead
    story: list[StoryLine] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.path} #{self.generation} {self.state}>"

    def move(self, state: ChildState, cause: str, now: float) -> None:
        """Enter a state; remembered in the story."""
        self.remember(state, cause, now)
        self.state = state
        self.since = now

    def remember(self, state: ChildState, cause: str, now: float) -> None:
        """A line of the story: how it comes into this state.  The oldest one makes room."""
        if len(self.story) == _STORY_LENGTH:
            del self.story[0]
        self.story.append((now, self.state, state, cause))

    def bury(self) -> None:
        """The exit that had come in has had its turn."""
        self.exit = self.pid = self.inner = None

    @property
    def handle(self) -> int | str:
        """What stands for OTP's pid: the pid, or `path#generation` of a supervisor."""
        return f"{self.path}#{self.generation}" if self.pid is None else self.pid


# Not frozen: that doubles what a row costs, and `status` makes one of every child.
@dataclass(slots=True, kw_only=True)
class ChildRow:
    """What a reader sees of one child, at once, whatever its supervisor is busy with.

    `since` and the other times are the core's own (the `now` of `Tree.handle`), in seconds.
    `waiting_for` names what keeps a stopped child from starting; `limit_at` is when a start or
    stop in progress is broken off, None if it may take for ever or there is none.
    `kept_down_by` is what forbids it to start: an "order", its "specification", or neither.
    `because` says of one that is stopped why it is (`explanation.Because`).
    """

    path: str
    id: str
    kind: Kind
    state: ChildState
    ready: bool
    pid: int | None
    generation: int
    restarts: int
    since: float
    started_at: float | None
    wanted: str
    kept_down_by: str | None
    last_exit: ExitReason | None
    strategy: Strategy | None
    error: Term
    next_start_at: float | None
    waiting_for: str | None
    limit_at: float | None = None
    because: str | None = None
