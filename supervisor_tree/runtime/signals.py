"""Signals as something readable: handlers enqueue, the loop decides (signal-safety(7))."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from types import FrameType

__all__ = ["HELD_BACK", "ROOT_SIGNALS", "SignalQueue", "held_back", "hold_back_for_root", "name_of"]

# What a root does something about, at least a line that says that it does nothing.
_MEANT = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# What would end a process that does not ask for it, but must not end a whole tree by mistake.
# Left as they are: those that tell of a fault of our own (SIGSEGV, SIGABRT, ...), those that
# stop and go on, and those that Python or the kernel ignore anyway (SIGPIPE, SIGXFSZ, ...).
_STRAY = (
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    signal.SIGSTKFLT,
    signal.SIGTRAP,
    signal.SIGXCPU,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
ROOT_SIGNALS: tuple[int, ...] = (*_MEANT, *_STRAY)
# While a root is started, until it can tell: it is not Python yet, which would ignore the last two.
HELD_BACK: tuple[int, ...] = (*ROOT_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)


def name_of(number: int) -> str:
    """As kill(1) writes it; most real-time signals have no name but a distance."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """What this thread starts meanwhile begins with these signals held back (signal(7))."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def hold_back_for_root() -> None:
    """Keep signals for the root that this process is about to become.

    What does not mean the end must not be one while the configuration is read, and what does
    ends a process that has done nothing yet at once.  Not so PID 1: the kernel drops what that
    has no handler for (pid_namespaces(7)), but not what it blocks, and nobody asks twice.
    """
    ends = () if os.getpid() == 1 else (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(HELD_BACK) - set(ends))


def _only_wake_up(_number: int, _frame: FrameType | None) -> None:
    """Python must have a handler for the wakeup descriptor to be written to."""


class SignalQueue:
    """Turns the given signals into bytes on a socket pair; main thread only."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._numbers = tuple(numbers)
        self._former = {number: signal.signal(number, _only_wake_up) for number in self._numbers}
        self._former_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def collect(self) -> Iterator[int]:
        """The signals that have come in since the last call, in order."""
        try:
            received = self._reader.recv(4096)
        except BlockingIOError:
            return
        for number in received:
            if number in self._numbers:
                yield number

    def close(self) -> None:
        """Put everything back as it was found."""
        signal.set_wakeup_fd(self._former_fd)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()
