"""What the root needs of something that makes processes.

Implemented by `spawner.client.SpawnerLauncher` (real) and `testing.FakeLauncher`; one
contract suite runs over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Protocol, TypeAlias

from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.cgroups import Cgroup

__all__ = [
    "Exited",
    "Launch",
    "LaunchFailed",
    "Launcher",
    "LauncherNotice",
    "Leaked",
    "Rusage",
    "Spawned",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Order to make the process of one life.

    `environment` holds the keys that the host owns (NOTIFY_SOCKET, SUPERVISOR_TREE_*);
    the launcher adds the host's own environment, `env_file` and `env` beneath them.  The
    process gets duplicates of `sockets`, which stay whose they are, as sd_listen_fds(3) has it.
    `code` is the number of the code that the life is to run; where there is none of it, it runs
    the newest.
    `cgroup` is one of its own, which the launcher makes and removes; None: it needs none.
    """

    path: str
    generation: int
    spec: ChildSpec
    args: Any = None
    environment: Mapping[str, str] = field(default_factory=dict)
    sockets: tuple[socket, ...] = ()
    code: int = 0
    cgroup: Cgroup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rusage:
    """What one life has used: CPU and wall seconds, largest resident size in bytes."""

    cpu_s: float
    max_rss_bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The process exists (for a program: its exec has succeeded).

    `start_ticks` is field 22 of /proc/PID/stat: with the pid and the boot id it names
    the process for good.  `stdout`, `stderr` are the read ends of its output pipes,
    owned by whoever takes this notice; -1 where output is not captured.
    """

    path: str
    generation: int
    pid: int
    start_ticks: int
    stdout: int = -1
    stderr: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFailed:
    """No process came to be, or it failed before its program ran.  Nothing of it is left.

    `stage`: sockets, fork, environment, user, limits, cwd, exec, import.  `message` is for an
    operator.
    """

    path: str
    generation: int
    stage: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The leader has ended and its scope is empty.  `code` or `signal` is set, never both.

    `pid` names the leader; `asked` says that the launcher had been told to stop this life.
    `oom`: the kernel has killed the leader for want of memory, as far as that can be known.
    """

    path: str
    generation: int
    pid: int
    code: int | None
    signal: int | None
    asked: bool
    rusage: Rusage
    oom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaked:
    """Processes that had escaped from the scope: found and ended if `ended`, else still there."""

    path: str
    generation: int
    processes: tuple[tuple[int, str], ...]  # (pid, command line)
    ended: bool


LauncherNotice: TypeAlias = Spawned | LaunchFailed | Exited | Leaked


class Launcher(Protocol):
    """Makes processes and ends them.  No method blocks."""

    def fileno(self) -> int:
        """Readable when `collect` has something to give."""
        ...

    def launch(self, launch: Launch) -> None:
        """Begin; answered by Spawned or LaunchFailed."""
        ...

    def stop(self, path: str, generation: int) -> None:
        """Send the child's stop signal to its leader.

        Whatever the leader leaves behind gets SIGTERM, the child's shutdown time, then SIGKILL.
        A life that is unknown or gone is passed over.
        """
        ...

    def kill(self, path: str, generation: int) -> None:
        """SIGKILL to the whole scope."""
        ...

    def signal(self, path: str, generation: int, signal: int) -> None:
        """An operator's signal to the leader alone."""
        ...

    def collect(self) -> list[LauncherNotice]:
        """All notices that have come in, each exactly once, in order per life."""
        ...

    def close(self) -> None:
        """Let go of all descriptors."""
        ...
