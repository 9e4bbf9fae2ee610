"""Lines on the terminal of a host in the foreground, without ever waiting for it.

A terminal that is stopped (Ctrl-S) or a pipe that nobody reads must not stop
supervision.  Lines wait in a bounded queue; POLLOUT promises room for PIPE_BUF bytes
(pipe(7)), so no write is larger than that.
"""

from __future__ import annotations

import os
import select
from collections import deque

__all__ = ["Console"]

_MAX_LINES = 1000


class Console:
    """Writes to one descriptor; drops the oldest lines when it does not keep up."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._is_terminal = os.isatty(fd)
        self._broken = False

    @property
    def waiting(self) -> bool:
        """True while lines are queued; call `flush` again soon."""
        return bool(self._lines)

    @property
    def hung_up(self) -> bool:
        """True when this was a terminal and nobody is at it any more (POLLHUP, tty(4))."""
        return self._is_terminal and any(
            event & (select.POLLHUP | select.POLLERR) for _, event in self._poll.poll(0)
        )

    def write(self, line: str) -> None:
        """Queue one line and write what can be written now."""
        if self._broken:
            return
        if len(self._lines) >= _MAX_LINES:
            self._lines.popleft()
            self._dropped += 1
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        step = select.PIPE_BUF
        self._lines.extend(data[at : at + step] for at in range(0, len(data), step))
        self.flush()

    def flush(self) -> None:
        """Write as much as fits."""
        try:
            while self._lines and self._poll.poll(0):
                if self._dropped:
                    self._lines.appendleft(f"... {self._dropped} lines left out\n".encode())
                    self._dropped = 0
                os.write(self._fd, self._lines[0])
                self._lines.popleft()
        except OSError:
            self._broken = True  # the terminal is gone; the host goes on without it
            self._lines.clear()
