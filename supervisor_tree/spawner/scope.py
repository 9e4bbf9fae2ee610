"""Keeps watch over lives, and ends all that a life has started before it calls it ended.

A scope is the leader and every process descended from it.  The kernel's help:

* Whoever uses a Warden is a subreaper, so a process of a scope is always a descendant of
  a direct child: of the leader, or of an orphan that was handed up to us.  An empty scope
  therefore shows in one look at our own children; no scan of /proc is needed.
* The dead leader stays a zombie until its end has been told (`release`), so its pid, which
  is also its session's number, cannot be given to anyone else.
* Orphans are known by session or by the mark in their environment, signals go through
  pidfds: a reused pid is never hit.

Nothing blocks.  The spawner uses it, and the root for children whose spawner has died.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable

from supervisor_tree.runtime import cgroups
from supervisor_tree.runtime.launcher import LauncherNotice, LaunchFailed, Leaked
from supervisor_tree.spawner import kernel, procfs
from supervisor_tree.spawner.lives import Key, Life, Member, Phase, read_mark, stray
from supervisor_tree.spawner.memory import OomCount
from supervisor_tree.spawner.strays import Strays

__all__ = ["Warden"]

KILL_AGAIN_S = 0.05  # between two looks at a scope that was killed
GIVE_UP_S = 5.0  # a process that SIGKILL has not ended by then hangs in the kernel
STRAY_GRACE_S = 2.0  # for processes of a scope that turn up after its end
BLIND_S = 0.2  # until another look when descriptors have run out
_FREEZE_ROUNDS = 16


class Warden:
    """All lives of one process.

    `poller` reports the pidfds that `handle` wants to see.  `is_ours` says of an unknown
    child whether it comes from a scope, where the process has other children as well.
    """

    def __init__(
        self,
        instance: str,
        poller: select.epoll,
        *,
        is_ours: Callable[[procfs.Stat], bool] | None = None,
    ) -> None:
        self.lives: dict[Key, Life] = {}
        self._instance = instance
        self._poller = poller
        self._is_ours = is_ours
        self._leaders: dict[int, Life] = {}
        self._by_fd: dict[int, tuple[Life, Member | None]] = {}
        self._orphans: dict[int, Life] = {}  # our children that are no leaders
        self._strays = Strays()
        self._oom = OomCount()
        self._dirty: set[Life] = set()
        self._look_at: float | None = None  # when there may be descriptors again
        self._out: list[tuple[LauncherNotice, Life | None]] = []

    # --- orders -----------------------------------------------------------------------

    def watch(self, life: Life) -> None:
        """Take charge of a life whose leader is an unreaped child of this process."""
        self.lives[life.key] = life
        self._leaders[life.pid] = life
        self._by_fd[life.pidfd] = (life, None)
        self._poller.register(life.pidfd, select.EPOLLIN)

    def rename(self, life: Life, key: Key) -> None:
        """A spare becomes a life of its own."""
        del self.lives[life.key]
        life.path, life.generation = key
        life.begun_ticks = kernel.boot_time_ticks()
        self.lives[life.key] = life

    def stop(self, path: str, generation: int) -> None:
        """The child's stop signal to the leader."""
        life = self.lives.get((path, generation))
        if life is not None:
            life.asked = True
            if life.led:
                kernel.send_signal(life.pidfd, life.stop_signal)

    def kill(self, path: str, generation: int) -> None:
        """SIGKILL to the scope."""
        life = self.lives.get((path, generation))
        if life is not None:
            life.asked = True
            self._begin_killing(life)

    def signal(self, path: str, generation: int, number: int) -> None:
        """Any signal to the leader alone."""
        life = self.lives.get((path, generation))
        if life is not None and life.led:
            kernel.send_signal(life.pidfd, number)

    def end_all(self, now: float, grace: float) -> None:
        """SIGTERM to every process there is, SIGKILL to what is left after `grace` seconds."""
        orphans = self._sort_children()
        for pid in self._strays:
            self._add_member(self._ghost("/", 0), pid)
        for key, pids in self._marked_elsewhere().items():
            for pid in pids:
                self._add_member(self._ghost(*key), pid)
        for life in self.lives.values():
            life.silent = True
            if life.phase is Phase.RUNNING and life.led:
                kernel.send_signal(life.pidfd, signal.SIGTERM)
                kernel.send_signal(life.pidfd, signal.SIGCONT)
            self._look(life, orphans.get(life, ()))
            self._tell(life)
            if life.phase is not Phase.KILLING:
                life.phase = Phase.ENDING
                life.deadline = now + (grace if life.grace != 0 else 0.0)
            self._dirty.add(life)

    # --- what the poller says ------------------------------------------------------------

    def handle(self, fd: int) -> bool:
        """Take note of an event; False if the descriptor is none of ours."""
        found = self._by_fd.get(fd)
        if found is None:
            return False
        life, member = found
        self._dirty.add(life)
        if member is not None:
            if kernel.is_ended(fd):
                self._drop_member(life, member)
            return True
        ended = kernel.peek_ended(fd)
        if ended is None:
            return True
        self._poller.unregister(fd)
        del self._by_fd[fd]
        life.ended = ended
        life.oom = self._oom.is_to_blame(life, ended)
        if life.on_leader_ended is not None:
            life.on_leader_ended()
        return True

    def reap_orphans(self) -> None:
        """SIGCHLD: let go of orphans that have ended.  Leaders are `release`d by name."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            if info.si_pid in self._leaders:  # it hides those behind it
                self.tidy()
                return
            self.reap_orphan(info.si_pid)

    def tidy(self) -> None:
        """Look at all children for orphans that have ended, if they can be looked at."""
        with contextlib.suppress(OSError):
            self._sort_children()

    def settle(self, now: float) -> list[tuple[LauncherNotice, Life | None]]:
        """Do what events and time demand; what to tell, and the life to `release` after it."""
        for life in self.lives.values():
            if life.deadline is not None and life.deadline <= now:
                self._dirty.add(life)
        self._oom.look(now)
        stray_due = self._strays.deadline()
        if self._dirty or (stray_due is not None and stray_due <= now):
            try:
                orphans = self._sort_children()
            except OSError:  # out of descriptors: all of it at the next look
                self._look_at = now + BLIND_S
                return []
            self._look_at = None
            while self._dirty:
                life = self._dirty.pop()
                self._advance(life, orphans.get(life, ()), now)
            self._out += [(stray(pid), None) for pid in self._strays.certain(now)]
        out, self._out = self._out, []
        return out

    def deadline(self) -> float | None:
        """When `settle` wants to be called at the latest."""
        if self._look_at is not None:
            return self._look_at
        dues = [*(life.deadline for life in self.lives.values()), self._strays.deadline()]
        if self.lives:
            dues.append(self._oom.due)
        return min((due for due in dues if due is not None), default=None)

    def release(self, life: Life) -> None:
        """Forget a life whose end has been told; only now may its pid be used again."""
        if life.pid:
            kernel.reap(life.pid)
            os.close(life.pidfd)
            self._leaders.pop(life.pid, None)

    def close(self) -> None:
        """Let go of all descriptors; nothing is ended or reaped."""
        for fd in {*self._by_fd, *(life.pidfd for life in self._leaders.values())}:
            os.close(fd)
        self._by_fd.clear()
        self._oom.close()

    # --- looking ------------------------------------------------------------------------

    def _sort_children(self) -> dict[Life, list[int]]:
        """Whose are the children of this process that are no leaders?  Reaps dead ones."""
        for _ in range(_FREEZE_ROUNDS):
            found: dict[Life, list[int]] = {}
            strays: set[int] = set()
            reaped = False
            for pid in self._children(os.getpid()):
                if pid not in self._leaders:
                    reaped |= self._sort_child(pid, found, strays)
            if not reaped:  # else its children may have been handed to us since
                break
        self._strays.keep(strays)
        return found

    def _sort_child(self, pid: int, found: dict[Life, list[int]], strays: set[int]) -> bool:
        """Place one; True if it was dead."""
        now = procfs.stat(pid)
        life = self._orphans.get(pid)
        if now is None or (life is None and self._is_ours and not self._is_ours(now)):
            return False
        if now.dead:
            self.reap_orphan(pid)
            return True
        if life is None or life.key not in self.lives:
            life = self._owner(pid, now)
        if life is None:
            strays.add(pid)
        else:
            self._orphans[pid] = life
            found.setdefault(life, []).append(pid)
        return False

    def _orphans_of(self, life: Life) -> list[int]:
        with contextlib.suppress(OSError):  # out of descriptors
            return self._sort_children().get(life, [])
        return []

    def _children(self, pid: int) -> list[int]:
        # Who has children of other kinds may have threads as well, the spawner never has.
        return procfs.children_of(pid) if self._is_ours else procfs.children_of_thread(pid)

    def _owner(self, pid: int, now: procfs.Stat) -> Life | None:
        life = self._leaders.get(now.session)
        if life is not None:
            return life
        key = read_mark(self._instance, procfs.environ_mark(pid))
        if key is None:
            return None
        return self.lives.get(key) or self._ghost(*key)

    def _ghost(self, path: str, generation: int) -> Life:
        """A scope without a leader: for what turns up after its life was called ended."""
        life = self.lives.get((path, generation))
        if life is None:
            silent = generation == 0  # a spare, which nobody knows of
            life = Life(path, generation, 0, -1, 0, grace=STRAY_GRACE_S, silent=silent)
            self.lives[life.key] = life
            self._dirty.add(life)
        return life

    def _look(self, life: Life, orphans: Iterable[int]) -> bool:
        """Bring `members` up to date; True if new ones were found."""
        todo = [*orphans, *life.members]
        if life.led:
            todo.extend(_children_of(life, life.pid))
        seen: set[int] = set()
        grown = False
        while todo:
            pid = todo.pop()
            if pid in seen or pid in self._leaders:
                continue
            seen.add(pid)
            if pid not in life.members:
                grown |= self._add_member(life, pid)
            if pid in life.members:
                todo.extend(_children_of(life, pid))
        return grown

    def _add_member(self, life: Life, pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:
            life.blind = True
            return False
        try:
            now = procfs.stat(pid)
            command = procfs.command_line(pid)
        except OSError:
            os.close(pidfd)
            life.blind = True
            return False
        if now is None or now.dead or kernel.is_ended(pidfd):
            os.close(pidfd)
            self.reap_orphan(pid)
            return False
        member = Member(pid, pidfd, now.session, command)
        life.members[pid] = member
        if now.session != life.pid:
            life.escaped[pid] = member.command
        self._by_fd[pidfd] = (life, member)
        self._poller.register(pidfd, select.EPOLLIN)
        return True

    def _drop_member(self, life: Life, member: Member) -> None:
        self._poller.unregister(member.pidfd)
        os.close(member.pidfd)
        del self._by_fd[member.pidfd]
        life.members.pop(member.pid, None)
        self.reap_orphan(member.pid)

    def reap_orphan(self, pid: int) -> None:
        """Let go of a child that has ended and is no leader."""
        if pid not in self._leaders:
            kernel.reap(pid)
            self._strays.discard(pid)
            life = self._orphans.pop(pid, None)
            if life is not None and life.key in self.lives and life.phase is not Phase.RUNNING:
                self._dirty.add(life)

    def _marked_elsewhere(self) -> dict[Key, list[int]]:
        """Processes with this instance's mark that are no descendants of this process."""
        found: dict[Key, list[int]] = {}
        for pid in procfs.everyone():
            if pid in self._leaders or pid in self._orphans or pid == os.getpid():
                continue
            key = read_mark(self._instance, procfs.environ_mark(pid))
            if key is not None:
                found.setdefault(key, []).append(pid)
        return found

    # --- ending --------------------------------------------------------------------------

    def _advance(self, life: Life, orphans: Iterable[int], now: float) -> None:
        if life.phase is Phase.RUNNING and life.led:
            return
        if life.led and life.phase is Phase.ENDING and life.deadline is None:
            return
        life.blind = False
        self._look(life, orphans)
        if orphans and not life.members:  # dead already; their children have come to us
            self._look(life, self._orphans_of(life))
        if not life.led and not life.members:
            if life.blind or self._strays.uncertain:
                life.deadline = now + (BLIND_S if life.blind else KILL_AGAIN_S)
            else:  # nobody is left, and nobody of whom it is not certain yet
                self._finish(life)
            return
        if life.phase is Phase.RUNNING:
            life.phase = Phase.KILLING if life.grace == 0 else Phase.ENDING
            life.deadline = None if life.grace is None else now + life.grace
        if life.phase is Phase.ENDING:
            self._tell(life)
            if life.deadline is None or now < life.deadline:
                return
            life.phase = Phase.KILLING
        self._kill_all(life)
        life.deadline = now + KILL_AGAIN_S
        if life.give_up_at is None:
            life.give_up_at = now + GIVE_UP_S
        elif now >= life.give_up_at:
            self._give_up(life)

    def _begin_killing(self, life: Life) -> None:
        life.phase = Phase.KILLING
        life.deadline = 0.0  # at the next settle, which is in this turn
        self._dirty.add(life)

    def _tell(self, life: Life) -> None:
        """SIGTERM, once to each."""
        for member in life.members.values():
            if not member.told:
                member.told = True
                kernel.send_signal(member.pidfd, signal.SIGTERM)
                kernel.send_signal(member.pidfd, signal.SIGCONT)

    def _kill_all(self, life: Life) -> None:
        """SIGKILL to all; they are stopped first, so that none forks behind our back."""
        if life.cgroup:
            cgroups.kill(life.cgroup)
        if not life.members:
            life.kill_group()
            return
        if life.led:
            kernel.send_signal(life.pidfd, signal.SIGSTOP)
        for _ in range(_FREEZE_ROUNDS):
            for member in life.members.values():
                kernel.send_signal(member.pidfd, signal.SIGSTOP)
            if not self._look(life, self._orphans_of(life)):
                break
        if life.led:
            life.kill_group()
        for member in life.members.values():
            kernel.send_signal(member.pidfd, signal.SIGKILL)

    def _give_up(self, life: Life) -> None:
        """What hangs in the kernel is told of, once; a hanging leader is waited for."""
        left = tuple((member.pid, member.command) for member in life.members.values())
        if life.led:
            left = ((life.pid, procfs.command_line(life.pid)), *left)
            life.deadline = None
        told = Leaked(path=life.path, generation=life.generation, processes=left, ended=False)
        self._out.append((told, None))
        if not life.led:
            for member in list(life.members.values()):
                life.escaped.pop(member.pid, None)
                self._drop_member(life, member)
            self._finish(life)

    def _finish(self, life: Life) -> None:
        self.lives.pop(life.key, None)
        self._dirty.discard(life)
        life.deadline = None
        if life.cgroup:
            cgroups.remove(life.cgroup)
        if not life.silent:
            if life.escaped:
                self._out.append((life.leaked(), None))
            if life.failure is not None:
                stage, message = life.failure
                failed = LaunchFailed(
                    path=life.path, generation=life.generation, stage=stage, message=message
                )
                self._out.append((failed, life))
            elif life.ended is not None:
                self._out.append((life.exited(life.ended), life))
        elif life.pid:
            self.release(life)
        if life.on_gone is not None:
            life.on_gone()


def _children_of(life: Life, pid: int) -> list[int]:
    with contextlib.suppress(OSError):  # out of descriptors
        return procfs.children_of(pid)
    life.blind = True
    return []
