"""A host for the control operations: the real core, and children that are made of thought.

Its children start, become ready and stop at once, unless the test names them in `slow`
(not ready before `ready`) or `stubborn` (not stopped before `exit`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count
from typing import Any

from supervisor_tree.control.events import EventLog
from supervisor_tree.control.holds import Asker, Hold, HoldVerbs
from supervisor_tree.control.operations import Operations
from supervisor_tree.core.actions import (
    Action,
    HoldChanged,
    Publish,
    Reply,
    SetTimer,
    SignalChild,
    StartChild,
    StopSignal,
    TreeEnded,
)
from supervisor_tree.core.child import ChildRow
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, StartMode, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ShutdownRequested,
    Stimulus,
    TimerFired,
)
from supervisor_tree.core.tree import Tree
from supervisor_tree.errors import SupervisorTreeError

__all__ = ["CRASH", "StagedHost", "StagedRequest", "program"]

CRASH = ExitReason(kind=ExitKind.ABNORMAL, term=("status", 1), code=1)


def program(id: str, **keys: Any) -> ChildSpec:
    return ChildSpec(id=id, command=("true",), **keys)


class StagedRequest:
    """What the server would hand to the operations; keeps what it was answered."""

    def __init__(self, verb: str, **args: Any) -> None:
        self.id = 1
        self.verb = verb
        self.uid = 1000
        self.pid = 99
        self.args = args
        self.answered = False
        self.value: Any = None
        self.error: SupervisorTreeError | None = None

    def reply(self, value: Any) -> None:
        if not self.answered:
            self.answered, self.value = True, value

    def reply_error(self, error: SupervisorTreeError) -> None:
        if not self.answered:
            self.answered, self.error = True, error

    def progress(self, value: Any) -> None:
        assert not self.answered, value


class StagedHost:
    """Implements `control.operations.HostView`."""

    def __init__(self, *children: ChildSpec, run_dir: str = "/run/x", **flags: Any) -> None:
        self.spec = SupervisorSpec(
            start=flags.pop("start", StartMode.CONCURRENT), children=children, **flags
        )
        self.run_dir = run_dir
        self.pid = 4711
        self.left_out: list[dict[str, Any]] = []
        self.phase = "starting"
        self.clock = 100.0
        self.tree = Tree()
        self.log = EventLog("demo", "life-1")
        self.operations = Operations(self, HoldVerbs(self).verbs)
        self.slow: set[str] = set()
        self.lacking: list[str] = []  # what slow children are not ready without
        self.stubborn: set[str] = set()
        self.signals: list[tuple[str, int, int]] = []
        self.deadlines: list[tuple[float, Callable[[], None]]] = []
        self.shutdown_timeout: float | str | None = "not asked"
        self.ended = False
        self.on_publish: Callable[[dict[str, Any]], None] = lambda event: None
        self.held: dict[str, Hold] = {}
        self.said_to_log: list[str] = []
        self.full = False  # nothing can be remembered
        self._askers: dict[int, Asker | None] = {}
        self._answers: dict[int, Callable[[Any], None]] = {}
        self._requests = count(1)
        self._pids = count(1_000_000)  # above any real one
        self._later: list[Stimulus] = []
        self._handling = False

    # --- what a test does -------------------------------------------------------------------

    def boot(self) -> StagedHost:
        self.handle(BootRequested("/", self.spec))
        self.phase = "running"
        self.publish(LifecycleEvent(event=EventName.HOST_STARTED, path="/", kind="host"))
        return self

    def ask(self, verb: str, **args: Any) -> StagedRequest:
        """What the server does with a request."""
        request = StagedRequest(verb, **args)
        try:
            self.operations.handle(request)  # type: ignore[arg-type]
        except SupervisorTreeError as error:
            request.reply_error(error)
        return request

    def ready(self, path: str) -> None:
        self.handle(ChildReady(path, self.row(path).generation))

    def exit(self, path: str, reason: ExitReason = CRASH) -> None:
        self.handle(ChildExited(path, self.row(path).generation, reason))

    def advance(self, seconds: float) -> None:
        """Let time pass, deadlines with it."""
        self.clock += seconds
        due = [callback for at, callback in self.deadlines if at <= self.clock]
        self.deadlines = [(at, call) for at, call in self.deadlines if at > self.clock]
        for callback in due:
            callback()

    def row(self, path: str) -> ChildRow:
        """The row of a child that must be there."""
        row = self.tree.row(path)
        assert row is not None, path
        return row

    # --- HostView -----------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        return {
            "name": "demo",
            "instance": self.log.instance,
            "pid": self.pid,
            "version": "0.1.0",
            "config": None,
            "run_dir": self.run_dir,
            "log_dir": f"{self.run_dir}/logs",
            "logs": {"problem": ""},
            "left_out": self.left_out,
            "uptime_s": self.clock - 100.0,
        }

    def now(self) -> float:
        return self.clock

    def wall(self) -> float:
        return 1_700_000_000.0 + self.clock

    def unmet(self, path: str) -> list[str]:
        return self.lacking

    def said(self, path: str) -> str:
        return "working" if path == "/a" else ""

    def holds(self) -> dict[str, Hold]:
        return self.held

    def holds_problem(self) -> str:
        return "no room" if self.full else ""

    def submit(
        self,
        make: Callable[[int], Stimulus],
        answer: Callable[[Any], None],
        asker: Asker | None = None,
    ) -> None:
        number = next(self._requests)
        self._answers[number] = answer
        self._askers[number] = asker
        self.handle(make(number))

    def say(self, line: str) -> None:
        self.said_to_log.append(line)

    def signal_child(self, path: str, generation: int, number: int) -> None:
        self.signals.append((path, generation, number))

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        self.deadlines.append((self.clock + delay_s, callback))

    def begin_shutdown(self, *, timeout_s: float | None = None) -> None:
        self.shutdown_timeout = timeout_s
        self.phase = "stopping"
        self.handle(ShutdownRequested("/"))

    # --- the world ------------------------------------------------------------------------------

    def publish(self, event: LifecycleEvent) -> None:
        self.on_publish(self.log.append(event, self.wall()))

    def handle(self, stimulus: Stimulus) -> None:
        """One stimulus after the other, as a launcher's notices come in."""
        self._later.append(stimulus)
        if self._handling:
            return
        self._handling = True
        while self._later:
            for action in self.tree.handle(self._later.pop(0), self.clock):
                self._perform(action)
        self._handling = False
        self.operations.look()

    def _perform(self, action: Action) -> None:
        match action:
            case StartChild(path, generation):
                self._later.append(ChildSpawned(path, generation, next(self._pids)))
                if path not in self.slow:
                    self._later.append(ChildReady(path, generation))
            case SignalChild(path, generation, signal):
                kill = signal is StopSignal.KILL
                if kill or path not in self.stubborn:
                    reason = KILLED if kill else SHUTDOWN
                    self._later.append(ChildExited(path, generation, reason))
            case SetTimer(key, at):
                self.deadlines.append((at, lambda: self.handle(TimerFired(key))))
            case Publish(event):
                self.publish(event)
            case HoldChanged(path, None, _):
                del self.held[path]
            case HoldChanged(path, bool(down), request):
                by = self._askers[request] or Asker("")
                self.held[path] = Hold(
                    path=path, down=down, since="now", verb=by.verb, uid=by.uid, why=by.why
                )
            case Reply(request, result):
                kept = ("ok", "unremembered") if self.full and result[0] == "ok" else result
                self._answers.pop(request)(kept)
            case TreeEnded():
                self.ended = True
            case _:
                pass
