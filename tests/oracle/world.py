"""A fake world around the core: processes that do what a scenario's plan says.

Without a seed every effect is completed at once.  With one, the outcomes of starts, the ends
of stopped processes and the timers come in at random, one at a time, and notices about
former lives are repeated: what the tree does must not depend on it.  What is in one
supervisor's mailbox keeps its order, which is part of the scenario.

Two adjustments are made here because the core differs from OTP on purpose:

* A killed supervisor.  OTP's parent restarts it while its orphans still end; the core ends
  them all first.  The events of the orphans are therefore worked out here from OTP's
  rules (9.6), and what the core does to them is not recorded.
* Instances under simple_one_for_one.  OTP knows them by pid, the core by name; a name that
  is used twice gets a number.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_tree.core.actions import (
    Action,
    CancelTimer,
    Publish,
    Reply,
    Report,
    SetTimer,
    SignalChild,
    StartChild,
    StopSignal,
    TreeEnded,
)
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import KILLED, ExitReason
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import Strategy
from supervisor_tree.core.stimuli import (
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    Stimulus,
    TimerFired,
    TimerKey,
)
from supervisor_tree.core.strategy import is_shutdown_error
from supervisor_tree.core.supervisor import Supervisor
from supervisor_tree.core.tree import Tree
from tests.oracle.scenario import OracleSpec, exit_reason, plain

__all__ = ["Process", "World", "core_path", "oracle_path"]

Hook = Callable[[str, int], None]
_STOP_REASONS = {"normal": "normal", "error": "stop_error"}
_LIMIT = 100_000  # steps of one operation; a tree that never rests is an error


@dataclass(slots=True, eq=False)
class Process:
    """One incarnation of a path."""

    path: str
    incarnation: int
    life: tuple[str, int]  # path and generation in the core
    supervisor: bool
    node: Mapping[str, Any]
    pid: int
    alive: bool = True

    @property
    def name(self) -> str:
        return f"{self.path}#{self.incarnation}"


def oracle_path(path: str) -> str:
    """`/a/d1~2` is the second `root/a/d1`."""
    return "root" if path == "/" else "root" + path.partition("~")[0]


def core_path(path: str) -> str:
    """The path of a child that is no instance of a template."""
    return path.removeprefix("root") or "/"


class World:
    """Processes, clock and record of one scenario."""

    def __init__(self, seed: int | None, hook: Hook) -> None:
        self.tree = Tree(abort_starts=False, gated=True)
        self.random = None if seed is None else random.Random(seed)
        self.clock = 0
        self.events: list[list[Any]] = []
        self.replies: dict[int, Any] = {}
        self.on_reply: dict[int, Callable[[Any], Any]] = {}
        self.processes: dict[tuple[str, int], Process] = {}
        self.by_pid: dict[int, Process] = {}
        self.newest: dict[str, Process] = {}
        self.incarnations: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.root_exit: ExitReason | None = None
        self.root_up = False
        self._hook = hook
        self._timers: dict[TimerKey, float] = {}
        self._pending: list[list[Stimulus]] = []
        self._actions: deque[Action] = deque()
        self._silent: set[tuple[str, int]] = set()
        self._simple_groups: dict[int, str] = {}  # id of an event -> its simple supervisor
        self._past: list[Stimulus] = []

    # --- time and order ----------------------------------------------------------------

    def feed(self, stimuli: Iterable[Stimulus]) -> None:
        """Give the core what has come in; what it wants done is done by `rest`."""
        self._actions.extend(self.tree.handle_all(stimuli, float(self.clock)))

    def rest(self) -> None:
        """Go on until nothing is under way."""
        for _ in range(_LIMIT):
            if self._actions:
                self._perform(self._actions.popleft())
            elif self._pending:
                self._deliver()
            elif not self._fire_timer():
                self.tree.validate()
                return
        raise AssertionError("the tree does not come to rest")

    def _deliver(self) -> None:
        chance = self.random
        if chance is None:
            self.feed(self._pending.pop(0))
            return
        if self._past and chance.random() < 0.2:
            self.feed([chance.choice(self._past)])
        sequence = chance.choice(self._pending)
        stimulus = sequence.pop(0)
        if not sequence:
            self._pending.remove(sequence)
        self.feed([stimulus])
        self._past.append(stimulus)

    def _fire_timer(self) -> bool:
        if not self._timers:
            return False
        key = min(self._timers, key=lambda k: self._timers[k])
        at = self._timers.pop(key)
        self._actions.extend(self.tree.handle(TimerFired(key), at))
        return True

    # --- what the core wants -----------------------------------------------------------

    def _perform(self, action: Action) -> None:
        match action:
            case StartChild():
                self._start(action)
            case SignalChild():
                self._signal(action)
            case SetTimer(key, at):
                self._timers[key] = at
            case CancelTimer(key):
                self._timers.pop(key, None)
            case Publish(event):
                self._published(event)
            case Reply(request, result):
                self.replies[request] = self.on_reply.pop(request)(result)
            case Report():
                self._reported(action)
            case TreeEnded(_, reason):
                self.root_exit = reason
                root = self.newest["root"]
                self._end(root, reason)

    def _start(self, action: StartChild) -> None:
        spec = action.spec
        assert isinstance(spec, OracleSpec)
        path = oracle_path(action.path)
        self.attempts[path] += 1
        attempt = self.attempts[path]
        self._hook(action.path, attempt)
        outcome = self._planned(spec, path, attempt)
        life = (action.path, action.generation)
        if outcome in ("error", "crash"):
            reason: Any = "planned_error" if outcome == "error" else ("EXIT", "planned_crash")
            self.events.append(["fail", path, attempt, plain(reason)])
            self._pending.append([ChildStartFailed(*life, reason)])
        elif outcome == "ignore":
            self.events.append(["ignore", path, attempt])
            self._pending.append([ChildStartIgnored(*life)])
        elif spec.supervisor is not None:
            process = self._born(path, life, spec, supervisor=True)
            self.events.append(["init", path, process.incarnation])
            self._pending.append([ChildSpawned(*life, process.pid)])
        else:
            process = self._born(path, life, spec, supervisor=False)
            self.events.append(["start", path, process.incarnation])
            info = "extra" if outcome == "extra" else None
            self._pending.append([ChildSpawned(*life, process.pid), ChildReady(*life, info)])

    def _planned(self, spec: OracleSpec, path: str, attempt: int) -> str:
        plan = spec.node.get("plan", ())
        if "plans" in spec.node:
            plan = spec.node["plans"].get(path.rpartition("/")[2], plan)
        return plan[attempt - 1] if attempt <= len(plan) else "ok"

    def _born(
        self, path: str, life: tuple[str, int], spec: OracleSpec, *, supervisor: bool
    ) -> Process:
        self.incarnations[path] += 1
        pid = len(self.by_pid) + 1000
        process = Process(path, self.incarnations[path], life, supervisor, spec.node, pid)
        self.processes[life] = self.by_pid[pid] = self.newest[path] = process
        return process

    def begin_root(self) -> None:
        """The root supervisor's process is not started by the core."""
        self._born("root", ("/", 1), OracleSpec(id="root"), supervisor=True)
        self.events.append(["init", "root", 1])

    def _signal(self, action: SignalChild) -> None:
        life = (action.path, action.generation)
        process = self.processes[life]
        if not process.alive:
            return  # its end is under way
        if life in self._silent:
            process.alive = False
            self._pending.append([ChildExited(*life, KILLED)])
            return
        reason = "killed"
        if action.signal is StopSignal.STOP:
            self._record(process, ["sig", process.path, process.incarnation, "shutdown"])
            on_stop = process.node.get("on_stop", "shutdown")
            if on_stop == "ignore":
                return
            reason = _STOP_REASONS.get(on_stop, "shutdown")
        ended = exit_reason(reason)
        self._end(process, ended)
        self._pending.append([ChildExited(*life, ended)])

    def _end(self, process: Process, reason: ExitReason) -> None:
        process.alive = False
        if process.life not in self._silent:
            event = ["exit", process.path, process.incarnation, plain(reason.term)]
            self._record(process, event)

    def _record(self, process: Process, event: list[Any]) -> None:
        """Remember which events OTP has in no certain order."""
        self.events.append(event)
        above = process.life[0].rpartition("/")[0] or "/"
        sup = self.tree.supervisors.get(above)
        if sup is None or sup.simple:
            self._simple_groups[id(event)] = above

    def exit(self, process: Process, reason: Any) -> Stimulus:
        """A worker ends by itself, or is killed from outside."""
        ended = exit_reason(reason)
        self._end(process, ended)
        return ChildExited(*process.life, ended)

    # --- what the core says ------------------------------------------------------------

    def _published(self, event: LifecycleEvent) -> None:
        life = (event.path, event.generation or 0)
        process = self.processes.get(life)
        if process is None or not process.supervisor:
            return
        if event.event is EventName.CHILD_READY:
            self.events.append(["start", process.path, process.incarnation])
        elif event.event is EventName.CHILD_EXITED:
            reason = event.detail["reason"]["term"]
            process.alive = False
            if life in self._silent:
                return
            self.events.append(["exit", process.path, process.incarnation, plain(reason)])
            child = self.tree.children.get(event.path)
            if process.life not in self._up:
                attempt = self.attempts[process.path]
                self.events.append(["fail", process.path, attempt, plain(reason)])
            del child

    def _reported(self, report: Report) -> None:
        process = self.processes[report.supervisor, report.generation]
        report_id = report.id
        self.events.append(
            [
                "report",
                process.path,
                process.incarnation,
                report.context.value,
                report_id,
                plain(report.reason),
            ]
        )
