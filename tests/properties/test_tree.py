"""Random trees, random stimuli: what must hold always, after each single step."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervisor_tree.core.actions import (
    Action,
    CancelTimer,
    HoldChanged,
    Publish,
    Reply,
    SetTimer,
    SignalChild,
    StartChild,
    StopSignal,
    TreeEnded,
)
from supervisor_tree.core.exits import KILLED, NORMAL, SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.explanation import explain
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Condition,
    Need,
    OnLimit,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)
from supervisor_tree.core.stimuli import (
    ApplyRequested,
    BootRequested,
    ChildBeat,
    ChildBusy,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    CountChildrenRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    KillRequested,
    MemoryExceeded,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    ShutdownRequested,
    StartChildRequested,
    StartTimeoutExtended,
    Stimulus,
    TerminateChildRequested,
    TimerFired,
    TimerKey,
    UpgradeRequested,
    WatchdogChanged,
    WatchdogTriggered,
    WhichChildrenRequested,
)
from supervisor_tree.core.tree import Tree

BOOM = ExitReason(kind=ExitKind.ABNORMAL, term="boom", code=1)
IDS = ("a", "b", "c")
TIMERS = ("start", "shutdown", "backoff", "watchdog", "abort")
WATCHDOGS = (None, None, Watchdog(idle=2.0), Watchdog(idle=2.0, busy=6.0), Watchdog(busy=3.0))
_STEPS_TO_REST = 2_000

reasons = st.sampled_from([NORMAL, SHUTDOWN, KILLED, BOOM])
ids = st.sampled_from(IDS)


@st.composite
def specs(draw: st.DrawFn, child_id: str, depth: int, auto: AutoShutdown) -> ChildSpec:
    """One child; a nested supervisor now and then."""
    restart = draw(st.sampled_from(Restart))
    lasting = restart is Restart.PERMANENT or auto is AutoShutdown.NEVER
    shutdowns: st.SearchStrategy[Any] = st.sampled_from([None, 0.0, 2.0, "brutal_kill", "infinity"])
    needs = st.lists(
        st.builds(Need, child=ids, condition=st.sampled_from(Condition)), max_size=1
    ).map(tuple)
    nested = depth > 0 and draw(st.integers(0, 3)) == 0
    return ChildSpec(
        id=child_id,
        agent=None if nested else "a:b",
        supervisor=draw(supervisors(depth - 1)) if nested else None,
        restart=restart,
        significant=False if lasting else draw(st.booleans()),
        shutdown=draw(shutdowns),
        start_timeout=draw(st.sampled_from([None, 3.0])),
        watchdog=None if nested else draw(st.sampled_from(WATCHDOGS)),
        enabled=draw(st.integers(0, 5)) > 0,
        on_limit=draw(st.sampled_from(OnLimit)),
        backoff=draw(st.sampled_from([None, Backoff(initial=1.0, max=8.0, reset_after=5.0)])),
        needs=draw(needs) if draw(st.integers(0, 4)) == 0 else (),
    )


@st.composite
def supervisors(draw: st.DrawFn, depth: int) -> SupervisorSpec:
    """Flags and up to three children."""
    auto = draw(st.sampled_from(AutoShutdown))
    strategy = draw(st.sampled_from(Strategy))
    names = draw(st.lists(ids, unique=True, max_size=3))
    if strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        names = ["w"]
    return SupervisorSpec(
        strategy=strategy,
        intensity=draw(st.integers(0, 4)),
        period=draw(st.sampled_from([1.0, 5.0])),
        auto_shutdown=auto,
        start=draw(st.sampled_from(StartMode)),
        children=tuple(draw(specs(name, depth, auto)) for name in names),
    )


class Outside:
    """What a launcher knows: lives that were asked for and are not over, and timers."""

    def __init__(self) -> None:
        self.lives: dict[tuple[str, int], bool] = {}  # spawned?
        self.asked: dict[tuple[str, int], StopSignal] = {}
        self.seen: set[tuple[str, int]] = set()
        self.timers: dict[TimerKey, float] = {}
        self.unresponsive: set[tuple[str, int]] = set()
        self.replies: set[int] = set()
        self.held: dict[str, bool] = {}
        self.ended = False

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartChild(path, generation):
                    life = (path, generation)
                    assert life not in self.seen, "a number of a life was given twice"
                    assert all(p != path for p, _ in self.lives), "two lives of one child"
                    self.seen.add(life)
                    self.lives[life] = False
                case SignalChild(path, generation, signal):
                    assert (path, generation) in self.lives, "a signal to a life that is over"
                    self.asked[path, generation] = signal
                case Publish(event) if event.event is EventName.CHILD_UNRESPONSIVE:
                    life = (event.path, event.generation or 0)
                    assert life not in self.unresponsive, "found to be silent twice"
                    self.unresponsive.add(life)
                case Publish(event) if event.event is EventName.CHILD_EXITED:
                    hit = (event.path, event.generation or 0) in self.unresponsive
                    reason = event.detail["reason"]
                    assert hit == (reason["watchdog"] is not None), "a hit names itself at the end"
                    assert not hit or reason["kind"] == ExitKind.ABNORMAL
                case SetTimer(key, at):
                    self.timers[key] = at
                case CancelTimer(key):
                    self.timers.pop(key, None)
                case Reply(request):
                    assert request not in self.replies, "answered twice"
                    self.replies.add(request)
                case HoldChanged(path, down):
                    assert self.held.get(path) is not down, "nothing has changed"
                    if down is None:
                        del self.held[path]
                    else:
                        self.held[path] = down
                case TreeEnded():
                    self.ended = True
                    assert not self.lives, "the tree has ended before its children"


class Trees(RuleBasedStateMachine):
    """A second tree hears the same and must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.outside = Outside()
        self.requests = 0
        self.over: list[tuple[str, int]] = []
        self.asked: list[Stimulus] = []

    @initialize(spec=supervisors(depth=2))
    def boot(self, spec: SupervisorSpec) -> None:
        self.tree = Tree(jitter=lambda: 0.25)
        self.twin = Tree(jitter=lambda: 0.25)
        self.feed(BootRequested("/", spec))

    def feed(self, *stimuli: Stimulus) -> None:
        self.asked.extend(s for s in stimuli if hasattr(s, "request"))
        actions = self.tree.handle_all(stimuli, self.now)
        assert actions == self.twin.handle_all(stimuli, self.now)
        self.outside.take(actions)

    def number(self) -> int:
        """Of the next request."""
        self.requests += 1
        return self.requests

    def life(self, index: int) -> tuple[str, int] | None:
        lives = list(self.outside.lives)
        return lives[index % len(lives)] if lives else None

    def path(self, index: int) -> str:
        paths = [*self.tree.children, "/", "/nobody"]
        return paths[index % len(paths)]

    def supervisor(self, index: int) -> str:
        paths = [*self.tree.supervisors, "/nobody"]
        return paths[index % len(paths)]

    # --- what a launcher reports ---

    @rule(index=st.integers(0, 20))
    def spawned(self, index: int) -> None:
        if life := self.life(index):
            self.outside.lives[life] = True
            self.feed(ChildSpawned(*life, 7))

    @rule(index=st.integers(0, 20), info=st.sampled_from([None, "extra"]))
    def ready(self, index: int, info: Any) -> None:
        if life := self.life(index):
            self.outside.lives[life] = True
            self.feed(ChildSpawned(*life, 7), ChildReady(*life, info))

    @rule(index=st.integers(0, 20), ignored=st.booleans())
    def not_started(self, index: int, ignored: bool) -> None:
        life = self.life(index)
        if life and not self.outside.lives[life]:
            del self.outside.lives[life]
            self.over.append(life)
            self.feed(ChildStartIgnored(*life) if ignored else ChildStartFailed(*life, "no"))

    @rule(index=st.integers(0, 20), reason=reasons)
    def exited(self, index: int, reason: ExitReason) -> None:
        if life := self.life(index):
            self.end(life, reason)

    def end(self, life: tuple[str, int], reason: ExitReason) -> None:
        del self.outside.lives[life]
        self.over.append(life)
        self.feed(ChildExited(*life, reason))

    @rule(reason=reasons)
    def all_exit_together(self, reason: ExitReason) -> None:
        lives = [life for life, spawned in self.outside.lives.items() if spawned]
        for life in lives:
            del self.outside.lives[life]
        self.over.extend(lives)
        self.feed(*(ChildExited(*life, reason) for life in lives))

    @rule(index=st.integers(0, 50))
    def a_notice_from_a_former_life_changes_nothing(self, index: int) -> None:
        if self.over:
            life = self.over[index % len(self.over)]
            late: list[Stimulus] = [
                ChildExited(*life, BOOM),
                ChildReady(*life),
                ChildSpawned(*life, 8),
                ChildStartFailed(*life, "late"),
                ChildStartIgnored(*life),
                StartTimeoutExtended(*life, 99.0),
                ChildBeat(*life),
                ChildBusy(*life, "late"),
                WatchdogChanged(*life, 1.0),
                WatchdogTriggered(*life),
                MemoryExceeded(*life),
            ]
            before = self.tree.rows()
            assert self.tree.handle_all(late, self.now) == []
            assert self.twin.handle_all(late, self.now) == []
            assert self.tree.rows() == before

    @rule(index=st.integers(0, 20), name=st.sampled_from(TIMERS))
    def a_timer_that_was_not_set_changes_nothing(self, index: int, name: str) -> None:
        row = self.tree.row(self.path(index))
        if row is not None:
            key = TimerKey(row.path, name, row.generation)
            if key not in self.outside.timers:
                assert self.tree.handle(TimerFired(key), self.now) == []
                assert self.twin.handle(TimerFired(key), self.now) == []

    @rule(index=st.integers(0, 20), seconds=st.sampled_from([0.5, 9.0]))
    def extended(self, index: int, seconds: float) -> None:
        if life := self.life(index):
            self.feed(StartTimeoutExtended(*life, seconds))

    @rule(index=st.integers(0, 20), kind=st.sampled_from([ChildBeat, WatchdogTriggered]))
    def gives_a_sign_of_life_or_of_its_end(self, index: int, kind: Any) -> None:
        if life := self.life(index):
            self.feed(kind(*life))

    @rule(index=st.integers(0, 20), label=st.sampled_from([None, "npm install"]))
    def busy(self, index: int, label: str | None) -> None:
        if life := self.life(index):
            self.feed(ChildBusy(*life, label))

    @rule(index=st.integers(0, 20), idle=st.sampled_from([None, 1.0, 9.0]))
    def wants_another_budget(self, index: int, idle: float | None) -> None:
        if life := self.life(index):
            self.feed(WatchdogChanged(*life, idle))

    @rule(index=st.integers(0, 20))
    def holds_too_much_memory(self, index: int) -> None:
        if life := self.life(index):
            self.feed(MemoryExceeded(*life))

    @rule(seconds=st.sampled_from([0.3, 1.0, 4.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(_STEPS_TO_REST):
            due = [(at, key.path, key) for key, at in self.outside.timers.items() if at <= until]
            if not due:
                break
            at, _, key = min(due)
            del self.outside.timers[key]
            self.now = max(self.now, at)
            self.feed(TimerFired(key))
        self.now = until

    # --- what operators ask ---

    @rule(
        index=st.integers(0, 20),
        kind=st.sampled_from(
            [
                HoldRequested,
                ReleaseRequested,
                RestartRequested,
                KillRequested,
                ResetFailedRequested,
                partial(HoldRequested, amend=True),
                partial(ReleaseRequested, amend=True),
            ]
        ),
    )
    def order(self, index: int, kind: Any) -> None:
        path = self.path(index)
        if path != "/" or kind is not KillRequested:
            self.feed(kind(self.number(), path))

    @rule(
        index=st.integers(0, 9),
        child=ids,
        kind=st.sampled_from(
            [
                TerminateChildRequested,
                RestartChildRequested,
                DeleteChildRequested,
                GetChildspecRequested,
            ]
        ),
    )
    def request_by_id(self, index: int, child: str, kind: Any) -> None:
        self.feed(kind(self.number(), self.supervisor(index), child))

    @rule(index=st.integers(0, 9), spec=ids.flatmap(lambda i: specs(i, 0, AutoShutdown.NEVER)))
    def start_child(self, index: int, spec: ChildSpec) -> None:
        supervisor = self.supervisor(index)
        self.feed(StartChildRequested(self.number(), supervisor, spec=spec, name=spec.id))

    @rule(index=st.integers(0, 9))
    def look(self, index: int) -> None:
        supervisor = self.supervisor(index)
        self.feed(
            WhichChildrenRequested(self.number(), supervisor),
            CountChildrenRequested(self.number(), supervisor),
        )

    @rule(index=st.integers(0, 9), spec=supervisors(depth=1))
    def upgrade(self, index: int, spec: SupervisorSpec) -> None:
        self.feed(UpgradeRequested(self.number(), self.supervisor(index), spec))

    @rule(spec=supervisors(depth=2), rollback=st.booleans(), code=st.integers(0, 3))
    def apply(self, spec: SupervisorSpec, rollback: bool, code: int) -> None:
        drift = dict.fromkeys(list(self.tree.children)[::3], ("code",))
        self.feed(ApplyRequested(self.number(), spec, drift=drift, rollback=rollback, code=code))

    # --- what must hold ---

    @invariant()
    def facts_agree(self) -> None:
        if hasattr(self, "tree"):
            self.tree.validate()

    @invariant()
    def everything_can_be_explained(self) -> None:
        if hasattr(self, "tree"):
            for row in self.tree.rows():
                assert explain(self.tree, row.path, self.tree.now) is not None, row

    @invariant()
    def what_is_to_be_remembered_has_been_told(self) -> None:
        if hasattr(self, "tree"):
            assert self.outside.held == self.tree.held

    def teardown(self) -> None:
        """Every waiting has a way out: told to end, the tree ends and answers everybody."""
        if not hasattr(self, "tree"):
            return
        self.feed(ShutdownRequested("/"))
        for _ in range(_STEPS_TO_REST):
            if self.outside.ended:
                break
            self.way_out()
            self.tree.validate()
        assert self.outside.ended, [(row.path, row.state) for row in self.tree.rows()]
        assert self.outside.replies == set(range(1, self.requests + 1)), [
            asked for asked in self.asked if asked.request not in self.outside.replies
        ]
        assert not self.tree.children
        assert not self.outside.timers

    def way_out(self) -> None:
        """The world does one thing that it owes: an end that was asked for, a start, a timer."""
        asked = [life for life in self.outside.lives if life in self.outside.asked]
        if asked:
            killed = self.outside.asked[asked[0]] is StopSignal.KILL
            self.end(asked[0], KILLED if killed else SHUTDOWN)
        elif unborn := [
            life
            for life in self.outside.lives
            if self.tree.row(life[0]) and self.tree.row(life[0]).state == "starting"
        ]:
            self.outside.lives[unborn[0]] = True
            self.feed(ChildSpawned(*unborn[0], 7), ChildReady(*unborn[0]))
        else:
            self.time_passes(4.0)


Trees.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# Coverage slows it down, a busy machine more.
TestTrees = pytest.mark.timeout(300)(Trees.TestCase)
