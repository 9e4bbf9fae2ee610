"""What the logger is given to work with: copying from pipes, and taking what it has written.

Steps 1, 4 and 5 of `wire`, on the shared memory and the sink pipe that the root has sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os

from supervisor_tree.runtime.logs.wire import Journal, capacity, discard, settle

__all__ = ["LogTools", "keep_buffers"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 16 << 20


def keep_buffers() -> None:
    """Let malloc keep the memory of a batch for the next one.

    glibc gives large blocks back to the kernel each time (mallopt(3)): a batch of 256 KiB then
    costs 400 page faults, two thirds of all the time that it takes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class LogTools:
    """Owns all that it is made of."""

    def __init__(self, memory: int, sink_read: int, sink_write: int) -> None:
        self.journal = Journal(memory)
        os.close(memory)
        self._sink_read, self._sink_write = sink_read, sink_write
        self._peek_read, self._peek_write = os.pipe2(os.O_CLOEXEC)
        size = capacity(sink_write)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._peek_write, fcntl.F_SETPIPE_SZ, size)
        # What is peeked at once must fit into the sink at once.
        self.peek_size = min(size, capacity(self._peek_write))
        self._tee = ctypes.CDLL(None, use_errno=True).tee

    def peek(self, fd: int) -> bytes | None:
        """A copy of what the pipe holds, None if it is empty."""
        count = self._tee(
            fd, self._peek_write, ctypes.c_size_t(self.peek_size), os.SPLICE_F_NONBLOCK
        )
        if count > 0:
            return os.read(self._peek_read, count)
        code = ctypes.get_errno()
        if count < 0 and code not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(code, os.strerror(code))
        return None

    def consume(self, fd: int, count: int) -> None:
        """Take what has been written out of the pipe it came from."""
        while count > 0:
            count -= os.splice(fd, self._sink_write, count, flags=os.SPLICE_F_NONBLOCK)
        self.clear()

    def clear(self) -> None:
        """No batch is in hand."""
        self.journal.clear()
        discard(self._sink_read)

    def settle(self, key: int, fd: int, file: str) -> None:
        """Finish the batch of this pipe that a former logger was killed with, if there is one."""
        intent = self.journal.read()
        if intent is not None and intent.key == key:
            self.consume(fd, settle(self.journal, self._sink_read, file))

    def close(self) -> None:
        """Let go of everything."""
        self.journal.close()
        for fd in (self._sink_read, self._sink_write, self._peek_read, self._peek_write):
            os.close(fd)
