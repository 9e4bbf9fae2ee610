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
from itertools import groupby
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
    Why,
)
from supervisor_tree.core.answers import count_children, which_children
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitReason
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import Strategy, SupervisorSpec
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
    info: str | None = None  # what the start function of a supervisor has returned besides

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
        self.groups: list[str | None] = []  # of each event: the simple supervisor, if any
        self.replies: dict[int, Any] = {}
        self.on_reply: dict[int, Callable[[Any], Any]] = {}
        self.processes: dict[tuple[str, int], Process] = {}
        self.by_pid: dict[int, Process] = {}
        self.newest: dict[str, Process] = {}
        self.incarnations: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.leaked: dict[str, tuple[str, int]] = {}  # OTP's bug 12.1, see counts_of
        self.root_exit: ExitReason | None = None
        self.root_up = False
        self._hook = hook
        self._timers: dict[TimerKey, float] = {}
        self._pending: list[list[Stimulus]] = []
        self._actions: deque[Action] = deque()
        self._silent: set[tuple[str, int]] = set()
        self._up: set[tuple[str, int]] = set()  # supervisors that are ready
        self._past: list[Stimulus] = []
        self._templates: dict[tuple[str, int], str] = {}

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
            case TreeEnded(_, reason, _, why):
                self.root_exit = reason
                self.root_up = why is not Why.BOOT
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
            self.note(["fail", path, attempt, f"planned_{outcome}"])
            self._pending.append([ChildStartFailed(*life, reason)])
        elif outcome == "ignore":
            self.note(["ignore", path, attempt])
            self._pending.append([ChildStartIgnored(*life)])
        elif spec.supervisor is not None:
            process = self._born(path, life, spec, supervisor=True)
            process.info = "extra" if outcome == "extra" else None
            self.note(["init", path, process.incarnation])
            self._pending.append([ChildSpawned(*life, process.pid)])
        else:
            process = self._born(path, life, spec, supervisor=False)
            self.note(["start", path, process.incarnation])
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
        template = None if spec.supervisor is None else spec.supervisor.children
        if template and spec.supervisor.strategy == Strategy.SIMPLE_ONE_FOR_ONE:
            self._templates[life] = template[0].id
        return process

    def begin_root(self, spec: SupervisorSpec) -> None:
        """The root supervisor's process is not started by the core."""
        self._born("root", ("/", 1), OracleSpec(id="root", supervisor=spec), supervisor=True)
        self.note(["init", "root", 1])

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

    def note(self, event: list[Any], group: str | None = None) -> None:
        """Record; `group` says which events OTP has in no certain order."""
        self.events.append(event)
        self.groups.append(group)

    def _record(self, process: Process, event: list[Any]) -> None:
        path = process.life[0]
        above = path.rpartition("/")[0] or "/"
        sup = self.tree.supervisors.get(above)
        unordered = path != "/" and ("~" in path or (sup is not None and sup.simple))
        self.note(event, above if unordered else None)

    def take_events(self) -> list[list[Any]]:
        """The events of one step: in runs of one simple supervisor `sig` first, then by name."""
        ordered: list[list[Any]] = []
        for group, run in groupby(zip(self.groups, self.events, strict=True), lambda x: x[0]):
            events = [event for _, event in run]
            if group is not None:
                events.sort(key=lambda e: (e[0] != "sig", e[1], e[2]))
            ordered.extend(events)
        self.events, self.groups = [], []
        return ordered

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
            self._up.add(life)
            self.note(["start", process.path, process.incarnation])
        elif event.event is EventName.CHILD_EXITED:
            reason = event.detail["reason"]["term"]
            process.alive = False
            if life not in self._silent:
                self.note(["exit", process.path, process.incarnation, plain(reason)])
                if life not in self._up:
                    attempt = self.attempts[process.path]
                    self.note(["fail", process.path, attempt, plain(reason)])

    def _reported(self, report: Report) -> None:
        process = self.processes[report.supervisor, report.generation]
        who, context = [process.path, process.incarnation], report.context.value
        template = self._templates.get(process.life)  # OTP's instances have no ids
        self.note(["report", *who, context, template or report.id, plain(report.reason)])

    # --- orphans -----------------------------------------------------------------------

    def kill_supervisor(self, sup: Supervisor) -> None:
        """Record what OTP's orphans do (9.6); from here on they are silent."""
        process = self.processes[sup.path, sup.generation]
        self._end(process, KILLED)
        if sup.path == "/":
            self.root_exit = KILLED
        self._silence(process)
        for child in sorted(sup.children.values(), key=lambda c: c.id):
            owner = sup.path if sup.simple else None
            if child.inner is not None:
                self._orphan(child.inner, KILLED)
            elif child.state is ChildState.RUNNING:
                worker = self.processes[child.path, child.generation]
                for event in ("sig", "exit"):
                    self.note([event, worker.path, worker.incarnation, "killed"], owner)
                self._silence(worker)

    def _orphan(self, sup: Supervisor, reason: ExitReason) -> None:
        """A supervisor below a killed one stops its children in order, then ends, too."""
        process = self.processes[sup.path, sup.generation]
        errors: dict[Any, list[Any]] = {}
        for child in reversed(sup.children.values()):
            if child.inner is not None:
                self._orphan(child.inner, SHUTDOWN)
                ended = SHUTDOWN
            elif child.state is ChildState.RUNNING:
                ended = self._stop_orphan(sup, self.processes[child.path, child.generation], child)
            else:
                continue
            spec = child.spec
            if is_shutdown_error(spec.shutdown_or_default, spec.restart, ended):
                who = [process.path, process.incarnation, "shutdown_error"]
                report = ["report", *who, child.spec.id, plain(ended.term)]
                if sup.simple:
                    errors.setdefault(ended.term, report)
                else:
                    self.note(report)
        for report in errors.values():
            self.note(report)
        self.note(["exit", process.path, process.incarnation, plain(reason.term)])
        process.alive = False
        self._silence(process)

    def _stop_orphan(self, sup: Supervisor, process: Process, child: Child) -> ExitReason:
        owner = sup.path if sup.simple else None
        on_stop = process.node.get("on_stop", "shutdown")
        reason = _STOP_REASONS.get(on_stop, "shutdown")
        if child.spec.shutdown_or_default != "brutal_kill":
            self.note(["sig", process.path, process.incarnation, "shutdown"], owner)
        if child.spec.shutdown_or_default == "brutal_kill" or on_stop == "ignore":
            reason = "killed"
        self.note(["exit", process.path, process.incarnation, reason], owner)
        self._silence(process)
        return exit_reason(reason)

    def _silence(self, process: Process) -> None:
        self._silent.add(process.life)

    # --- pictures ----------------------------------------------------------------------

    def process_of(self, handle: int | str) -> Process:
        """Which process a pid, or a supervisor's `path#generation`, stands for."""
        if isinstance(handle, int):
            return self.by_pid[handle]
        path, _, generation = handle.rpartition("#")
        return self.processes[path, int(generation)]

    def name_of(self, handle: int | str) -> str:
        """`path#incarnation`."""
        return self.process_of(handle).name

    def children_of(self, shown: Iterable[Any], *, simple: bool) -> list[Any]:
        """which_children as OTP's trace has it."""
        rows = []
        for child_id, process, kind in shown:
            named = process if process in (None, "restarting") else self.name_of(process)
            rows.append([None if simple else child_id, named, kind])
        return sorted(rows, key=lambda r: _sort_key(r[1])) if simple else rows

    def counts_of(self, sup: Supervisor, counts: Mapping[str, int]) -> list[int]:
        """count_children with OTP's bug 12.1: each restarting instance that was terminated."""
        leaked = sum(life == (sup.path, sup.generation) for life in self.leaked.values())
        specs, active, supervisors, workers = counts.values()
        return [specs, active - leaked, supervisors, workers]

    def picture(self) -> dict[str, Any]:
        """All live supervisors."""
        tree = {}
        for path, sup in sorted(self.tree.supervisors.items()):
            shown = which_children(sup)
            counts = self.counts_of(sup, count_children(sup))
            tree[oracle_path(path)] = {
                "children": self.children_of(shown, simple=sup.simple),
                "counts": counts,
                "restarts": len(sup.window),
            }
        return tree


def _sort_key(name: Any) -> tuple[bool, str, int]:
    """By path and incarnation; those that have no process come last."""
    path, _, incarnation = (name or "").partition("#")
    return not incarnation, path, int(incarnation or 0)
