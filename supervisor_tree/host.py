"""The composition root: one host, from its lock to its exit code.

Order of birth: lock and leftovers of a former life, sockets, spawner, logger, tree.
The way down is the reverse.  Everything that decides is in `core`; this module only
knows who has to be there before whom, and what the outside world is told.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
import uuid
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from setproctitle import setproctitle

from supervisor_tree.control.events import EventLog
from supervisor_tree.control.operations import Operations
from supervisor_tree.control.render import event_line, tree_lines, why_ended
from supervisor_tree.control.rows import nested
from supervisor_tree.control.server import ControlServer
from supervisor_tree.core.actions import Report, TreeEnded
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import SupervisorSpec
from supervisor_tree.core.stimuli import BootRequested, ShutdownRequested, Stimulus
from supervisor_tree.core.tree import Tree
from supervisor_tree.errors import ConfigError, ConfigProblem
from supervisor_tree.runtime.clock import SystemClock
from supervisor_tree.runtime.console import Console
from supervisor_tree.runtime.driver import Driver, Life
from supervisor_tree.runtime.infrastructure import agent_modules, infrastructure, specs_below
from supervisor_tree.runtime.lock import RunDirectoryLock
from supervisor_tree.runtime.logs import LogStreams
from supervisor_tree.runtime.notify import NotifySocket
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.settings import (
    HostSettings,
    prepare_directories,
    raise_descriptor_limit,
)
from supervisor_tree.runtime.signals import ROOT_SIGNALS, SignalQueue
from supervisor_tree.runtime.state import StateFile, find_leftovers
from supervisor_tree.spawner.client import SpawnerLauncher
from supervisor_tree.spawner.remarks import (
    ModuleLeftOut,
    Preloaded,
    SpawnerLost,
    SpawnerStarted,
)

__all__ = ["Host"]

_LOGGER_PATIENCE_S = 5.0  # the tree starts without a logger rather than not at all
_LAST_WORDS_S = 0.5  # for replies that are still on their way when the host ends
_FROZEN_S = 2.0  # after so long a SIGKILL must have been carried out
_SPAWNER_END_S = 3.0  # it has nothing left to do by then; it promises 2 s even so
_STATE_INTERVAL_S = 0.5


def _nothing() -> None:
    """The callback of those who do not ask to be called."""


class Host:
    """One running host.  `run` is called once, from the main thread."""

    def __init__(self, settings: HostSettings, tree: SupervisorSpec) -> None:
        self.settings = settings
        self.spec = tree
        self.instance = uuid.uuid4().hex
        self.phase = "starting"
        self.reactor = Reactor(SystemClock())
        self.started_at = self.reactor.clock.wall()
        self.log = EventLog(settings.name, self.instance)
        self.tree = Tree(jitter=random.random)
        self._exit_code = 0
        self._asked_to_stop = False
        self._tree_booted = False
        self._interrupts = 0
        self._version = version("supervisor_tree")
        self._said: list[str] = []
        self.failure = ""  # why the tree has ended, if not because it was asked to
        self._refusal: str | None = None
        self._on_listening: Callable[[], None] = _nothing
        self._on_ready: Callable[[], None] = _nothing
        self._console = Console(sys.stdout.fileno()) if settings.console else None
        self._colour = bool(
            self._console and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        )

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
        prepare_directories(self.settings, shared=self._has_foreign_users())
        lock = RunDirectoryLock(self.settings.run_dir)
        lock.acquire(
            name=self.settings.name,
            instance=self.instance,
            config=self.settings.config,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        try:
            self._end_leftovers()
            self._open()
            try:
                self._boot()
                self._on_listening()
                self.reactor.run()
                self.state.remove()  # only now: a host that fails leaves the next one its list
            finally:
                self._close()
        finally:
            lock.release()
        if self._refusal is not None:
            problem = ConfigProblem(self.settings.config or "", 0, 0, "host.preload", self._refusal)
            raise ConfigError([problem])
        return self._exit_code

    def _has_foreign_users(self) -> bool:
        return any(spec.user is not None for spec in specs_below(self.spec))

    def _end_leftovers(self) -> None:
        """SIGKILL what a former host of this run directory has left behind, until it is gone."""
        for _ in range(100):
            leftovers = find_leftovers(self.settings.run_dir)
            if not leftovers:
                return
            for leftover in leftovers:
                leftover.kill()

    def _open(self) -> None:
        settings = self.settings
        setproctitle(f"supervisor-tree: root {settings.name}")
        self.signals = SignalQueue(ROOT_SIGNALS)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # `root.become` held some back
        raise_descriptor_limit()
        self.state = StateFile(settings.run_dir, self.instance)
        self.notify = NotifySocket(settings.run_dir / "notify.sock")
        if self._has_foreign_users():
            self.notify.open_to_everyone()
        self.streams = LogStreams()
        self.streams.listen(str(settings.run_dir))
        self._write_lines = self.streams.own_writer()
        self.launcher = SpawnerLauncher.start(
            instance=self.instance,
            preload=settings.preload,
            modules=agent_modules(self.spec),
            sys_path=settings.sys_path,
        )
        self.driver = Driver(self.tree, self.launcher, self.reactor, self)
        self.operations = Operations(self)
        self.server = ControlServer(
            settings.run_dir, self.operations.handle, on_fault=self._on_fault
        )
        self.reactor.add(self.signals.fileno(), self._on_signals)
        self.reactor.add(self.launcher.fileno(), self._on_children)
        self.reactor.add(self.notify.fileno(), self._on_children)
        for fd, callback in (*self.server.sockets(), *self.streams.sockets()):
            self.reactor.add(fd, callback)
        if settings.lifeline >= 0:
            self.reactor.add(settings.lifeline, self._on_lifeline)
        self.reactor.before_wait(self._each_turn)

    def _boot(self) -> None:
        """The logger first; the tree when the logger listens, or after a short patience."""
        settings = self.settings
        beside = infrastructure(settings.run_dir, settings.log_dir, settings.logs)
        self.driver.handle(BootRequested("/_", beside))
        self.reactor.call_in("logger-patience", _LOGGER_PATIENCE_S, self._boot_tree)

    def _boot_tree(self) -> None:
        if not self._tree_booted and self.phase != "stopping":
            self._tree_booted = True
            self.reactor.cancel("logger-patience")
            self.driver.handle(BootRequested("/", self.spec))

    def _each_turn(self) -> None:
        """What has to be looked at once per turn because nothing announces it."""
        if not self._tree_booted and self.streams.connected:
            self._boot_tree()
        if self.phase == "starting" and self._tree_booted:
            row = self.tree.row("/")
            if row is not None and row.ready:
                self._became_ready()
        self.operations.look()
        self._write_said()
        due = self.streams.due()
        if due is not None:
            self.reactor.call_at("logs", due, self.streams.tick)
        if self._console is not None and self._console.waiting:
            self.reactor.call_in("console", 0.05, self._console.flush)

    def _write_said(self) -> None:
        if self._said:
            self._write_lines("\n".join(self._said))
            self._said.clear()

    def _became_ready(self) -> None:
        self.phase = "running"
        self._publish_host(EventName.HOST_STARTED, pid=os.getpid())
        if self._console is not None:
            picture = nested(self.tree.rows("/"), self.now())
            for line in tree_lines(picture, colour=self._colour):
                self._console.write(line)
        self._on_ready()

    def begin_shutdown(self, *, timeout_s: float | None = None) -> None:
        """Stop the tree in reverse order; after `timeout_s` end what is left by force."""
        self._asked_to_stop = True
        if timeout_s is not None:
            self.reactor.call_in("shutdown-limit", timeout_s, self.kill_everything)
        if self.phase == "stopping":
            return
        self.phase = "stopping"
        self._publish_host(EventName.HOST_STOPPING)
        if self._tree_booted:
            self.driver.handle(ShutdownRequested("/"))
        else:
            self.driver.handle(ShutdownRequested("/_"))

    def kill_everything(self) -> None:
        """SIGKILL every scope of the tree now; the core learns of it as of any exit.

        A spawner that is frozen carries nothing out: it is given up after a while, and its
        children, who are then the root's own, are ended by the root.
        """
        for path, generation in list(self.driver.lives):
            if not path.startswith("/_/"):
                self.launcher.kill(path, generation)
        self.reactor.call_in("frozen-spawner", _FROZEN_S, self.launcher.abandon)

    def _close(self) -> None:
        self.operations.give_up()
        self._write_said()
        self.server.close(linger_s=_LAST_WORDS_S)
        self.launcher.close()
        self.launcher.wait_closed(_SPAWNER_END_S)
        self.streams.close(str(self.settings.log_dir))
        self.notify.close()
        self.signals.close()
        self.reactor.close()

    # --- what comes in ------------------------------------------------------------------

    def _on_children(self) -> None:
        notices = self.launcher.collect()
        self.driver.absorb(notices, self.notify.receive())
        self._heed_spawner()
        if notices:
            self.reactor.call_in("state", _STATE_INTERVAL_S, self._write_state)

    def _heed_spawner(self) -> None:
        """What has happened to spawners themselves."""
        for remark in self.launcher.remarks():
            match remark:
                case SpawnerStarted(pid):
                    self._publish_host(EventName.SPAWNER_STARTED, pid=pid)
                case SpawnerLost(pid, adopted):
                    self.say(f"spawner {pid} has died; its {adopted} children live on")
                case Preloaded(pid, modules, seconds):
                    self.say(
                        f"spawner {pid} has preloaded {len(modules)} modules in {seconds:.2f} s"
                    )
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
        children = [
            (life.path, life.generation, life.pid, life.start_ticks)
            for life in self.driver.lives.values()
            if life.pid is not None
        ]
        if self.launcher.pid:
            children.append(("/_/spawner", 0, self.launcher.pid, self.launcher.start_ticks))
        self.state.write(children)

    def _on_signals(self) -> None:
        for number in self.signals.collect():
            match number:
                case signal.SIGINT | signal.SIGTERM:
                    self._interrupted(number)
                case signal.SIGQUIT:
                    self.begin_shutdown(timeout_s=0.0)
                case signal.SIGUSR1:
                    self.streams.reopen()
                case signal.SIGHUP if self._console is not None and self._console.hung_up:
                    self.begin_shutdown()  # the terminal we were started on was closed
                case _:
                    self.say(f"{number.name} is not used by this version; nothing was done")

    def _interrupted(self, number: signal.Signals) -> None:
        """The first asks, the second shortens, the third does not wait."""
        self._interrupts += 1
        if self._interrupts == 1:
            self.begin_shutdown()
        elif self._interrupts == 2:
            self.kill_everything()
        else:
            # The spawner sees our end and empties every scope within two seconds.
            os._exit(128 + number)

    def _on_lifeline(self) -> None:
        """The embedding program closed its end, or has died."""
        if os.read(self.settings.lifeline, 4096) == b"":
            self.reactor.remove(self.settings.lifeline)
            self.begin_shutdown()

    def _on_fault(self, error: BaseException) -> None:
        """A bug in one verb: it is told, and the host goes on."""
        for line in traceback.format_exception(error):
            self.say(line.rstrip())

    # --- control.operations.HostView --------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a client may want to know of the host itself; plain data."""
        return {
            "name": self.settings.name,
            "instance": self.instance,
            "pid": os.getpid(),
            "spawner_pid": self.launcher.pid,
            "version": self._version,
            "config": self.settings.config,
            "run_dir": str(self.settings.run_dir),
            "log_dir": str(self.settings.log_dir),
            "uptime_s": round(self.wall() - self.started_at, 3),
        }

    def now(self) -> float:
        """Monotonic seconds, the core's time."""
        return self.reactor.clock.now()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self.reactor.clock.wall()

    def said(self, path: str) -> str:
        """The last STATUS= of the child's present life."""
        life = self.driver.life_of(path)
        return "" if life is None else life.status

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None:
        """Give the core a request."""
        self.driver.submit(make, answer)

    def signal_child(self, path: str, generation: int, number: int) -> None:
        """An operator's signal to one life's leader."""
        self.launcher.signal(path, generation, number)

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        """Turn the loop again in `delay_s` seconds."""
        self.reactor.call_in(key, delay_s, callback)

    # --- runtime.driver.Outside -----------------------------------------------------------

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        """The keys of a child's environment that only the host sets."""
        settings = self.settings
        return {
            "NOTIFY_SOCKET": str(self.notify.path),
            "SUPERVISOR_TREE_PATH": path,
            "SUPERVISOR_TREE_GENERATION": str(generation),
            "SUPERVISOR_TREE_RUN_DIR": str(settings.run_dir),
            "SUPERVISOR_TREE_DATA_DIR": str(settings.state_dir / "data"),
        }

    def publish(self, event: LifecycleEvent) -> None:
        """Number the event, tell subscribers, the terminal and the host's log."""
        record = self.log.append(event, self.reactor.clock.wall())
        self.server.publish(record)
        if event.path.startswith("/_"):
            return
        self.say(event_line(record, clock=False))
        if self._console is not None:
            self._console.write(event_line(record, colour=self._colour))

    def report(self, report: Report) -> None:
        """A supervisor report, as OTP's would stand in the log."""
        self.say(
            f"supervisor {report.supervisor}: {report.context.value} "
            f"of {report.id or report.supervisor}: {report.reason}"
        )

    def attach(self, life: Life, stdout: int, stderr: int) -> None:
        """Hand a child's output to the logger."""
        assert life.pid is not None
        logs = life.spec.logs or self.settings.logs
        self.streams.attach(
            life.path, life.generation, life.pid, stdout=stdout, stderr=stderr, logs=logs
        )

    def tree_ended(self, ended: TreeEnded) -> None:
        """The tree goes first, the infrastructure after it, then the host."""
        if ended.path == "/":
            self._exit_code = 0 if self._asked_to_stop else ended.exit_code
            if self._exit_code:
                self.failure = why_ended(ended)
                self._tell(f"host {self.settings.name} has given up: {self.failure}")
            if self.phase != "stopping":
                self.phase = "stopping"
                self._publish_host(EventName.HOST_STOPPING)
            self.driver.handle(ShutdownRequested("/_"))
        else:
            self.reactor.stop()

    def say(self, line: str) -> None:
        """A line for the host's log; written once per turn, together with others."""
        self._said.append(line)

    def _tell(self, line: str) -> None:
        """One line to the host's log and to whoever looks on."""
        self.say(line)
        if self._console is not None:
            self._console.write(line)

    def _publish_host(self, name: EventName, pid: int | None = None) -> None:
        self.publish(LifecycleEvent(event=name, path="/", kind="host", pid=pid))
