"""Whether the kernel has killed a leader for want of memory: its status says only SIGKILL.

A cgroup of its own counts that (memory.events, `oom_kill`): what it says is certain.  Without
one there is the machine's count of such kills (`oom_kill` in /proc/vmstat), which goes up
before the signal is sent.  If it has gone up between our last look, at most WINDOW_S ago, and
the end of a leader by a SIGKILL that we have not sent, that is taken for the cause.  It is
wrong only if both happened within that time: somebody else ran out of memory, and somebody
sent SIGKILL to this child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from supervisor_tree.runtime.cgroups import oom_kills
from supervisor_tree.spawner.kernel import Ended
from supervisor_tree.spawner.lives import Life

__all__ = ["WINDOW_S", "OomCount"]

WINDOW_S = 10.0
_VMSTAT_BYTES = 1 << 16


class OomCount:
    """The machine's count of processes that were killed for want of memory."""

    def __init__(self, vmstat: str = "/proc/vmstat") -> None:
        self._fd = -1
        with contextlib.suppress(OSError):  # no /proc/vmstat, no evidence
            self._fd = os.open(vmstat, os.O_RDONLY | os.O_CLOEXEC)
        self._count = self._read()
        self.due = time.monotonic() + WINDOW_S

    def look(self, now: float) -> None:
        """Once per WINDOW_S: what has happened until now is no evidence for later ends."""
        if now >= self.due:
            self.has_struck()
            self.due = now + WINDOW_S

    def has_struck(self) -> bool:
        """Whether the count has gone up since the last look; this is one."""
        former, self._count = self._count, self._read()
        return self._count > former

    def is_to_blame(self, life: Life, ended: Ended) -> bool:
        """Whether this leader, which has just ended, was killed for want of memory."""
        if ended.signal != signal.SIGKILL:
            return False
        counted = oom_kills(life.cgroup) if life.cgroup else None
        if counted is not None:
            return counted > 0
        return not life.asked and self.has_struck()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> int:
        if self._fd < 0:
            return 0
        with contextlib.suppress(OSError, ValueError):
            text = os.pread(self._fd, _VMSTAT_BYTES, 0)
            at = text.index(b"\noom_kill ") + len(b"\noom_kill ")
            return int(text[at : text.index(b"\n", at)])
        return 0
