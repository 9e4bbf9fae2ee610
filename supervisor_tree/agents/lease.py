"""The lease: an agent whose host is gone altogether ends by itself.

Root and spawner each hold the write end of one pipe, and nobody writes to it.  When the
last of them has died the pipe is at its end, and the kernel sends a signal to whoever
asked for one: O_ASYNC with F_SETOWN and F_SETSIG (fcntl(2), "Managing signals").  So the
notice costs no thread, and reaches code that computes or blocks.  The one exception is a
C extension that never gives the interpreter back: no Python handler runs there.

Owner and signal belong to the open file description, which all processes forked from
one parent share; hence each agent opens the pipe anew through /proc.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable
from types import FrameType

__all__ = ["GRACE_S", "watch_lease"]

GRACE_S = 1.0  # from the loss of the lease to the end of the process

# A signal that no program uses for its own ends.  If the kernel cannot queue it, it sends
# SIGIO instead, whose default ends the process: a rougher end, but no orphan.
_LOST = signal.SIGRTMAX


def watch_lease(lease_fd: int, on_lost: Callable[[], None]) -> int:
    """Call `on_lost` when the last writer of the pipe is gone, and end the process `GRACE_S` later.

    Main thread only.  Returns the descriptor that carries the watch; closing it ends the
    watch.  `lease_fd` stays open as well.
    """
    pid = os.getpid()

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        if os.getpid() == pid and _is_lost(lease_fd):
            _end_soon()
            on_lost()

    watch_fd = os.open(f"/proc/self/fd/{lease_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(_LOST, on_signal)
    fcntl.fcntl(watch_fd, fcntl.F_SETSIG, _LOST)
    fcntl.fcntl(watch_fd, fcntl.F_SETOWN, pid)
    flags = fcntl.fcntl(watch_fd, fcntl.F_GETFL)
    fcntl.fcntl(watch_fd, fcntl.F_SETFL, flags | os.O_ASYNC)
    if _is_lost(lease_fd):  # it may have gone before the watch stood
        signal.raise_signal(_LOST)
    return watch_fd


def _is_lost(lease_fd: int) -> bool:
    poll = select.poll()
    poll.register(lease_fd, 0)
    return bool(poll.poll(0))


def _end_soon() -> None:
    """Let the kernel end this process after `GRACE_S`, whatever its code does meanwhile."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)
