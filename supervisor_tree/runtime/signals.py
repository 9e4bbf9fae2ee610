"""Signals as something readable: handlers enqueue, the loop decides (signal-safety(7))."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator
from types import FrameType

__all__ = ["ROOT_SIGNALS", "SignalQueue"]

ROOT_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def _only_wake_up(_number: int, _frame: FrameType | None) -> None:
    """Python must have a handler for the wakeup descriptor to be written to."""


class SignalQueue:
    """Turns the given signals into bytes on a socket pair; main thread only."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._numbers = tuple(numbers)
        self._former = {number: signal.signal(number, _only_wake_up) for number in self._numbers}
        self._former_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def collect(self) -> Iterator[signal.Signals]:
        """The signals that have come in since the last call, in order."""
        try:
            received = self._reader.recv(4096)
        except BlockingIOError:
            return
        for number in received:
            if number in self._numbers:
                yield signal.Signals(number)

    def close(self) -> None:
        """Put everything back as it was found."""
        signal.set_wakeup_fd(self._former_fd)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()
