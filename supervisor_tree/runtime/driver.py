"""Carries out what the core decides, and tells the core what has come of it.

Nothing here decides.  The driver knows what the core does not need to know (pids,
descriptors, what a child last said of itself) and translates in both directions:
launcher notices and notify datagrams become stimuli, actions become calls.
"""

from __future__ import annotations

import math
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, assert_never

from supervisor_tree.control.holds import Asker
from supervisor_tree.core.actions import (
    Action,
    CancelTimer,
    HoldChanged,
    Publish,
    ReloadChild,
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
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.core.stimuli import (
    ChildBeat,
    ChildBusy,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    StartTimeoutExtended,
    Stimulus,
    TimerFired,
    TimerKey,
    WatchdogChanged,
    WatchdogTriggered,
)
from supervisor_tree.core.tree import Tree
from supervisor_tree.runtime.cgroups import Cgroup
from supervisor_tree.runtime.confinement import METER, OVERSIZE_KEY, Confinement
from supervisor_tree.runtime.launcher import (
    Exited,
    Launch,
    Launcher,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Spawned,
)
from supervisor_tree.runtime.listeners import variables
from supervisor_tree.runtime.lives import Life, Outside
from supervisor_tree.runtime.notify import BEAT, Datagram
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.readiness import Probes, conditions_of, without

__all__ = ["Driver"]

_ORDERS = (StartChild, SignalChild)
_BUSY = "X_SUPERVISOR_TREE_BUSY"
_LABEL_CHARS = 200
_TICK_S = 0.25
_HELD_DATAGRAMS = 4096  # from processes that the launcher has not told of yet
_HELD_S = 30.0  # a start of thousands on a busy machine may run so far ahead of the news of it


class Driver:
    """Between one Tree and one Launcher."""

    def __init__(self, tree: Tree, launcher: Launcher, reactor: Reactor, outside: Outside) -> None:
        self.tree = tree
        self.lives: dict[tuple[str, int], Life] = {}
        self._awaited: set[tuple[str, int]] = set()  # lives that have yet to say READY=1
        self._launcher = launcher
        self._reactor = reactor
        self._outside = outside
        self._by_pid: dict[int, Life] = {}
        self._held: deque[tuple[float, Datagram]] = deque(maxlen=_HELD_DATAGRAMS)
        self._requests = count(1)
        self._waiting: dict[int, Callable[[Any], None]] = {}
        self._askers: dict[int, Asker] = {}
        self.confinement: Confinement | None = None  # who sees to limits of whole scopes
        self.probes = Probes(reactor, self.met)
        self._exit_facts: dict[tuple[str, int | None], Mapping[str, Any]] = {}

    # --- towards the core -------------------------------------------------------------

    def handle(self, stimulus: Stimulus) -> None:
        """Let the core decide about one stimulus and carry out what it says."""
        self._perform_all(self.tree.handle(stimulus, self._reactor.clock.now()))

    def submit(
        self,
        make: Callable[[int], Stimulus],
        answer: Callable[[Any], None],
        asker: Asker | None = None,
    ) -> None:
        """Give the core a request; `answer` is called with the result, now or later."""
        request = next(self._requests)
        self._waiting[request] = answer
        if asker is not None:
            self._askers[request] = asker
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

    @property
    def expects_word(self) -> bool:
        """Whether a life has yet to say that it is ready."""
        return bool(self._awaited)

    def take_beats(self, datagrams: list[Datagram]) -> list[Datagram]:
        """Hand over bare beats of leaders, which come in thousands; returns all the rest."""
        rest: list[Datagram] = []
        beats: list[Stimulus] = []
        for datagram in datagrams:
            life = self._by_pid.get(datagram.pid) if datagram.fields is BEAT else None
            if life is None:
                rest.append(datagram)
            else:
                beats.append(ChildBeat(life.path, life.generation))
        if beats:
            self._perform_all(self.tree.handle_all(beats, self._reactor.clock.now()))
        return rest

    def met(self, path: str, generation: int, condition: str) -> None:
        """A life meets one of the conditions under which it is ready (see `readiness`)."""
        life = self.lives.get((path, generation))
        if life is not None:
            for stimulus in self._meets(life, condition):
                self.handle(stimulus)

    def line_given_up(self, path: str, generation: int) -> None:
        """No line will show this life to be ready (see `logs.awaited`)."""
        life = self.lives.get((path, generation))
        if life is not None and "log" in life.unmet:
            life.unmet = without(life.unmet | {"pattern"}, "log")

    def life_of(self, path: str) -> Life | None:
        """The present life of a child, if it has a process."""
        row = self.tree.row(path)
        return None if row is None else self.lives.get((path, row.generation))

    def processes(self) -> list[tuple[str, int, int, int]]:
        """(path, generation, pid, start in ticks) of every life that has one."""
        return [
            (life.path, life.generation, life.pid, life.start_ticks)
            for life in self.lives.values()
            if life.pid is not None
        ]

    def takes_messages(self, path: str, generation: int) -> bool:
        """Whether this life has said that it does."""
        life = self.lives.get((path, generation))
        return life is not None and life.inbox

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
        self.probes.begin(life.path, life.generation, life.spec.ready)
        yield ChildSpawned(life.path, life.generation, notice.pid)
        if not life.unmet:
            yield from self._ready(life)

    def _launch_failed(self, notice: LaunchFailed) -> Iterator[Stimulus]:
        self._awaited.discard((notice.path, notice.generation))
        if self.lives.pop((notice.path, notice.generation), None) is not None:
            reason = (notice.stage, notice.message)
            yield ChildStartFailed(notice.path, notice.generation, reason)

    def _exited(self, notice: Exited) -> Iterator[Stimulus]:
        life = self.lives.pop((notice.path, notice.generation), None)
        if life is None:
            return
        self._awaited.discard((notice.path, notice.generation))
        if life.pid is not None:
            self._by_pid.pop(life.pid, None)
            self.probes.end(life.path, life.generation)
        if life.ignored and not life.ready:
            yield ChildStartIgnored(life.path, life.generation)
            return
        reason = reason_of_status(
            code=notice.code,
            signal=notice.signal,
            stop_signal=signal.Signals[life.spec.stop_signal],
            asked=notice.asked,
            oom=notice.oom,
        )
        if life.failed and not life.ready and not reason.clean:
            reason = replace(reason, term=("init", life.status))
        rusage = notice.rusage
        self._exit_facts[life.path, life.generation] = {
            "pid": notice.pid,
            "unmet": sorted(life.unmet),
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
        if "X_SUPERVISOR_TREE_INBOX" in fields:
            life.inbox = True
        if self.confinement is not None and life.path == METER and OVERSIZE_KEY in fields:
            yield from self.confinement.measured(fields[OVERSIZE_KEY])
        if "ERRNO" in fields:
            life.failed = True
        seconds = _seconds(fields.get("EXTEND_TIMEOUT_USEC", ""))
        if seconds is not None:
            yield StartTimeoutExtended(life.path, life.generation, seconds)
        budget = _seconds(fields.get("WATCHDOG_USEC", ""))
        if budget is not None:
            yield WatchdogChanged(life.path, life.generation, budget or None)
        if _BUSY in fields:
            life.busy = fields[_BUSY][:_LABEL_CHARS]
            yield ChildBusy(life.path, life.generation, life.busy or None)
        if fields.get("READY") == "1":
            yield from self._meets(life, "notify")
        match fields.get("WATCHDOG"):
            case "1":
                yield ChildBeat(life.path, life.generation)
            case "trigger":
                yield WatchdogTriggered(life.path, life.generation)

    def _meets(self, life: Life, condition: str) -> Iterator[Stimulus]:
        life.unmet = without(life.unmet, condition)
        if condition == "notify":
            self._awaited.discard((life.path, life.generation))
        if not life.unmet:
            yield from self._ready(life)

    def _ready(self, life: Life) -> Iterator[Stimulus]:
        if not life.ready:
            life.ready = True
            yield ChildReady(life.path, life.generation)

    # --- what the core wants ----------------------------------------------------------

    def _perform_all(self, actions: list[Action]) -> None:
        """Start and stop first, tell afterwards: a new life need not wait for the news.

        It finds them in the table of members, though: whom it was started after, is there.
        Orders keep their order among themselves, and so does all the rest.
        """
        for action in actions:
            if isinstance(action, Publish):
                self._outside.note(action.event)
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
            case SignalChild() | ReloadChild():
                self._signal(action)
            case SetTimer(key, at):
                self._reactor.call_at(key, _tick(key, at), lambda: self._fired(key))
            case CancelTimer(key):
                self._reactor.cancel(key)
            case Publish(event):
                self._publish(event)
            case HoldChanged(_path, _down, request):
                self._outside.remember(action, self._askers.get(request))
            case Reply(request, result):
                self._askers.pop(request, None)
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
        path, generation, spec = action.path, action.generation, action.spec
        life = Life(path, generation, spec, unmet=conditions_of(spec))
        self.lives[path, generation] = life
        if "notify" in life.unmet:
            self._awaited.add((path, generation))
        try:
            sockets = self._outside.sockets(path, spec)
        except OSError as error:
            failed = LaunchFailed(
                path=path, generation=generation, stage="sockets", message=str(error)
            )
            # In a turn of its own: the core is not done with what has led to this start.
            self._reactor.call_in(
                ("unlaunched", path, generation), 0.0, lambda: self.absorb([failed], [])
            )
            return
        if sockets:
            life.sockets = variables(sockets)
        self._launcher.launch(
            Launch(
                path=path,
                generation=generation,
                spec=spec,
                args=action.args,
                environment={**self._outside.environment(path, generation), **life.variables},
                sockets=tuple(one for _, one in sockets),
                code=action.code,
                cgroup=self._confined(path, generation, spec),
            )
        )

    def _signal(self, action: SignalChild | ReloadChild) -> None:
        life = action.path, action.generation
        match action.signal:
            case StopSignal.STOP:
                self._launcher.stop(*life)
            case StopSignal.KILL:
                self._launcher.kill(*life)
            case StopSignal.ABORT:
                self._launcher.signal(*life, signal.SIGABRT)
                # A process that is stopped takes the first one only now.
                self._launcher.signal(*life, signal.SIGCONT)
            case name:
                self._launcher.signal(*life, signal.Signals[name])

    def _confined(self, path: str, generation: int, spec: ChildSpec) -> Cgroup | None:
        confinement = self.confinement
        return None if confinement is None else confinement.prepare(path, generation, spec)

    def _fired(self, key: TimerKey) -> None:
        self.handle(TimerFired(key))

    def _publish(self, event: LifecycleEvent) -> None:
        facts = self._exit_facts.get((event.path, event.generation))
        if event.event is EventName.CHILD_EXITED and facts is not None:
            more = {"rusage": facts["rusage"]}
            if event.detail["reason"]["start_timeout"] is not None:
                more["unmet"] = facts["unmet"]
            event = replace(event, pid=facts["pid"], detail={**event.detail, **more})
        self._outside.publish(event)


def _seconds(microseconds: str) -> float | None:
    """What a key of the protocol that ends in _USEC says; None if it says nothing."""
    if microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 16:
        return int(microseconds) / 1e6
    return None


def _tick(key: TimerKey, at: float) -> float:
    """When to fire: a watchdog at a tick that it shares with others, to wake up once for all."""
    return math.ceil(at / _TICK_S) * _TICK_S if key.name == "watchdog" else at
