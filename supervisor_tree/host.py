"""The composition root: one host, from its lock to its exit code.

Order of birth: lock and leftovers of a former life, sockets, spawner, logger, tree.
The way down is the reverse.  Everything that decides is in `core`; this module only
knows who has to be there before whom, and what the outside world is told.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from supervisor_tree.control.events import EventLog
from supervisor_tree.control.holds import Asker
from supervisor_tree.control.rows import nested
from supervisor_tree.control.sentences import why_ended
from supervisor_tree.control.server import ControlServer
from supervisor_tree.core.actions import HoldChanged, TreeEnded
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.core.stimuli import BootRequested, ShutdownRequested
from supervisor_tree.core.tree import Tree
from supervisor_tree.errors import AlreadyRunning, ConfigError, ConfigProblem, SupervisorTreeError
from supervisor_tree.runtime.agentdata import child_environment
from supervisor_tree.runtime.applier import Applier
from supervisor_tree.runtime.buskeeper import BusKeeper
from supervisor_tree.runtime.chronicle import Chronicle
from supervisor_tree.runtime.clock import SystemClock
from supervisor_tree.runtime.confinement import confine
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.diagnosis import Diagnosis
from supervisor_tree.runtime.driver import Driver
from supervisor_tree.runtime.ear import Ear
from supervisor_tree.runtime.ending import Ending
from supervisor_tree.runtime.infrastructure import LOGGER, has_foreign_users, infrastructure
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.lifeline import watch
from supervisor_tree.runtime.listeners import Listeners, Named
from supervisor_tree.runtime.lives import Life
from supervisor_tree.runtime.logs.streams import LogStreams
from supervisor_tree.runtime.membership import Membership
from supervisor_tree.runtime.notify import Datagram, NotifySocket
from supervisor_tree.runtime.pidfiles import PidFiles
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.reloading import Reloader
from supervisor_tree.runtime.rundir import RunDirectory
from supervisor_tree.runtime.service import Service
from supervisor_tree.runtime.settings import HostSettings, prepare_directories, unusable
from supervisor_tree.runtime.signals import HELD_BACK, ROOT_SIGNALS, SignalQueue, name_of
from supervisor_tree.runtime.state import StateFile, former
from supervisor_tree.runtime.verbs import operations_of
from supervisor_tree.runtime.wanted import WantedState
from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.client import SpawnerLauncher
from supervisor_tree.spawner.remarks import ModuleLeftOut, Preloaded, SpawnerLost, SpawnerStarted

__all__ = ["Host"]

_LOGGER_PATIENCE_S = 5.0  # the tree starts without a logger rather than not at all
_LAST_WORDS_S = 0.5  # for replies that are still on their way when the host ends
_SPAWNER_END_S = 3.0  # it has nothing left to do by then; it promises 2 s even so
_STATE_INTERVAL_S = 0.5


def _nothing() -> None:
    """The callback of those who do not ask to be called."""


class Host:
    """One running host.  `run` is called once, from the main thread."""

    def __init__(
        self,
        settings: HostSettings,
        tree: SupervisorSpec,
        launcher: SpawnerLauncher,
        instance: str,
        inherited: Inherited,
    ) -> None:
        self.settings = settings
        self.spec = tree
        self.launcher = launcher
        self.instance = instance
        self.phase = "starting"
        self.reactor = Reactor(SystemClock())
        self.started_at = self.reactor.clock.wall()
        self.log = EventLog(settings.name, self.instance)
        self.tree = Tree(jitter=random.random)
        self.inherited = inherited
        self.listeners = Listeners(inherited.sockets)
        self.service = Service(inherited, self.reactor, self.tree.rows, os.getpid())
        self._exit_code = 0
        self._asked_to_stop = False
        self._tree_booted = False
        wall = self.reactor.clock.wall
        self.chronicle = Chronicle(wall, terminal=settings.console, as_json=settings.json)
        self.safe_mode = False
        self.say = self.chronicle.say
        self.report = self.chronicle.report
        self.failure = ""  # why the tree has ended, if not because it was asked to
        self._refusal: str | None = None
        self._on_listening: Callable[[], None] = _nothing
        self._on_ready: Callable[[], None] = _nothing

    # --- life ---------------------------------------------------------------------------

    def run(
        self,
        on_listening: Callable[[], None] = _nothing,
        on_ready: Callable[[], None] = _nothing,
    ) -> int:
        """Run until the tree has ended; returns the exit code.

        `on_listening` is called when the control socket takes orders, `on_ready` once,
        when every child of the tree has become ready.
        Raises AlreadyRunning, or ConfigError for a run directory that cannot be used.
        """
        self._on_listening = on_listening
        self._on_ready = on_ready
        try:
            mode = prepare_directories(self.settings, shared=has_foreign_users(self.spec))
            self.directory = RunDirectory(self.settings.run_dir, mode)
            leave = self.settings.leftovers == "leave"
            facts = self.settings.lock_facts(self.instance)
            self._leftovers = self.directory.enter(leave=leave, **facts)
        except BaseException:
            self._end_spawner()
            raise
        try:
            self.diagnosis = Diagnosis(self.settings, self.instance, self.chronicle)
            self.safe_mode = self.diagnosis.begin(self.started_at)
            self._open()
            try:
                self._boot()
                self._on_listening()
                self.service.begin()
                self.reactor.run()
                self.state.remove()  # only now: a host that fails leaves the next one its list
            except Exception as error:
                self.diagnosis.crashed(error)
                raise
            finally:
                self._close()
            self.diagnosis.end("stopped" if self._asked_to_stop else "gave_up")
        except SupervisorTreeError:
            self.diagnosis.end("failed_start")
            raise
        finally:
            self.directory.leave()
        if self._refusal is not None:
            problem = ConfigProblem(self.settings.config or "", 0, 0, "host.preload", self._refusal)
            raise ConfigError([problem])
        return self.ending.exit_code or self._exit_code

    def _open(self) -> None:
        settings = self.settings
        setproctitle(f"supervisor-tree: root {settings.name}")
        self.signals = SignalQueue((*ROOT_SIGNALS, signal.SIGCHLD))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # `root.become` held some back
        carried = former(settings.run_dir) if self._leftovers else []
        self.state = StateFile(settings.run_dir, self.instance, carried)
        self.streams = LogStreams(
            redact=settings.logs.redact,
            on_frozen=self._end_frozen_logger,
            on_problem=self.chronicle.log_problem,
            tell=self.chronicle.tell,
        )
        try:
            self.notify = NotifySocket(settings.run_dir / "notify.sock")
            self.streams.listen(str(settings.run_dir))
        except OSError as error:
            raise unusable(settings.run_dir, error.strerror or str(error)) from None
        self._write_lines = self.streams.own_writer(settings.logs)
        self.driver = Driver(self.tree, self.launcher, self.reactor, self)
        self.streams.on_seen = self.driver.probes.line_seen
        self.streams.on_given_up = self.driver.line_given_up
        takes_messages, tell = self.driver.takes_messages, self.chronicle.tell
        self.members = Membership(settings, self.tree, self.reactor, takes_messages, tell)
        self.confinement = confine(self, leave=bool(self._leftovers))
        keeper = BusKeeper(self.members, settings.state_dir, publish=self.publish, say=self.say)
        kept = settings.state_dir / "wanted" if settings.config is not None else None
        self.wanted = WantedState(kept, self.driver, self.reactor, self.reactor.clock.wall, tell)
        self.pid_files = PidFiles(self.tree, self.reactor, tell)
        self.ending = Ending(self)
        self._open_control(keeper)
        self.reactor.add(self.signals.fileno(), self._on_signals)
        self.reactor.add(self.launcher.fileno(), self._on_children)
        self.ear = Ear(self.notify, self.reactor, self.driver, self._on_children)
        for fd, callback in (*self.server.sockets(), *self.streams.sockets()):
            self.reactor.add(fd, callback)
        if settings.lifeline >= 0:
            watch(settings.lifeline, self.reactor, self.begin_shutdown)
        self.reactor.before_wait(self._each_turn)
        self.launcher.reap_strangers()  # whose SIGCHLD came before there was a handler
        self._keep_files()

    def _open_control(self, keeper: BusKeeper) -> None:
        desk, tell = Desk(self), self.chronicle.tell
        self.desk = desk
        self.diagnosis.open(desk, self.reactor, self._leftovers, self.directory.ended)
        self.applier = Applier(self, desk, tell)
        run_dir, undertakings = self.settings.run_dir, self.applier.undertakings
        self.reloader = Reloader(run_dir, desk, undertakings, self.service, tell)
        self.operations = operations_of(desk, keeper, self.diagnosis, self.applier)
        handle, on_fault = self.operations.handle, self.chronicle.fault
        self.server = ControlServer(self.settings.run_dir, handle, on_fault=on_fault)

    def _keep_files(self) -> None:
        """See to it that what outsiders find us by stays where it is."""
        keep = self.directory.keep
        for path in self.server.paths:
            keep(path, partial(self.server.bind_anew, path))
        self._write_state()
        keep(self.notify.path, self.ear.bind_anew)
        keep(Path(self.streams.address), partial(self.streams.listen, str(self.settings.run_dir)))
        keep(self.state.path, self._write_state, replaceable=True)
        self.members.expect(self.spec)
        keep(self.members.file, self.members.write_anew, replaceable=True)
        self.directory.watch(self.reactor, self.chronicle.tell, self._give_way)

    def _give_way(self) -> None:
        """Another host has taken our place: two of them would run every child twice."""
        self._exit_code = AlreadyRunning.exit_code
        self.begin_shutdown()

    def _boot(self) -> None:
        """The logger first; the tree when the logger listens, or after a short patience."""
        for problem in self.inherited.problems:
            self.chronicle.tell(problem)
        self.applier.tell_left_out()
        beside = infrastructure(self.settings, self.spec, self.started_at)
        self.driver.handle(BootRequested("/_", beside))
        self.reactor.call_in("logger-patience", _LOGGER_PATIENCE_S, self._boot_tree)

    def _boot_tree(self) -> None:
        if not self._tree_booted and self.phase != "stopping":
            self._tree_booted = True
            self.pid_files.sweep(self.spec)
            self.reactor.cancel("logger-patience")
            held = self.wanted.load()
            self.driver.handle(BootRequested("/", self.spec, held, parked=self.safe_mode))

    def _each_turn(self) -> None:
        """What has to be looked at once per turn because nothing announces it."""
        if not self._tree_booted and self.streams.connected:
            self._boot_tree()
        if self.phase == "starting" and self._tree_booted:
            row = self.tree.row("/")
            if row is not None and row.ready:
                self._became_ready()
        self.members.settle_if_touched()
        self.listeners.settle_if_touched(self.tree.row)
        self.operations.look()
        self.server.look(self.reactor)
        self.chronicle.write_to(self._write_lines)
        due = self.streams.due()
        if due is not None:
            self.reactor.call_at("logs", due, self.streams.tick)
        if self.chronicle.flush():
            self.reactor.call_in("console", 0.05, _nothing)
        self.service.turned()

    def _became_ready(self) -> None:
        self.phase = "running"
        self._publish_host(EventName.HOST_STARTED, os.getpid(), safe_mode=self.safe_mode)
        kernel.give_back_memory()
        self.chronicle.show(nested(self.tree.rows("/"), self.reactor.clock.now()))
        self._on_ready()

    def begin_shutdown(self, *, timeout_s: float | None = None) -> None:
        """Stop the tree in reverse order; after `timeout_s` end what is left by force."""
        self._asked_to_stop = True
        if timeout_s is not None:
            self.ending.force_in(timeout_s)
        if self.phase == "stopping":
            return
        self.phase = "stopping"
        self.ending.limit(self.settings.stop_limit)
        self._publish_host(EventName.HOST_STOPPING)
        if self._tree_booted:
            self.driver.handle(ShutdownRequested("/"))
        else:
            self.driver.handle(ShutdownRequested("/_"))

    def _close(self) -> None:
        self.operations.give_up()
        self.applier.give_up()
        self.diagnosis.flush()
        self.wanted.close()
        self.pid_files.close()
        if self.phase == "stopping" and self._refusal is None:
            self.ending.say_last(self._exit_code, self.failure)
        self.chronicle.close(self._write_lines)
        self.server.close(linger_s=_LAST_WORDS_S)
        self.driver.probes.close()
        self._end_spawner()
        self.listeners.close()
        self.streams.close(str(self.settings.log_dir))
        self.notify.close()
        self.members.close()
        self.confinement.close()
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)  # too late to change the exit code
        self.signals.close()
        self.service.close()
        self.reactor.close()

    def _end_spawner(self) -> None:
        self.launcher.close()
        self.launcher.wait_closed(_SPAWNER_END_S)

    # --- what comes in ------------------------------------------------------------------

    def _on_children(self, heard: Sequence[Datagram] = ()) -> None:
        notices = self.launcher.collect()
        self.driver.absorb(notices, [*heard, *self.notify.receive()])
        self._heed_spawner()
        if notices:
            self.reactor.call_in("state", _STATE_INTERVAL_S, self._write_state)

    def _heed_spawner(self) -> None:
        """What has happened to spawners themselves."""
        for remark in self.launcher.remarks():
            match remark:
                case SpawnerStarted(pid):
                    self._publish_host(EventName.SPAWNER_STARTED, pid=pid)
                case SpawnerLost() | Preloaded():
                    self.say(remark.words)
                    self.applier.preloaded()
                case ModuleLeftOut():
                    self._module_left_out(remark)

    def _module_left_out(self, remark: ModuleLeftOut) -> None:
        """A module asked for by name must preload; for any other a warning is enough."""
        message = f"cannot preload {remark.module}: {remark.reason}"
        if not remark.required:
            self.say(f"{message}; every child that needs it imports it itself")
        elif self.phase == "starting":
            self._refusal = message
            self.begin_shutdown()

    def _write_state(self) -> None:
        children = self.driver.processes()
        if self.launcher.pid:
            children.append(("/_/spawner", 0, self.launcher.pid, self.launcher.start_ticks))
        self.confinement.write(children)
        if self.state.write(children):
            self.chronicle.tell(f"{self.state.path}: {self.state.problem or 'written again'}")
        if self.state.problem:
            self.reactor.call_in("state", 10 * _STATE_INTERVAL_S, self._write_state)

    def _on_signals(self) -> None:
        for number in self.signals.collect():
            match number:
                case signal.SIGINT | signal.SIGTERM:
                    self.ending.interrupted(number)
                case signal.SIGCHLD:
                    self.launcher.reap_strangers()
                case signal.SIGQUIT:
                    self.begin_shutdown(timeout_s=0.0)
                case signal.SIGUSR1:
                    self.streams.reopen()
                case signal.SIGHUP if self.chronicle.hung_up:
                    self.begin_shutdown()  # the terminal we were started on was closed
                case signal.SIGHUP:
                    self.reloader.hang_up()
                case _:
                    self.say(f"{name_of(number)} is not used by this version; nothing was done")

    def _end_frozen_logger(self) -> None:
        """It would hold every child up; the core learns of its end as of any, and restarts it."""
        life = self.driver.life_of(LOGGER)
        if life is not None:
            self.say("the logger does not answer any more; it is killed")
            self.launcher.kill(life.path, life.generation)

    # --- runtime.lives.Outside ------------------------------------------------------------

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        """The keys of a child's environment that only the host sets."""
        self.members.starts(path)
        told = child_environment(self.settings, path, generation)
        return {"NOTIFY_SOCKET": str(self.notify.path), **told}

    def sockets(self, path: str, spec: ChildSpec) -> Sequence[Named]:
        """What a child listens on; opened now, if not before."""
        return self.listeners.of(path, spec.sockets)

    def note(self, event: LifecycleEvent) -> None:
        """Let the members of the bus see it at once."""
        self.members.heard(event)

    def publish(self, event: LifecycleEvent) -> None:
        """Number the event, tell subscribers, the terminal and the host's log."""
        self.streams.heard(event)
        self.pid_files.heard(event)
        self.reloader.heard(event)
        self.service.heard(event.event)
        self.listeners.touch()
        record = self.log.append(event, self.reactor.clock.wall())
        self.server.publish(record)
        self.diagnosis.heard(record)
        self.desk.heed(record)
        if not event.path.startswith("/_"):
            self.chronicle.event(record)

    def attach(self, life: Life, stdout: int, stderr: int) -> None:
        """Hand a child's output to the logger."""
        assert life.pid is not None
        logs = life.spec.logs or self.settings.logs
        who, line = (life.path, life.generation, life.pid), life.spec.ready.log or ""
        self.streams.attach(*who, stdout=stdout, stderr=stderr, logs=logs, awaited=line)

    def remember(self, change: HoldChanged, asker: Asker | None) -> None:
        """Keep what an operator wants for the host's next life."""
        self.wanted.remember(change, asker)

    def tree_ended(self, ended: TreeEnded) -> None:
        """The tree goes first, the infrastructure after it, then the host."""
        if ended.path == "/":
            if not self._asked_to_stop:
                self._exit_code = ended.exit_code
            if not self._asked_to_stop and self._exit_code:
                self.failure = why_ended(ended)
                self.diagnosis.tree_ended(ended, self.failure)
            if self.phase != "stopping":
                self.phase = "stopping"
                self._publish_host(EventName.HOST_STOPPING)
            self.driver.handle(ShutdownRequested("/_"))
        else:
            self.reactor.stop()

    def _publish_host(self, name: EventName, pid: int | None = None, **detail: Any) -> None:
        self.publish(LifecycleEvent(event=name, path="/", kind="host", pid=pid, detail=detail))
