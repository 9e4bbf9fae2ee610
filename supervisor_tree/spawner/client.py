"""The root's end: the real Launcher.

The root never forks.  It starts the spawner by posix_spawn, gives it orders, and believes
what it says.  When the spawner dies, its children become the root's (both are subreapers)
and live on; a new spawner makes the next ones.  Nothing is lost on the way:

* an end that was told is in the socket, which outlives the spawner, and is read first;
* an end that was not told is a zombie, because the spawner reaps only what it has told;
* an order that was not answered is given to the new spawner, once the process that may
  have come of it, found by its mark, is ended.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Sequence

from supervisor_tree.runtime.launcher import (
    Exited,
    Launch,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Spawned,
)
from supervisor_tree.spawner import kernel, procfs, protocol
from supervisor_tree.spawner.birth import Recipe, SpawnerProcess, home_of
from supervisor_tree.spawner.leftovers import end_leftovers
from supervisor_tree.spawner.lives import Key, read_mark
from supervisor_tree.spawner.protocol import Frame, ProtocolError, SpecPacker, to_notice
from supervisor_tree.spawner.records import Patience, Record, Suspicion, discard, duplicates, obey
from supervisor_tree.spawner.remarks import (
    ModuleLeftOut,
    Preloaded,
    Remark,
    SpawnerLost,
    SpawnerStarted,
)
from supervisor_tree.spawner.scope import Warden
from supervisor_tree.spawner.succession import Succession
from supervisor_tree.spawner.vigil import Vigil

__all__ = ["SpawnerLauncher"]

_UNSENDABLE = (TypeError, ValueError, OverflowError, AttributeError, ProtocolError, OSError)
_VERDICT_S = 1.0  # a spawner whose socket has ended is dead by then
_TIDY_S = 1.0  # how often orphans of adopted lives are looked after


class SpawnerLauncher:
    """Launcher over spawner processes.  Make it with `start`."""

    def __init__(self, recipe: Recipe, *, uncaptured: Collection[str]) -> None:
        self._recipe = recipe
        self._uncaptured = frozenset(uncaptured)
        self._poller = select.epoll()
        self._timer = kernel.Timer()
        self._poller.register(self._timer.fd, select.EPOLLIN)
        self._own_session = os.getsid(0)
        self._warden = Warden(recipe.instance, self._poller, is_ours=self._is_ours)
        self._records: dict[Key, Record] = {}
        self._succession = Succession(self._warden, recipe.instance, self._records, self._give)
        self._spawners: list[SpawnerProcess] = []
        self._current: SpawnerProcess | None = None
        self._code = 0
        self._waiting: list[Key] = []  # launches for which there is no spawner yet
        self._patience = Patience()
        self._suspicion = Suspicion()
        self._vigil = Vigil(time.monotonic())
        self._respawn_at: float | None = None
        self._tidy_at: float | None = None
        self._packer = SpecPacker()
        self._notices: list[LauncherNotice] = []
        self._remarks: list[Remark] = []
        self._nudged = False  # there are remarks that no `collect` has announced
        self._closed = False

    @classmethod
    def start(
        cls,
        *,
        instance: str,
        preload: Sequence[str] = (),
        modules: Sequence[str] = (),
        sys_path: Sequence[str] = (),
        uncaptured: Collection[str] = ("/_/logger",),
    ) -> SpawnerLauncher:
        """Start the first spawner and return without waiting for it.

        instance
            what makes this host's marks its own; no colon in it.
        preload, modules
            to import ahead: those the user has asked for, and those of the agents.
        sys_path
            put before the fresh interpreter's own; the working directory is not on it.
        uncaptured
            paths of children whose output goes to this process's stderr.

        Makes this process a subreaper.  Raises OSError if no process can be started.
        """
        kernel.become_subreaper()
        recipe = Recipe.make(instance, preload, modules, sys_path)
        launcher = cls(recipe, uncaptured=uncaptured)
        try:
            launcher._bring_up()
            launcher._rearm()
        except BaseException:
            launcher.close()
            raise
        return launcher

    @property
    def pid(self) -> int:
        """Of the spawner that makes new children; 0 while there is none."""
        return 0 if self._current is None else self._current.pid

    @property
    def start_ticks(self) -> int:
        """Of the same."""
        return 0 if self._current is None else self._current.start_ticks

    def family(self) -> list[int]:
        """This process and all that descend from it."""
        return procfs.family_of(os.getpid())

    def fileno(self) -> int:
        """One descriptor for everything there is to wait for."""
        return self._poller.fileno()

    # --- orders ----------------------------------------------------------------------------

    def launch(self, launch: Launch) -> None:
        """Begin a life; a path and generation that are in use already are refused."""
        key = (launch.path, launch.generation)
        if key in self._records:
            self._refuse(launch, "fork", "this life has begun already")
            return
        self._records[key] = Record(launch, None)
        self._give(key)

    def stop(self, path: str, generation: int) -> None:
        """The stop signal to the leader."""
        self._order(["stop", path, generation])

    def kill(self, path: str, generation: int) -> None:
        """SIGKILL to the scope."""
        self._order(["kill", path, generation])

    def signal(self, path: str, generation: int, signal: int) -> None:
        """A signal to the leader alone."""
        self._order(["signal", path, generation, int(signal)])

    def refresh(
        self, *, preload: Sequence[str] | None = None, modules: Sequence[str] | None = None
    ) -> None:
        """Bring up a spawner with freshly imported code, whose number is one more.

        It makes all children but those that are to run the code of one that is there still.
        Raises OSError, and leaves all as it was, if no process can be started.
        """
        former = self._recipe, self._code
        self._recipe, self._code = self._recipe.changed(preload, modules), self._code + 1
        try:
            self._bring_up()
        except OSError:
            self._recipe, self._code = former
            raise

    def retire(self, keep: Collection[int] = ()) -> None:
        """Let former spawners end with their last child, but those whose code is in `keep`."""
        for spawner in self._spawners:
            if spawner is not self._current and spawner.code not in keep:
                spawner.retire(self._poller)

    @property
    def code(self) -> int:
        """The number of the newest code."""
        return self._code

    def abandon(self) -> None:
        """SIGKILL spawners that are frozen: their orders are then carried out here."""
        for spawner in self._spawners:
            kernel.send_signal(spawner.pidfd, signal.SIGKILL)

    def reap_strangers(self) -> None:
        """Reap what has ended and is neither a life nor a spawner, whoever has started it.

        PID 1 is given the orphans of a whole container, and must (wait(2), NOTES).  Only for a
        process all of whose children are this launcher's to wait for.
        """
        kept = {spawner.pid for spawner in self._spawners}
        kept |= {record.pid for record in self._records.values()}
        for pid in procfs.children_of(os.getpid()):
            if pid not in kept and kernel.has_ended(pid):
                self._warden.reap_orphan(pid)

    # --- what has happened -------------------------------------------------------------------

    def collect(self) -> list[LauncherNotice]:
        """What there is to tell."""
        for fd, _ in self._poller.poll(0):
            self._handle(fd)
        now = time.monotonic()
        self._vigil.look(self._spawners, now)
        if self._respawn_at is not None and self._respawn_at <= now:
            self._respawn()
        if self._tidy_at is not None and self._tidy_at <= now:
            self._tidy()
        for notice, life in self._warden.settle(now):
            self._take(notice)
            if life is not None:
                self._warden.release(life)
        notices, self._notices, self._nudged = self._notices, [], False
        self._rearm()
        return notices

    def remarks(self) -> list[Remark]:
        """What has happened to spawners since the last call; ask after `collect`."""
        remarks, self._remarks = self._remarks, []
        return remarks

    def close(self) -> None:
        """Let go of all descriptors.  Spawners then end all scopes, and themselves, in 2 s."""
        if self._closed:
            return
        self._closed = True
        for notice in self._notices:
            discard(notice)
        for spawner in self._spawners:
            spawner.close()
        self._warden.close()
        self._recipe.close()
        self._timer.close()
        self._poller.close()

    def wait_closed(self, timeout: float) -> bool:
        """After `close`: wait for spawners and adopted children to end; whether all have.

        What has not in `timeout` seconds is killed, which takes a few seconds at most.
        """
        pids = [life.pid for life in self._warden.lives.values() if life.pid]
        pids += [spawner.pid for spawner in self._spawners]
        return end_leftovers(self._recipe.instance, pids, timeout, is_ours=self._is_ours)

    # --- events ------------------------------------------------------------------------------

    def _handle(self, fd: int) -> None:
        if fd == self._timer.fd:
            self._timer.clear()
            return
        for spawner in self._spawners:
            if fd == spawner.pidfd:
                self._listen(spawner)
                self._lose(spawner)
                self._bury(spawner)
                return
            if not spawner.lost and fd == spawner.channel.fileno():
                spawner.channel.flush()
                self._listen(spawner)
                spawner.watch_backlog(self._poller)
                return
        self._warden.handle(fd)

    def _listen(self, spawner: SpawnerProcess) -> None:
        if spawner.lost:
            return
        try:
            for frame in spawner.receive():
                self._hear(spawner, frame)
        except (ProtocolError, ValueError, TypeError, IndexError):
            spawner.channel.ended = True  # nonsense is as good as death
        if spawner.channel.ended:
            self._lose(spawner)

    def _hear(self, spawner: SpawnerProcess, frame: Frame) -> None:
        match frame:
            case ["importing", module]:
                spawner.importing = module
            case ["preloaded", modules, seconds]:
                spawner.preloaded()
                self._suspicion.clear()
                self._remarks.append(Preloaded(spawner.pid, tuple(modules), seconds))
            case ["left_out", module, reason, required]:
                self._remarks.append(ModuleLeftOut(module, reason, required))
            case _:
                notice = to_notice(frame, spawner.channel)
                if notice is None:
                    raise ProtocolError(f"unknown frame {frame[0]!r}")
                self._take(notice)

    def _take(self, notice: LauncherNotice) -> None:
        key = (notice.path, notice.generation)
        record = self._records.get(key)
        match notice:
            case Spawned():
                if record is None:
                    discard(notice)
                    return
                record.born(notice)
            case Exited() | LaunchFailed():
                if record is None:
                    return
                del self._records[key]
            case Leaked():
                pass
        self._notices.append(notice)

    # --- orders on their way -----------------------------------------------------------------

    def _order(self, frame: Frame) -> None:
        key = (frame[1], frame[2])
        record = self._records.get(key)
        if record is not None and frame[0] in ("stop", "kill"):
            record.asked |= {frame[0]}
        if record is not None and record.spawner is None:
            if key in self._waiting and record.asked:
                self._waiting.remove(key)
                self._give(key)  # which it is not any more
        elif key in self._warden.lives:
            obey(self._warden, frame)
            self._rearm()
        elif record is not None and record.spawner is not None and not record.spawner.lost:
            record.spawner.channel.send(frame)
            record.spawner.watch_backlog(self._poller)

    def _give(self, key: Key) -> None:
        """Hand a launch to the spawner, or have it wait for one; not if it is to end anyway."""
        record = self._records[key]
        launch = record.launch
        if record.asked:
            del self._records[key]
            self._refuse(launch, "fork", "stopped before it was started")
            return
        spawner = home_of(launch.code, self._spawners) or self._current
        if spawner is None:
            self._waiting.append(key)
            return
        try:
            packed, capture = self._packer.pack(launch.spec), launch.path not in self._uncaptured
            frame = protocol.launch_frame(launch, packed, capture)
            spawner.channel.send(frame, duplicates(launch.sockets))
        except _UNSENDABLE as error:
            del self._records[key]
            self._refuse(launch, "environment", f"cannot be sent to the spawner: {error}")
            return
        record.spawner = spawner
        spawner.watch_backlog(self._poller)

    def _refuse(self, launch: Launch, stage: str, message: str) -> None:
        failed = LaunchFailed(
            path=launch.path, generation=launch.generation, stage=stage, message=message
        )
        self._notices.append(failed)
        self._rearm()

    # --- life and death of spawners ------------------------------------------------------------

    def _bring_up(self) -> None:
        spawner = SpawnerProcess.start(self._recipe)
        spawner.code = self._code
        self._poller.register(spawner.pidfd, select.EPOLLIN)
        self._poller.register(spawner.channel.fileno(), select.EPOLLIN)
        self._spawners.append(spawner)
        self._current = spawner
        self._remarks.append(SpawnerStarted(spawner.pid, spawner.start_ticks))
        self._nudged = True
        waiting, self._waiting = self._waiting, []
        for key in waiting:
            self._give(key)

    def _respawn(self) -> None:
        try:
            self._respawn_at = None
            self._bring_up()
        except OSError:
            self._respawn_at = time.monotonic() + Patience.LONGEST_S

    def _lose(self, spawner: SpawnerProcess) -> None:
        """The socket has ended: all that was told is taken in.  Wait for the death itself,
        as only then are its children ours."""
        if spawner.lost:
            return
        spawner.lost = True
        self._poller.unregister(spawner.channel.fileno())
        kernel.send_signal(spawner.pidfd, signal.SIGKILL)
        if spawner is not self._current:
            return
        self._current = None
        now = time.monotonic()
        wait_s = self._patience.after(now - spawner.started)
        if spawner.importing:  # how it has ended says whether the next one shall import that
            wait_s = max(wait_s, _VERDICT_S)
        self._respawn_at = now + wait_s

    def _bury(self, spawner: SpawnerProcess) -> None:
        """A spawner is dead: its children are ours now."""
        self._poller.unregister(spawner.pidfd)
        if spawner.importing and not spawner.retired:
            self._judge(spawner)
        kernel.reap(spawner.pid)
        spawner.close()
        self._spawners.remove(spawner)
        mine = {key: one for key, one in self._records.items() if one.spawner is spawner}
        if mine or not spawner.retired:
            adopted = self._succession.take_over(mine)
            self._remarks.append(SpawnerLost(spawner.pid, adopted, spawner.frozen))
            if self._succession.waiting:
                self._tidy_at = time.monotonic() + _TIDY_S

    def _judge(self, spawner: SpawnerProcess) -> None:
        """It has died of the module it was importing, or of something else meanwhile."""
        reason = self._suspicion.reason(spawner.importing, kernel.last_words(spawner.pidfd))
        if reason is not None:
            self._recipe = self._recipe.without(spawner.importing, reason)
        if self._current is None:
            self._respawn_at = time.monotonic()

    # --- small things --------------------------------------------------------------------------

    def _tidy(self) -> None:
        self._succession.try_again()
        self._warden.tidy()
        self._tidy_at = time.monotonic() + _TIDY_S if self._succession.waiting else None

    def _rearm(self) -> None:
        """Be readable when something is due, although no descriptor says so."""
        now = time.monotonic()
        if self._warden.lives and self._tidy_at is None:
            self._tidy_at = now + _TIDY_S
        dues = [self._warden.deadline(), self._respawn_at, self._tidy_at, self._vigil.due]
        if self._notices or self._nudged:
            dues.append(now)
        self._timer.set(min((due for due in dues if due is not None), default=None))

    def _is_ours(self, stat: procfs.Stat) -> bool:
        """Children lead sessions of their own; what is in ours was started by other code.

        PID 1 has strangers for children: there only what shows that it is ours is.
        """
        if stat.session == self._own_session or any(
            stat.pid == spawner.pid for spawner in self._spawners
        ):
            return False
        if os.getpid() != 1 or any(one.pid == stat.session for one in self._records.values()):
            return True
        return read_mark(self._recipe.instance, procfs.environ_mark(stat.pid)) is not None
