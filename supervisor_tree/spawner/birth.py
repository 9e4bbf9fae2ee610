"""Starts a spawner process: from any program, threaded or not, as posix_spawn runs none of it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from supervisor_tree.runtime.pulse import Pulse
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.config import Config
from supervisor_tree.spawner.protocol import HOST_SIGNALS, Channel, Frame
from supervisor_tree.spawner.title import reserve_slot

__all__ = ["Recipe", "SpawnerProcess", "home_of"]

# Where the spawner finds what it is given; the sources are moved above these first.
_SOCKET_FD, _CONFIG_FD, _LEASE_READ_FD, _LEASE_WRITE_FD = 3, 4, 5, 6
_FIRST_FREE_FD = 7

# Looks without a sign of life, two seconds apart (see `vigil`).  No import takes longer than
# IMPORT_LIMIT_S of `preload`.
_PATIENCE = 2
_PATIENCE_WITH_IMPORTS = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What every spawner of one root has in common.  Owns the root's ends of the lease.

    `left_out`: modules that have ended a spawner at their import, and how.
    """

    instance: str
    preload: tuple[str, ...]
    modules: tuple[str, ...]
    sys_path: tuple[str, ...]
    lease_read: int
    lease_write: int
    left_out: tuple[tuple[str, str], ...] = ()

    @classmethod
    def make(
        cls, instance: str, preload: Sequence[str], modules: Sequence[str], sys_path: Sequence[str]
    ) -> Recipe:
        """Make the lease pipe, too."""
        if not instance or ":" in instance:
            raise ValueError(f"cannot mark processes with {instance!r}: it is empty or has a colon")
        read, write = os.pipe2(os.O_CLOEXEC)
        os.fchmod(read, 0o444)  # agents that have become another user open it anew
        return cls(
            instance=instance,
            preload=tuple(preload),
            modules=tuple(modules),
            sys_path=tuple(sys_path),
            lease_read=read,
            lease_write=write,
        )

    def changed(self, preload: Sequence[str] | None, modules: Sequence[str] | None) -> Recipe:
        """With other modules to import; None keeps them.  Those left out get another chance."""
        return replace(
            self,
            preload=self.preload if preload is None else tuple(preload),
            modules=self.modules if modules is None else tuple(modules),
            left_out=(),
        )

    def without(self, module: str, reason: str) -> Recipe:
        """With one module less to import."""
        return replace(self, left_out=(*self.left_out, (module, reason)))

    def close(self) -> None:
        os.close(self.lease_read)
        os.close(self.lease_write)


@dataclass(slots=True, eq=False)
class SpawnerProcess:
    """One spawner, as the root holds it."""

    pid: int
    pidfd: int
    start_ticks: int
    started: float
    channel: Channel
    code: int = 0  # number of the code that it has imported
    importing: str = ""  # the module it has begun to import, until all are
    retired: bool = False
    lost: bool = False
    heard: int = 0  # frames
    pulse: Pulse = field(default_factory=lambda: Pulse(_PATIENCE_WITH_IMPORTS))
    frozen: bool = False  # it is ended for that
    wants_write: bool = False

    @classmethod
    def start(cls, recipe: Recipe) -> SpawnerProcess:
        """Start one; it answers when its imports are done.  Raises OSError."""
        ours, theirs = socket.socketpair()
        config = os.memfd_create("supervisor-tree-spawner", os.MFD_CLOEXEC)
        try:
            _config_of(recipe).save(config)
            lease = (recipe.lease_read, recipe.lease_write)
            pid = _posix_spawn((theirs.fileno(), config, *lease))
            pidfd = _pidfd_or_end(pid)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(config)
        now = procfs.stat(pid)
        ticks = 0 if now is None else now.start_ticks
        return cls(pid, pidfd, ticks, time.monotonic(), Channel(ours))

    def receive(self) -> list[Frame]:
        """What it has said, but for answers to a ping, which say only that it turns."""
        frames = self.channel.receive()
        self.heard += len(frames)
        return [frame for frame in frames if frame != ["pong"]]

    def preloaded(self) -> None:
        """Its imports are done: it answers at once from now on."""
        self.importing = ""
        self.pulse = Pulse(_PATIENCE)

    def watch_backlog(self, poller: select.epoll) -> None:
        """Ask for room in the socket only while frames wait for it."""
        wants = self.channel.backlog > 0
        if not self.lost and wants != self.wants_write:
            self.wants_write = wants
            events = select.EPOLLIN | (select.EPOLLOUT if wants else 0)
            poller.modify(self.channel.fileno(), events)

    def retire(self, poller: select.epoll) -> None:
        """It makes no new lives, and ends with its last one."""
        if not self.retired and not self.lost:
            self.retired = True
            self.channel.send(["retire"])
            self.watch_backlog(poller)

    def close(self) -> None:
        """Let go of it: it ends its scopes and itself."""
        self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def home_of(code: int, spawners: Iterable[SpawnerProcess]) -> SpawnerProcess | None:
    """The one that has imported the code of this number and makes new lives, if there is one."""
    able = (each for each in spawners if not each.retired and not each.lost)
    return next((each for each in able if each.code == code), None)


def _pidfd_or_end(pid: int) -> int:
    """Its pidfd.  Raises OSError; the process is ended, as nobody could watch it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # unreaped, hence certainly ours
        os.waitpid(pid, 0)
        raise


def _config_of(recipe: Recipe) -> Config:
    required = [(name, True) for name in dict.fromkeys(recipe.preload)]
    others = [(name, False) for name in dict.fromkeys(recipe.modules) if name not in recipe.preload]
    return Config(
        instance=recipe.instance,
        modules=required + others,
        sys_path=list(recipe.sys_path),
        left_out=list(recipe.left_out),
        lease_read=_LEASE_READ_FD,
        lease_write=_LEASE_WRITE_FD,
    )


def _posix_spawn(sources: Sequence[int]) -> int:
    """The spawner with these four descriptors at their places."""
    moved: list[int] = []
    try:
        for source in sources:
            moved.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD))
        places = (_SOCKET_FD, _CONFIG_FD, _LEASE_READ_FD, _LEASE_WRITE_FD)
        actions = [(os.POSIX_SPAWN_DUP2, a, b) for a, b in zip(moved, places, strict=True)]
        # -P: the directory the host was started in is not searched for modules.
        descriptors = [str(_SOCKET_FD), str(_CONFIG_FD)]
        command = [sys.executable, "-P", "-m", "supervisor_tree.spawner", *descriptors]
        return os.posix_spawn(
            sys.executable,
            command,
            reserve_slot(dict(os.environ)),
            file_actions=actions,
            setsigmask=HOST_SIGNALS,
        )
    finally:
        for fd in moved:
            os.close(fd)
