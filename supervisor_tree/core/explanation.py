"""Why a child is in its state, what it waits for, and what comes next: read off the tree.

Only looks.  What is found are words and numbers; whoever shows them makes the sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from supervisor_tree.core.backoff import next_attempt
from supervisor_tree.core.child import SAFE_MODE, Child, ChildState
from supervisor_tree.core.exits import SHUTDOWN
from supervisor_tree.core.forecast import (
    Delay,
    GiveUp,
    Habit,
    delays,
    forget_at,
    give_up,
    mean_life,
)
from supervisor_tree.core.holds import is_held, kept_down_by
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.needs import first_missing
from supervisor_tree.core.specs import OnLimit, Restart
from supervisor_tree.core.strategy import must_restart
from supervisor_tree.core.work import Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor
    from supervisor_tree.core.tree import Tree

__all__ = ["Because", "Explanation", "Level", "Then", "explain", "ground_of"]


class Because(StrEnum):
    """What keeps a child in its state.  `about` and `by` of the explanation say more."""

    READY = "ready"  # `by`: its watchdog's budget, `about`: what it is busy with, if at all
    SILENT = "silent"  # its watchdog's budget `by` is used up; it is killed at `due_at`
    NOT_SAID_READY = "not_said_ready"  # it has been started, and has not said that it is ready
    CHILDREN_START = "children_start"  # a supervisor: `about` is the first child it waits for
    BACKOFF = "backoff"  # its restart is due at `due_at`
    RETRY = "retry"  # its start has failed, and is tried again in its turn; behind `about`
    NEED = "need"  # `about`: whom it needs first; `by`: started, ready or completed
    GROUP = "group"  # `about`: whose restart takes it along
    TURN = "turn"  # its supervisor is busy with `about`
    EXIT_WAITS = "exit_waits"  # it has ended, and what follows is decided behind `about`
    HELD = "held"  # by an operator's `stop`
    DISABLED = "disabled"  # enabled: false
    PARKED = "parked"  # it has used up its restarts
    SAFE_MODE = "safe_mode"  # the host has come up in safe mode
    ENDED = "ended"  # by its restart type it is not started again
    IGNORED = "ignored"  # it has declined to start
    FAILED = "failed"  # an order to start it has failed
    TERMINATED = "terminated"  # by OTP's terminate_child
    SUPERVISOR_ENDS = "supervisor_ends"  # `about` ends, and all below it
    NOT_STARTED = "not_started"  # nobody has asked for it
    STOPS = "stops"  # told to stop by `by`; SIGKILL at `due_at`
    KILLED = "killed"  # has had SIGKILL; all it has started must be gone


class Then(StrEnum):
    """What follows when a limit is exceeded."""

    PARK = "park"  # the child alone gives up
    RESTARTED = "restarted"  # the supervisor ends and is restarted, counted by the one above it
    STAYS_DOWN = "stays_down"  # the supervisor ends, and by its restart type is not restarted
    TREE_ENDS = "tree_ends"  # there is none above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One count of restarts: of all children of the supervisor at `path`, or of one alone.

    `counted` restarts are within the period now; the oldest of them is forgotten at `more_at`.
    """

    path: str
    intensity: int
    period: float
    counted: int
    more_at: float | None
    then: Then

    @property
    def left(self) -> int:
        """How many restarts are still allowed now."""
        return max(0, self.intensity - self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of one child or supervisor.  Times are the core's own, in seconds."""

    path: str
    why: Because
    about: str | None = None
    by: str | None = None
    due_at: float | None = None
    restart: Restart | None = None  # None: of a top-level supervisor
    delays: tuple[Delay, ...] = ()
    reset_after: float | None = None
    life_s: float | None = None  # what its last lives that failed have lasted
    limit: Level | None = None  # None: it is never restarted
    give_up: GiveUp | None = None  # None: never, as it fails now
    above: tuple[Level, ...] = ()  # the counts that an escalation would meet, nearest first
    own: Level | None = None  # a supervisor's: of its children
    waits_for: tuple[str, ...] = ()  # a supervisor's children that are wanted and not ready


def explain(tree: Tree, path: str, now: float) -> Explanation | None:
    """None if there is no such child."""
    child = tree.children.get(path)
    if child is not None:
        return _explain_child(child, now)
    sup = tree.supervisors.get(path)
    if sup is None:
        return None
    why, about = _why_of_supervisor(sup)
    return Explanation(
        path=path, why=why, about=about, own=_level(sup, now), waits_for=_missing(sup)
    )


def _explain_child(child: Child, now: float) -> Explanation:
    why, about, by = ground_of(child)
    spec, inner = child.spec, child.inner
    restarted = spec.restart is not Restart.TEMPORARY
    parks = spec.on_limit is OnLimit.PARK
    backoff = spec.backoff
    return Explanation(
        path=child.path,
        why=why,
        about=about,
        by=by,
        due_at=child.deadline if child.timer is not None and child.deadline < inf else None,
        restart=spec.restart,
        delays=delays(backoff, _attempt(child, now)) if restarted else (),
        reset_after=None if backoff is None else backoff.reset_after,
        life_s=mean_life(child.story),
        limit=_limit(child, now) if restarted else None,
        give_up=_give_up(child, now) if restarted else None,
        above=_above(child.owner, now) if restarted and not parks else (),
        own=None if inner is None else _level(inner, now),
        waits_for=() if inner is None else _missing(inner),
    )


# --- why -----------------------------------------------------------------------------------


def ground_of(child: Child) -> tuple[Because, str | None, str | None]:
    """(why, about, by), see `Explanation`."""
    match child.state:
        case ChildState.RUNNING if child.exit is not None:
            return Because.EXIT_WAITS, _busy_with(child), None
        case ChildState.RUNNING | ChildState.STARTING if child.inner is not None:
            return *_why_of_supervisor(child.inner), None
        case ChildState.RUNNING:
            return _why_running(child)
        case ChildState.STARTING:
            return Because.NOT_SAID_READY, None, None
        case ChildState.STOPPING:
            return Because.STOPS, None, _stopped_by(child)
        case ChildState.KILLING:
            return Because.KILLED, None, _stopped_by(child)
        case ChildState.BACKOFF if child.timer is not None:
            return Because.BACKOFF, None, None
        case ChildState.BACKOFF:
            return Because.RETRY, _busy_with(child), None
        case ChildState.PARKED:
            safe = child.story[-1][3] == SAFE_MODE
            return (Because.SAFE_MODE if safe else Because.PARKED), None, None
        case _:
            return _why_stopped(child)


def _why_running(child: Child) -> tuple[Because, str | None, str | None]:
    watch = child.watch
    if watch is None:
        return Because.READY, None, None
    if watch.hit is not None:
        return Because.SILENT, watch.label, watch.hit
    return Because.READY, watch.label, watch.budget if child.timer is not None else None


_WHY_ENDED = {
    "ended": Because.ENDED,
    "start ignored": Because.IGNORED,
    "start failed": Because.FAILED,
}


def _why_stopped(child: Child) -> tuple[Because, str | None, str | None]:
    tree, sup = child.owner.tree, child.owner
    if sup.ending:
        return Because.SUPERVISOR_ENDS, sup.path, None
    if (keeper := kept_down_by(tree, child)) is not None:
        return (Because.HELD if keeper == "order" else Because.DISABLED), None, None
    missing = first_missing(tree, child) if child.waiting_for is not None else None
    if missing is not None:
        path, need = missing
        return Because.NEED, path, need.condition.value
    if child.waiting_for is not None:
        return Because.GROUP, child.waiting_for.removeprefix("restart of "), None
    if child.wanted:
        return Because.TURN, _busy_with(child), None
    if not child.story:
        return Because.NOT_STARTED, None, None
    return _WHY_ENDED.get(child.story[-1][3], Because.TERMINATED), None, None


def _why_of_supervisor(sup: Supervisor) -> tuple[Because, str | None]:
    if sup.ending:
        return Because.SUPERVISOR_ENDS, sup.cause or sup.path
    if sup.started_at is not None:
        return Because.READY, None
    missing = _missing(sup)
    return Because.CHILDREN_START, missing[0] if missing else None


def _missing(sup: Supervisor) -> tuple[str, ...]:
    """Children that are wanted and not ready; what has ended for good is not missed."""
    return tuple(
        child.path
        for child in sup.children.values()
        if child.wanted and not child.ready and not is_held(sup.tree, child)
    )


def _busy_with(child: Child) -> str | None:
    """The other child that the lane's work in hand is about."""
    work = child.lane.work
    starting = None if work is None else work.starting
    if starting is not None:
        return None if starting is child else starting.path
    others = (each for each in child.owner.children.values() if each is not child)
    return next((each.path for each in others if each.stopper and each.stopper is work), None)


_STOPPERS = {
    Purpose.HOLD: "stop",
    Purpose.RENEW: "restart",
    Purpose.TERMINATE: "terminate_child",
    Purpose.END: "supervisor_ends",
    Purpose.KILL: "supervisor_killed",
}


def _stopped_by(child: Child) -> str:
    """Who ends it: an order, its supervisor's end, the restart of its group, or its own delay."""
    work: Work | None = child.stopper
    if work is not None:
        return _STOPPERS.get(work.purpose, "group")
    return "start_timeout" if child.failure is not None else "order"


# --- limits --------------------------------------------------------------------------------


def _limit(child: Child, now: float) -> Level:
    sup = child.owner
    if child.spec.on_limit is not OnLimit.PARK:
        return _level(sup, now)
    window = child.window or RestartWindow()
    return _level_of(child.path, window, sup, now, Then.PARK)


def _level(sup: Supervisor, now: float) -> Level:
    record = sup.record
    if record is None:
        then = Then.TREE_ENDS
    elif must_restart(record.spec.restart, SHUTDOWN):
        then = Then.RESTARTED
    else:
        then = Then.STAYS_DOWN
    return _level_of(sup.path, sup.window, sup, now, then)


def _level_of(path: str, window: RestartWindow, sup: Supervisor, now: float, then: Then) -> Level:
    spec = sup.spec
    counted = window.remembered(now, spec.period)
    return Level(
        path=path,
        intensity=spec.intensity,
        period=spec.period,
        counted=len(counted),
        more_at=forget_at(counted[0], spec.period) if counted else None,
        then=then,
    )


def _above(sup: Supervisor, now: float) -> tuple[Level, ...]:
    """The supervisors that would count the end of this one, one after the other."""
    levels: list[Level] = []
    while sup.record is not None and must_restart(sup.record.spec.restart, SHUTDOWN):
        sup = sup.record.owner
        levels.append(_level(sup, now))
    return tuple(levels)


# --- what comes next --------------------------------------------------------------------------


def _attempt(child: Child, now: float) -> int:
    """Which delay is next, if it failed now."""
    backoff = child.spec.backoff
    if backoff is None or child.started_at is None or child.state is not ChildState.RUNNING:
        return child.attempt
    return next_attempt(backoff, child.attempt, now - child.started_at)


def _give_up(child: Child, now: float) -> GiveUp | None:
    """If it went on failing as its last lives have, or at once if none has failed yet."""
    spec, sup = child.spec, child.owner
    life_s = mean_life(child.story) or 0.0
    match child.state:
        case ChildState.BACKOFF:
            first_at = max(now, child.deadline if child.timer is not None else now) + life_s
        case ChildState.STARTING | ChildState.RUNNING:
            born = max((at for at, _, after, _ in child.story if after == ChildState.STARTING))
            first_at = max(now, born + life_s)
        case _:
            return None
    window = sup.window if spec.on_limit is OnLimit.ESCALATE else child.window
    return give_up(
        window or RestartWindow(),
        Habit(first_at, life_s),
        sup.spec,
        spec.backoff,
        _attempt(child, first_at),
    )
