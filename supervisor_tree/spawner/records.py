"""What the root keeps of each life that a spawner has been told to make."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from socket import socket
from typing import ClassVar

from supervisor_tree.runtime.launcher import Launch, LauncherNotice, Spawned
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.birth import SpawnerProcess
from supervisor_tree.spawner.kernel import Ended
from supervisor_tree.spawner.lives import Key, Life, read_mark
from supervisor_tree.spawner.protocol import Frame
from supervisor_tree.spawner.scope import Warden

__all__ = ["Patience", "Record", "Suspicion", "children_marked", "discard", "duplicates", "obey"]


_GIVEN: Mapping[str, str] = {}


@dataclass(slots=True)
class Record:
    """One life.  `pid` is 0 until its birth is told; `asked` holds "stop" and "kill"."""

    launch: Launch
    spawner: SpawnerProcess | None
    pid: int = 0
    start_ticks: int = 0
    asked: frozenset[str] = frozenset()

    def born(self, notice: Spawned) -> None:
        """The process is there.  What it was given is not needed a second time."""
        self.pid, self.start_ticks = notice.pid, notice.start_ticks
        launch = self.launch
        self.launch = Launch(
            path=launch.path,
            generation=launch.generation,
            spec=launch.spec,
            environment=_GIVEN,
            code=launch.code,
            cgroup=launch.cgroup,
        )

    def life(self) -> Life:
        """The same for a Warden, of a child of this process.  Raises OSError without a pidfd."""
        launch = self.launch
        pidfd = os.pidfd_open(self.pid)
        life = Life(launch.path, launch.generation, self.pid, pidfd, self.start_ticks)
        life.obey(launch.spec)
        life.cgroup = "" if launch.cgroup is None else launch.cgroup.directory
        return life


class Patience:
    """How long to wait before another spawner, if the last ones did not live long.

    The first successor comes at once.  Whatever ends one spawner after the other (an import,
    the kernel for want of memory) is given 0.1 to 5 s, as each of them takes a processor for
    its imports; children live on meanwhile, and only starts and restarts wait.
    """

    LONGEST_S: ClassVar[float] = 5.0
    _DELAYS_S = (0.0, 0.1, 0.5, 1.0, 2.0, LONGEST_S)
    _LONG_LIFE_S = 10.0

    def __init__(self) -> None:
        self._short_lives = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a spawner that lived so long."""
        if lived_s > self._LONG_LIFE_S:
            self._short_lives = 0
        delay = self._DELAYS_S[min(self._short_lives, len(self._DELAYS_S) - 1)]
        self._short_lives += 1
        return delay


class Suspicion:
    """Which module has ended the spawner that was importing it."""

    def __init__(self) -> None:
        self._suspect = ""

    def clear(self) -> None:
        """A spawner has got through all of its imports."""
        self._suspect = ""

    def reason(self, module: str, ended: Ended | None) -> str | None:
        """Why to leave this module out, None if there is no reason yet.

        SIGKILL may have come from anywhere (from the root, too, once the socket is closed),
        so it takes a second time at the same module.
        """
        if not module:
            return None
        killed = ended is None or ended.signal == signal.SIGKILL
        if killed and self._suspect != module:
            self._suspect = module
            return None
        self._suspect = ""
        if ended is None or killed:
            return "it kills the interpreter at import, or closes its descriptors"
        how = f"exit code {ended.code}" if ended.signal is None else f"signal {ended.signal}"
        return f"it ends the interpreter at import ({how})"


def discard(notice: LauncherNotice) -> None:
    """Close the descriptors of a notice that nobody will take."""
    if isinstance(notice, Spawned):
        for fd in (notice.stdout, notice.stderr):
            if fd >= 0:
                os.close(fd)


def duplicates(sockets: Iterable[socket]) -> list[int]:
    """Descriptors to give away.  Raises OSError, with none left behind."""
    fds: list[int] = []
    try:
        for one in sockets:
            fds.append(os.dup(one.fileno()))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def obey(warden: Warden, frame: Frame) -> None:
    """Carry out an order for a life that is in the care of this process itself."""
    match frame:
        case ["stop", path, generation]:
            warden.stop(path, generation)
        case ["kill", path, generation]:
            warden.kill(path, generation)
        case ["signal", path, generation, number]:
            warden.signal(path, generation, number)


def children_marked(instance: str, keys: Collection[Key]) -> dict[Key, int]:
    """Children of this process that bear the mark of one of these lives, one for each.

    Raises OSError if that cannot be seen.
    """
    found: dict[Key, int] = {}
    for pid in procfs.children_of(os.getpid()):
        key = read_mark(instance, procfs.environ_mark(pid))
        if key is not None and key in keys:
            found.setdefault(key, pid)
    return found
