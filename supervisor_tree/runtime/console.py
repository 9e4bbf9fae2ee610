"""Lines on the terminal of a host in the foreground, without ever waiting for it.

A terminal that is stopped (Ctrl-S) or a pipe that nobody reads must not stop
supervision.  Lines wait in a bounded queue.  POLLOUT promises room for PIPE_BUF bytes in a
pipe (pipe(7)) but only for some in a terminal, so we write to an open file of our own
that does not block: O_NONBLOCK on the one we inherit would hold for the shell as well.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
from collections import deque

__all__ = ["Console"]

_MAX_LINES = 1000
_MAX_LINE_BYTES = 16_384


class Console:
    """Writes to one descriptor; drops the oldest lines when it does not keep up.

    `verbatim`: the lines are for a program.  None is cut, and those that were dropped are not
    told of: what goes out must be what came in, and its numbers show what is missing.
    """

    def __init__(self, fd: int, *, verbatim: bool = False) -> None:
        self._verbatim = verbatim
        self._is_terminal = os.isatty(fd)
        self._given = fd
        self._fd = _own(fd)
        self._lines: deque[bytes] = deque()
        self._begun = b""  # the rest of a line that did not fit
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._broken = False

    @property
    def waiting(self) -> bool:
        """True while lines are queued; call `flush` again soon."""
        return bool(self._lines or self._begun)

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
        data = line.encode("utf-8", "backslashreplace")
        if len(data) > _MAX_LINE_BYTES and not self._verbatim:
            data = data[:_MAX_LINE_BYTES] + b"..."
        self._lines.append(data + b"\n")
        self.flush()

    def flush(self) -> None:
        """Write as much as fits."""
        try:
            while self.waiting and self._poll.poll(0):
                begun = self._begun or self._next()
                self._begun = begun[self._put(begun[: select.PIPE_BUF]) :]
        except BlockingIOError:
            self._begun = begun
        except OSError:
            self._give_up()  # the terminal is gone; the host goes on without it

    def close(self) -> None:
        """Let go of the open file of our own; what waits is not written any more."""
        self._give_up()
        if self._fd != self._given:
            os.close(self._fd)
            self._fd = self._given

    def _give_up(self) -> None:
        self._broken = True
        self._lines.clear()
        self._begun = b""

    def _next(self) -> bytes:
        if self._dropped and not self._verbatim:
            note = f"... {self._dropped} lines left out\n".encode()
            self._dropped = 0
            return note
        return self._lines.popleft()

    def _put(self, data: bytes) -> int:
        """Bytes written.  Under `stty tostop` a background job would be stopped, termios(3)."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            return os.write(self._fd, data)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _own(fd: int) -> int:
    """A descriptor for the same pipe or terminal that does not block; else `fd` itself."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # no /proc, or a terminal of another user (su)
            return os.open(f"/proc/self/fd/{fd}", flags)
    return fd
