"""What is known of one life, and the mark by which its processes are found again."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.launcher import Exited, Leaked, Rusage
from supervisor_tree.spawner import kernel, procfs

__all__ = ["Key", "Life", "Member", "Phase", "mark_of", "read_mark", "stray", "terms_of"]

Key = tuple[str, int]  # path, generation


class Phase(Enum):
    """Where a life is on its way down."""

    RUNNING = auto()
    ENDING = auto()  # leftovers have had SIGTERM
    KILLING = auto()  # SIGKILL to all, until none is left


@dataclass(slots=True, eq=False)
class Member:
    """A process of a scope besides the leader."""

    pid: int
    pidfd: int
    session: int
    command: str
    told: bool = False  # has had SIGTERM


@dataclass(slots=True, eq=False)
class Life:
    """One leader and its scope.

    `grace` is how long leftovers may take after SIGTERM: 0 not at all, None for ever.
    `pid` is 0 for leftovers of a leader that is already forgotten.  `begun_ticks` is when it
    became what it is, which a spare does late.  A `silent` life ends without notices.
    `cgroup` is the directory of one of its own, "" if it has none.  `oom`: its leader was
    killed by the kernel for want of memory.
    `on_leader_ended` and `on_gone` are told before and after the rest.
    """

    path: str
    generation: int
    pid: int
    pidfd: int
    start_ticks: int
    begun_ticks: int = -1
    stop_signal: int = signal.SIGTERM
    grace: float | None = 5.0
    silent: bool = False
    cgroup: str = ""
    asked: bool = False
    oom: bool = False
    failure: tuple[str, str] | None = None
    on_leader_ended: Callable[[], None] | None = None
    on_gone: Callable[[], None] | None = None
    phase: Phase = Phase.RUNNING
    deadline: float | None = None
    give_up_at: float | None = None
    ended: kernel.Ended | None = None
    members: dict[int, Member] = field(default_factory=dict)
    escaped: dict[int, str] = field(default_factory=dict)
    blind: bool = False  # a process could not be looked at, for want of descriptors

    def __post_init__(self) -> None:
        if self.begun_ticks < 0:
            self.begun_ticks = self.start_ticks

    @property
    def key(self) -> Key:
        """What names it for the root."""
        return self.path, self.generation

    @property
    def led(self) -> bool:
        """The leader lives."""
        return self.pid != 0 and self.ended is None

    def obey(self, spec: ChildSpec) -> None:
        """Take stop signal and grace from a child's specification."""
        self.stop_signal, self.grace = terms_of(spec)

    def exited(self, ended: kernel.Ended) -> Exited:
        """What to tell of its end."""
        wall_s = kernel.seconds_of(kernel.boot_time_ticks() - self.begun_ticks)
        return Exited(
            path=self.path,
            generation=self.generation,
            pid=self.pid,
            code=ended.code,
            signal=ended.signal,
            asked=self.asked,
            oom=self.oom,
            rusage=Rusage(cpu_s=ended.cpu_s, max_rss_bytes=ended.max_rss_bytes, wall_s=wall_s),
        )

    def leaked(self) -> Leaked:
        """What to tell of those that had escaped, and were ended."""
        processes = tuple(sorted(self.escaped.items()))
        return Leaked(path=self.path, generation=self.generation, processes=processes, ended=True)

    def kill_group(self) -> None:
        """SIGKILL to the leader's group in one stroke; it is unreaped, so the group is its own."""
        # It may not have made its session yet, or the group be empty.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        kernel.send_signal(self.pidfd, signal.SIGKILL)


def stray(pid: int) -> Leaked:
    """What to tell of a process of some scope, nobody knows of which: no mark, no session."""
    processes = ((pid, procfs.command_line(pid)),)
    return Leaked(path="/", generation=0, processes=processes, ended=False)


def terms_of(spec: ChildSpec) -> tuple[int, float | None]:
    """Stop signal and grace; raises ValueError for what are none."""
    number = signal.Signals.__members__.get(spec.stop_signal)
    if number is None:
        raise ValueError(f"{spec.stop_signal!r} is no signal")
    shutdown = spec.shutdown_or_default
    if isinstance(shutdown, int | float):
        return number, max(0.0, float(shutdown))
    if shutdown not in ("brutal_kill", "infinity"):
        raise ValueError(f"shutdown {shutdown!r} is no time")
    return number, 0.0 if shutdown == "brutal_kill" else None


def mark_of(instance: str, path: str, generation: int) -> str:
    """The mark that all processes of a scope bear in their environment."""
    return f"{instance}:{path}:{generation}"


def read_mark(instance: str, mark: str | None) -> Key | None:
    """Path and generation, if it is a mark of this host instance."""
    if mark is None or not mark.startswith(f"{instance}:"):
        return None
    path, _, generation = mark[len(instance) + 1 :].rpartition(":")
    return (path, int(generation)) if path and generation.isdecimal() else None
