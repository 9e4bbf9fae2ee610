"""How things are measured: lines from children with a time each, medians, /proc.

All times are CLOCK_MONOTONIC, which is one clock for all processes of a machine, so a
child's own reading can be subtracted from ours.
"""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Life",
    "Lines",
    "NothingCame",
    "Spread",
    "children_of",
    "command_seconds",
    "cpu_seconds",
    "memory_bytes",
    "now_s",
]


class NothingCame(Exception):
    """A child did not say in time that it lives."""


def now_s() -> float:
    """The clock that children use too."""
    return time.monotonic_ns() / 1e9


@dataclass(frozen=True, slots=True)
class Life:
    """What a child has said: its pid, and when its first line ran, in seconds."""

    pid: int
    at: float


class Lines:
    """A FIFO into which children write `pid nanoseconds`, one line for each life."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        # Read and write: it never ends, and no writer waits for a reader.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._text = b""
        self._lives: list[Life] = []

    def take(self, count: int, limit_s: float) -> list[Life]:
        """The next `count` lives.  Raises NothingCame after `limit_s` seconds."""
        deadline = now_s() + limit_s
        while len(self._lives) < count:
            left_s = deadline - now_s()
            if left_s <= 0 or not self._poll.poll(left_s * 1000):
                raise NothingCame(f"{len(self._lives)} of {count} children in {limit_s:g} s")
            self._read()
        taken, self._lives = self._lives[:count], self._lives[count:]
        return taken

    def next(self, limit_s: float) -> Life:
        """The next life."""
        return self.take(1, limit_s)[0]

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> None:
        *lines, self._text = (self._text + os.read(self._fd, 1 << 16)).split(b"\n")
        for line in lines:
            pid, at_ns = line.split()
            self._lives.append(Life(int(pid), int(at_ns) / 1e9))


@dataclass(frozen=True, slots=True)
class Spread:
    """What is left of many samples."""

    median: float
    p90: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """At least one sample is needed."""
        ordered = sorted(samples)
        p90 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
        return cls(statistics.median(ordered), p90, len(ordered))


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have used so far, all their threads together."""
    total_ns = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            # proc_pid_schedstat: nanoseconds on the CPU come first; `stat` knows only ticks.
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def children_of(pid: int) -> list[int]:
    """Its direct children."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found.extend(map(int, (thread / "children").read_text().split()))
    return found


def memory_bytes(pid: int, what: str = "Pss") -> int:
    """`Pss` or `Rss` of one process (proc_pid_smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise ValueError(f"{pid} has no {what}")


def command_seconds(argv: Sequence[str], environment: dict[str, str], limit_s: float) -> float:
    """How long a command takes from its start to its end.  It must succeed."""
    with open(os.devnull, "r+b") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), fd) for fd in (0, 1, 2)]
        begin = now_s()
        pid = os.posix_spawnp(argv[0], list(argv), environment, file_actions=actions)
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(limit_s * 1000):
                os.kill(pid, 9)
            _, status = os.waitpid(pid, 0)
            end = now_s()
        finally:
            os.close(pidfd)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 3):  # 3: supervisorctl's word for "not all of them run"
        raise NothingCame(f"{argv[0]} ended with {code}")
    return end - begin
