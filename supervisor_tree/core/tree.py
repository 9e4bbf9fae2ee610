"""The decision core's face: what happens goes in, what is to be done comes out.

    tree = Tree(jitter=...)
    actions = tree.handle(stimulus, now)

Same state, same stimulus, same time (and same jitter) give the same actions.  Nothing here
blocks, reads a clock or raises for anything that a child or an operator can do.

Inside, a stimulus *arrives* at a child (`life.TRANSITIONS`) or in a mailbox; then the lanes that
have something to do are run, first come first served, until none has.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from supervisor_tree.core import answers, life
from supervisor_tree.core.actions import Action, Publish, Reply, TreeEnded
from supervisor_tree.core.applying import Application
from supervisor_tree.core.child import Child, ChildRow, ChildState, StoryLine
from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.groups import Whole
from supervisor_tree.core.holds import amend_absent, forget_hold
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.rows import plain_reason, row_of_child, row_of_top
from supervisor_tree.core.specs import ChildSpec, Kind, SupervisorSpec
from supervisor_tree.core.stimuli import (
    LIFE_NOTICES,
    PATH_ORDERS,
    SUPERVISOR_REQUESTS,
    ApplyRequested,
    BootRequested,
    ChildExited,
    KillRequested,
    ReleaseRequested,
    ShutdownRequested,
    Stimulus,
    TimerFired,
)
from supervisor_tree.core.supervisor import Supervisor
from supervisor_tree.core.timers import cancel_timer
from supervisor_tree.core.work import Boot, Lane

__all__ = ["Tree"]

# Numbers of lives of children that are forgotten are kept for a while, so that a name that
# comes back goes on counting; the limit keeps short-lived instances from piling up.
_FORGOTTEN_KEPT = 10_000

_EMPTY: Mapping[str, Any] = {}


def _no_jitter() -> float:
    return 0.0


class Tree:
    """All top-level supervisors of one host and everything below them.

    jitter
        called once per delay that has any; must give a number in [0, 1).
    abort_starts
        True: the parent's stop and an order about the very child whose start is pending
        break that start off.  False: they wait for it, as OTP does.
    gated
        True: also the start of a nested supervisor is asked of the shell (StartChild) and goes
        on with ChildSpawned, or is answered by ChildStartFailed or ChildStartIgnored.
    """

    def __init__(
        self,
        *,
        jitter: Callable[[], float] = _no_jitter,
        abort_starts: bool = True,
        gated: bool = False,
    ) -> None:
        self.jitter = jitter
        self.abort_starts = abort_starts
        self.gated = gated
        self.now = 0.0
        self.children: dict[str, Child] = {}
        self.supervisors: dict[str, Supervisor] = {}
        self._actions: list[Action] = []
        self._lanes: deque[Lane] = deque()
        self.parts: dict[int, tuple[str, Whole]] = {}
        self._watchers: dict[str, list[Lane]] = {}
        self.held: dict[str, bool] = {}  # path -> down, by order (see `holds`)
        self.application: Application | None = None  # the one under way
        self.code = 0  # the newest
        self._parts_made = 0
        self._forgotten: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._stories: OrderedDict[str, list[StoryLine]] = OrderedDict()

    # --- in and out -------------------------------------------------------------------

    def handle(self, stimulus: Stimulus, now: float) -> list[Action]:
        """Decide.  `now` is in seconds, on any clock that never goes back."""
        self.now = now
        self.arrive(stimulus)
        return self._settle()

    def handle_all(self, stimuli: Iterable[Stimulus], now: float) -> list[Action]:
        """Decide about several that came in at once: all are seen before the first is acted on.

        OTP's supervisor finds them together in its mailbox in the same way: two children
        that crash together are one restart under one_for_all.
        """
        self.now = now
        for stimulus in stimuli:
            self.arrive(stimulus)
        return self._settle()

    def _settle(self) -> list[Action]:
        lanes = self._lanes
        while True:
            while lanes:
                lane = lanes.popleft()
                lane.queued = False
                lane.supervisor.run(lane)
            if self.application is None or not self.application.go_on():
                break
        actions = self._actions
        self._actions = []
        return actions

    def arrive(self, stimulus: Stimulus) -> None:
        """Route one stimulus to the child or the mailbox that it is for."""
        _ROUTES[type(stimulus)](self, stimulus)

    def _to_child(self, stimulus: Any) -> None:
        child = self.children.get(stimulus.path)
        if child is not None and child.generation == stimulus.generation:
            life.TRANSITIONS[child.state, type(stimulus)](child.owner, child, stimulus, self.now)

    def _to_timer(self, stimulus: TimerFired) -> None:
        child = self.children.get(stimulus.key.path)
        if child is not None and child.generation == stimulus.key.generation:
            life.TRANSITIONS[child.state, TimerFired](child.owner, child, stimulus, self.now)

    def _to_supervisor(self, stimulus: Any) -> None:
        sup = self.supervisors.get(stimulus.supervisor)
        if sup is None:
            self.reply(stimulus.request, ("error", "noproc"))
            return
        child_id = getattr(stimulus, "id", None)
        child = sup.children.get(child_id) if child_id is not None else None
        refused = sup.simple and isinstance(stimulus, answers.SIMPLE_REFUSES)
        if child is None or refused:
            sup.post(sup.lane, stimulus)
        else:
            life.TRANSITIONS[child.state, type(stimulus)](sup, child, stimulus, self.now)

    def _to_path(self, stimulus: Any) -> None:
        child = self.children.get(stimulus.path)
        if child is not None:
            life.TRANSITIONS[child.state, type(stimulus)](child.owner, child, stimulus, self.now)
        elif getattr(stimulus, "amend", False) and amend_absent(self, stimulus):
            self.reply(stimulus.request, ("ok", "absent"))
        elif isinstance(stimulus, ReleaseRequested) and stimulus.path in self.held:
            forget_hold(self, stimulus.path, stimulus.request)
            self.reply(stimulus.request, ("ok", "released"))
        elif stimulus.path not in self.supervisors:
            self.reply(stimulus.request, ("error", "noproc"))
        elif isinstance(stimulus, KillRequested):
            self.supervisors[stimulus.path].kill_all()
            self.reply(stimulus.request, ("ok",))
        else:
            self.reply(stimulus.request, ("error", "top_level"))

    def _boot(self, stimulus: BootRequested) -> None:
        if stimulus.path not in self.supervisors:
            self.held.update(stimulus.held)
            generation = self.next_generation(stimulus.path)
            sup = Supervisor(self, stimulus.path, generation, stimulus.spec, None)
            self._open(sup, Boot(parked=stimulus.parked))

    def _shutdown(self, stimulus: ShutdownRequested) -> None:
        sup = self.supervisors.get(stimulus.path)
        if sup is not None:
            sup.parent_stop(stimulus.reason)

    def _apply(self, stimulus: ApplyRequested) -> None:
        error = Application.refusal(self, stimulus)
        if error is not None:
            self.reply(stimulus.request, ("error", error))
        else:
            self.application = Application(self, stimulus)

    @property
    def busy(self) -> bool:
        """Something is left to do; never so between two calls of `handle`."""
        return bool(self._lanes or self._actions)

    # --- for the supervisors ------------------------------------------------------------

    def emit(self, action: Action) -> None:
        """Something is to be done."""
        self._actions.append(action)

    def part(self, path: str, whole: Whole) -> int:
        """The number of a request of our own, a part of a whole; those from outside are above 0."""
        self._parts_made += 1
        self.parts[-self._parts_made] = (path, whole)
        return -self._parts_made

    def reply(self, request: int, result: Any) -> None:
        """Answer a request."""
        if request in self.parts:
            path, parts = self.parts.pop(request)
            parts.take(self, path, result)
        else:
            self._actions.append(Reply(request, result))

    def wake(self, lane: Lane) -> None:
        """This lane may have something to do."""
        if not lane.queued:
            lane.queued = True
            self._lanes.append(lane)

    def open(self, child: Child, spec: SupervisorSpec) -> None:
        """A nested supervisor begins its life."""
        child.inner = Supervisor(self, child.path, child.generation, spec, child)
        self.publish(EventName.CHILD_STARTED, child)
        self._open(child.inner, Boot())
        self.touch(child.path)

    def _open(self, sup: Supervisor, boot: Boot) -> None:
        self.supervisors[sup.path] = sup
        sup.post(sup.lane, boot)

    def supervisor_gone(self, sup: Supervisor, reason: ExitReason) -> None:
        """A supervisor has ended; nothing is left below it."""
        del self.supervisors[sup.path]
        if sup.record is not None:
            if sup.cause is not None:
                sup.record.cause = (sup.cause, sup.cause_exit)
            self.arrive(ChildExited(sup.path, sup.generation, reason))
        else:
            self._forgotten[sup.path] = (sup.generation, self.code)
            self.emit(TreeEnded(sup.path, reason, sup.cause, sup.why, sup.cause_exit))

    def cause_of(self, child: Child) -> tuple[str, ExitReason | None]:
        """Whose end it was, followed downwards through supervisors that ended because of it."""
        return child.cause or (child.path, child.last_exit)

    def remember_spec(self, sup: Supervisor, spec: SupervisorSpec) -> None:
        """Later lives of an upgraded supervisor begin with its new specification."""
        record = sup.record
        while record is not None and record.spec.supervisor is not None:
            old, new = record.spec, replace(record.spec, supervisor=spec)
            record.spec = new
            owner = record.owner
            spec = replace(
                owner.spec, children=tuple(new if c is old else c for c in owner.spec.children)
            )
            owner.spec = spec
            record = owner.record

    # --- lives --------------------------------------------------------------------------

    def last_life(self, path: str) -> tuple[int, int]:
        """Number and code of the last life at this path; 0 if there was none that we know of."""
        return self._forgotten.pop(path, (0, self.code))

    def renew_code(self, path: str) -> None:
        """Later lives at this path run the newest code."""
        child = self.children.get(path)
        if child is not None:
            child.code = self.code
        elif path in self._forgotten:
            self._forgotten[path] = (self._forgotten[path][0], self.code)

    def next_generation(self, path: str) -> int:
        """The number of a new life."""
        child = self.children.get(path)
        return (child.generation if child is not None else self.last_life(path)[0]) + 1

    def forget_child(self, child: Child) -> None:
        """No child has this path any more."""
        cancel_timer(child.owner, child)
        del self.children[child.path]
        self._forgotten[child.path] = (child.generation, child.code)
        self._stories[child.path] = list(child.story)
        while len(self._forgotten) > _FORGOTTEN_KEPT:
            self._forgotten.popitem(last=False)
        while len(self._stories) > _FORGOTTEN_KEPT:
            self._stories.popitem(last=False)
        self.touch(child.path)

    def move(self, child: Child, state: ChildState, cause: str) -> None:
        """A child enters a state; who waits for it looks again."""
        child.move(state, cause, self.now)
        if self._watchers:
            self.touch(child.path)

    def watch(self, path: str, lane: Lane) -> None:
        """Wake `lane` when something about `path` changes."""
        lanes = self._watchers.setdefault(path, [])
        if lane not in lanes:
            lanes.append(lane)

    def touch(self, path: str) -> None:
        """Something about `path` has changed."""
        for lane in self._watchers.pop(path, ()):
            self.wake(lane)

    def has_completed(self, path: str) -> bool:
        """A temporary child of this path has ended cleanly and is forgotten."""
        above, _, child_id = path.rpartition("/")
        sup = self.supervisors.get(above or "/")
        return sup is not None and child_id in sup.completed

    # --- what is published ------------------------------------------------------------------

    def publish(self, event: EventName, child: Child, detail: Mapping[str, Any] = _EMPTY) -> None:
        """A fact about a child."""
        self._actions.append(
            Publish(
                LifecycleEvent(
                    event=event,
                    path=child.path,
                    id=child.id,
                    kind=child.spec.kind.value,
                    generation=child.generation,
                    pid=child.pid,
                    detail=detail,
                )
            )
        )

    def publish_exit(self, child: Child, reason: ExitReason) -> None:
        """A life has ended.  Nobody has asked it to if it was only not ready in time."""
        ending = child.state in (ChildState.STOPPING, ChildState.KILLING) and child.failure is None
        asked = ending or bool(child.killers)
        self.publish(
            EventName.CHILD_EXITED, child, {"reason": plain_reason(reason), "asked": asked}
        )

    def publish_own(self, event: EventName, sup: Supervisor, detail: Mapping[str, Any]) -> None:
        """A fact about a supervisor itself."""
        own_id = sup.record.id if sup.record is not None else None
        self._actions.append(
            Publish(
                LifecycleEvent(
                    event=event,
                    path=sup.path,
                    id=own_id,
                    kind=Kind.SUPERVISOR.value,
                    generation=sup.generation,
                    detail=detail,
                )
            )
        )

    def answer(self, sup: Supervisor, lane: Lane, message: Any) -> None:
        """A request's turn has come."""
        answers.answer(sup, lane, message)

    # --- pictures -------------------------------------------------------------------------

    def rows(self, path: str = "/", *, infrastructure: bool = False) -> list[ChildRow]:
        """Everything at and below `path`, each supervisor before its children."""
        rows: list[ChildRow] = []
        tops = ["/", "/_"] if infrastructure and path == "/" else [path]
        for top in tops:
            self._collect(top, rows)
        return rows

    def _collect(self, path: str, rows: list[ChildRow]) -> None:
        top = self.row(path)
        if top is None:
            return
        rows.append(top)
        stack = self._below(path)
        while stack:
            child = stack.pop()
            rows.append(row_of_child(child))
            if child.inner is not None:
                stack.extend(self._below(child.path))

    def _below(self, path: str) -> list[Child]:
        """The children of a supervisor, last started first."""
        sup = self.supervisors.get(path)
        return [] if sup is None else list(reversed(sup.children.values()))

    def row(self, path: str) -> ChildRow | None:
        """One child or top-level supervisor, or None."""
        child = self.children.get(path)
        if child is not None:
            return row_of_child(child)
        sup = self.supervisors.get(path)
        return None if sup is None else row_of_top(sup)

    def spec(self, path: str) -> ChildSpec | SupervisorSpec | None:
        """The specification in force."""
        child = self.children.get(path)
        if child is not None:
            return child.spec
        sup = self.supervisors.get(path)
        return None if sup is None else sup.spec

    def story(self, path: str) -> list[StoryLine]:
        """The last transitions at a path: (time, state before, state after, cause)."""
        child = self.children.get(path)
        lines = child.story if child is not None else self._stories.get(path, ())
        return [(at, str(before), str(after), cause) for at, before, after, cause in lines]

    def validate(self) -> None:
        """Raise AssertionError if two facts of the state contradict each other."""
        from supervisor_tree.core.validate import validate  # noqa: PLC0415 - for tests only

        validate(self)


_ROUTES: dict[type, Callable[[Tree, Any], None]] = {
    **dict.fromkeys(LIFE_NOTICES, Tree._to_child),
    TimerFired: Tree._to_timer,
    **dict.fromkeys(SUPERVISOR_REQUESTS, Tree._to_supervisor),
    **dict.fromkeys(PATH_ORDERS, Tree._to_path),
    BootRequested: Tree._boot,
    ShutdownRequested: Tree._shutdown,
    ApplyRequested: Tree._apply,
}
