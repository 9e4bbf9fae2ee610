"""The last stage of a root's end: what should have ended by itself, and has not."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence

from supervisor_tree.spawner import kernel, procfs
from supervisor_tree.spawner.scope import Warden

__all__ = ["end_leftovers"]

KILL_S = 2.0  # until processes that had SIGKILL are gone, or hang in the kernel


def end_leftovers(
    instance: str,
    pids: Sequence[int],
    timeout: float,
    *,
    is_ours: Callable[[procfs.Stat], bool],
) -> bool:
    """Wait for these unreaped children, then end them and all that bears this instance's mark.

    Spawners come first: what they leave is handed to this process, a subreaper.  False if
    something is left after `timeout` and twice KILL_S.
    """
    deadline = time.monotonic() + timeout
    ended = [kernel.wait_ended(pid, deadline) for pid in pids]
    if not all(ended):
        deadline = time.monotonic() + KILL_S
        ended = [_kill(pid, deadline) for pid in pids]
    return _end_marked(instance, is_ours) and all(ended)


def _kill(pid: int, deadline: float) -> bool:
    """SIGKILL to a child; the pid of one that was reaped already is left alone."""
    now = procfs.stat(pid)
    if now is None or now.parent != os.getpid():
        return True
    os.kill(pid, signal.SIGKILL)
    return kernel.wait_ended(pid, deadline)


def _end_marked(instance: str, is_ours: Callable[[procfs.Stat], bool]) -> bool:
    """SIGKILL to what bears the mark or was handed to this process; whether it is gone."""
    with select.epoll() as poller:
        warden = Warden(instance, poller, is_ours=is_ours)
        try:
            deadline = time.monotonic() + KILL_S
            warden.end_all(time.monotonic(), 0.0)
            while (now := time.monotonic()) < deadline:
                warden.settle(now)
                if not warden.lives:
                    return True
                due = min(deadline, warden.deadline() or deadline)
                for fd, _ in poller.poll(max(0.0, due - now)):
                    warden.handle(fd)
            return False
        finally:
            warden.close()
