"""Carries out what the core decides, and tells the core what has come of it.

Nothing here decides.  The driver knows what the core does not need to know (pids,
descriptors, what a child last said of itself) and translates in both directions:
launcher notices and notify datagrams become stimuli, actions become calls.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Protocol, assert_never

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
from supervisor_tree.core.exits import reason_of_status
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, Readiness
from supervisor_tree.core.stimuli import (
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    StartTimeoutExtended,
    Stimulus,
    TimerFired,
    TimerKey,
)
from supervisor_tree.core.tree import Tree
from supervisor_tree.runtime.launcher import (
    Exited,
    Launch,
    Launcher,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Spawned,
)
from supervisor_tree.runtime.notify import Datagram
from supervisor_tree.runtime.reactor import Reactor

__all__ = ["Driver", "Life", "Outside"]

_ORDERS = (StartChild, SignalChild)
_HELD_DATAGRAMS = 1024  # from processes that the launcher has not told of yet
_HELD_S = 1.0


@dataclass(slots=True)
class Life:
    """One process that the core has asked for."""

    path: str
    generation: int
    spec: ChildSpec
    pid: int | None = None
    start_ticks: int = 0
    ready: bool = False
    status: str = ""
    failed: bool = False
    ignored: bool = False


class Outside(Protocol):
    """What the driver needs of the host around it."""

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        """The keys of a child's environment that the host owns."""
        ...

    def publish(self, event: LifecycleEvent) -> None: ...

    def report(self, report: Report) -> None: ...

    def attach(self, life: Life, stdout: int, stderr: int) -> None:
        """Take over the read ends of a child's output."""
        ...

    def tree_ended(self, ended: TreeEnded) -> None: ...


class Driver:
    """Between one Tree and one Launcher."""

    def __init__(self, tree: Tree, launcher: Launcher, reactor: Reactor, outside: Outside) -> None:
        self.tree = tree
        self.lives: dict[tuple[str, int], Life] = {}
        self._launcher = launcher
        self._reactor = reactor
        self._outside = outside
        self._by_pid: dict[int, Life] = {}
        self._held: deque[tuple[float, Datagram]] = deque(maxlen=_HELD_DATAGRAMS)
        self._requests = count(1)
        self._waiting: dict[int, Callable[[Any], None]] = {}
        self._exit_facts: dict[tuple[str, int | None], Mapping[str, Any]] = {}

    # --- towards the core -------------------------------------------------------------

    def handle(self, stimulus: Stimulus) -> None:
        """Let the core decide about one stimulus and carry out what it says."""
        self._perform_all(self.tree.handle(stimulus, self._reactor.clock.now()))

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None:
        """Give the core a request; `answer` is called with the result, now or later."""
        request = next(self._requests)
        self._waiting[request] = answer
        self.handle(make(request))

    def absorb(self, notices: list[LauncherNotice], datagrams: list[Datagram]) -> None:
        """Take in what launcher and notify socket had to say.

        Read in the order launcher, socket: whatever a process has sent before it ended
        is then among the datagrams, and is delivered before the notice of its end.
        What came together is handed to the core together, as OTP finds it in a mailbox.
        """
        now = self._reactor.clock.now()
        self._held.extend((now, datagram) for datagram in datagrams)
        stimuli: list[Stimulus] = []
        for notice in notices:
            match notice:
                case Spawned():
                    stimuli += self._spawned(notice)
                case Exited():
                    stimuli += self._deliver_held(only=notice.pid)
                    stimuli += self._exited(notice)
                case LaunchFailed():
                    stimuli += self._launch_failed(notice)
                case Leaked():
                    self._leaked(notice)
                case _:
                    assert_never(notice)
        stimuli += self._deliver_held()
        self._perform_all(self.tree.handle_all(stimuli, now))
        self._exit_facts.clear()

    def life_of(self, path: str) -> Life | None:
        """The present life of a child, if it has a process."""
        row = self.tree.row(path)
        return None if row is None else self.lives.get((path, row.generation))

    # --- what the launcher says -------------------------------------------------------

    def _spawned(self, notice: Spawned) -> Iterator[Stimulus]:
        life = self.lives.get((notice.path, notice.generation))
        if life is None:
            for fd in (notice.stdout, notice.stderr):
                if fd >= 0:
                    os.close(fd)
            return
        life.pid = notice.pid
        life.start_ticks = notice.start_ticks
        self._by_pid[notice.pid] = life
        if notice.stdout >= 0 or notice.stderr >= 0:
            self._outside.attach(life, notice.stdout, notice.stderr)
        yield ChildSpawned(life.path, life.generation, notice.pid)
        if life.spec.readiness_or_default is Readiness.NONE:
            yield from self._ready(life)

    def _launch_failed(self, notice: LaunchFailed) -> Iterator[Stimulus]:
        if self.lives.pop((notice.path, notice.generation), None) is not None:
            reason = (notice.stage, notice.message)
            yield ChildStartFailed(notice.path, notice.generation, reason)

    def _exited(self, notice: Exited) -> Iterator[Stimulus]:
        life = self.lives.pop((notice.path, notice.generation), None)
        if life is None:
            return
        if life.pid is not None:
            self._by_pid.pop(life.pid, None)
        if life.ignored and not life.ready:
            yield ChildStartIgnored(life.path, life.generation)
            return
        reason = reason_of_status(
            code=notice.code,
            signal=notice.signal,
            stop_signal=signal.Signals[life.spec.stop_signal],
            asked=notice.asked,
        )
        if life.failed and not life.ready and not reason.clean:
            reason = replace(reason, term=("init", life.status))
        rusage = notice.rusage
        self._exit_facts[life.path, life.generation] = {
            "pid": notice.pid,
            "rusage": {
                "cpu_s": rusage.cpu_s,
                "max_rss_bytes": rusage.max_rss_bytes,
                "wall_s": rusage.wall_s,
            },
        }
        yield ChildExited(life.path, life.generation, reason)

    def _leaked(self, notice: Leaked) -> None:
        processes = [{"pid": pid, "command": command} for pid, command in notice.processes]
        self._outside.publish(
            LifecycleEvent(
                event=EventName.CHILD_LEAKED,
                path=notice.path,
                generation=notice.generation,
                detail={"processes": processes, "ended": notice.ended},
            )
        )

    # --- what a child says of itself --------------------------------------------------

    def _deliver_held(self, only: int | None = None) -> Iterator[Stimulus]:
        """Deliver what can be delivered; keep the rest for a moment."""
        oldest = self._reactor.clock.now() - _HELD_S
        for _ in range(len(self._held)):
            since, datagram = self._held.popleft()
            if only is not None and datagram.pid != only:
                self._held.append((since, datagram))
                continue
            life = self._sender(datagram.pid)
            if life is not None:
                yield from self._heard(life, datagram.fields)
            elif since > oldest:
                self._held.append((since, datagram))

    def _sender(self, pid: int) -> Life | None:
        """The life a process belongs to: it leads its session, or is a member of it."""
        life = self._by_pid.get(pid)
        if life is not None:
            return life
        try:
            return self._by_pid.get(os.getsid(pid))
        except ProcessLookupError:
            return None

    def _heard(self, life: Life, fields: Mapping[str, str]) -> Iterator[Stimulus]:
        if "STATUS" in fields:
            life.status = fields["STATUS"][:1000]
        if fields.get("X_SUPERVISOR_TREE_START") == "ignore":
            life.ignored = True
        if "ERRNO" in fields:
            life.failed = True
        microseconds = fields.get("EXTEND_TIMEOUT_USEC", "")
        if microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 16:
            seconds = int(microseconds) / 1e6
            yield StartTimeoutExtended(life.path, life.generation, seconds)
        if fields.get("READY") == "1":
            yield from self._ready(life)

    def _ready(self, life: Life) -> Iterator[Stimulus]:
        if not life.ready:
            life.ready = True
            yield ChildReady(life.path, life.generation)

    # --- what the core wants ----------------------------------------------------------

    def _perform_all(self, actions: list[Action]) -> None:
        """Start and stop first, tell afterwards: a new life need not wait for the news.

        Orders keep their order among themselves, and so does all the rest.
        """
        for action in actions:
            if isinstance(action, _ORDERS):
                self._perform(action)
        for action in actions:
            if not isinstance(action, _ORDERS):
                self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case StartChild():
                self._start(action)
            case SignalChild(path, generation, StopSignal.STOP):
                self._launcher.stop(path, generation)
            case SignalChild(path, generation, StopSignal.KILL):
                self._launcher.kill(path, generation)
            case SignalChild():
                raise AssertionError(action)
            case SetTimer(key, at):
                self._reactor.call_at(key, at, lambda: self._fired(key))
            case CancelTimer(key):
                self._reactor.cancel(key)
            case Publish(event):
                self._publish(event)
            case Reply(request, result):
                answer = self._waiting.pop(request, None)
                if answer is not None:
                    answer(result)
            case Report():
                self._outside.report(action)
            case TreeEnded():
                self._outside.tree_ended(action)
            case _:
                assert_never(action)

    def _start(self, action: StartChild) -> None:
        self.lives[action.path, action.generation] = Life(
            action.path, action.generation, action.spec
        )
        self._launcher.launch(
            Launch(
                path=action.path,
                generation=action.generation,
                spec=action.spec,
                args=action.args,
                environment=self._outside.environment(action.path, action.generation),
            )
        )

    def _fired(self, key: TimerKey) -> None:
        self.handle(TimerFired(key))

    def _publish(self, event: LifecycleEvent) -> None:
        facts = self._exit_facts.get((event.path, event.generation))
        if event.event is EventName.CHILD_EXITED and facts is not None:
            event = replace(
                event, pid=facts["pid"], detail={**event.detail, "rusage": facts["rusage"]}
            )
        self._outside.publish(event)
