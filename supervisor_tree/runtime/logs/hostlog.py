"""The root's own lines: into a pipe like a child's, as the root must not wait for a disk."""

from __future__ import annotations

import os
import select

__all__ = ["OwnLines"]

_MAX_LINE = select.PIPE_BUF - 1  # at most so much is written whole or not at all (pipe(7))


class OwnLines:
    """Writes lines to a non-blocking pipe and owns it.  Drops and counts when it is full."""

    def __init__(self, pipe: int) -> None:
        self.dropped = 0
        self._untold = 0
        self._pipe = pipe

    def write(self, text: str) -> None:
        """Each line of `text` is written, cut at 4 KiB, or dropped; short ones share a write."""
        chunk, lines = b"", 0
        for line in text.split("\n"):
            data = line.encode("utf-8", "backslashreplace")[:_MAX_LINE] + b"\n"
            if len(chunk) + len(data) > select.PIPE_BUF:
                self._write_or_drop(chunk, lines)
                chunk, lines = b"", 0
            chunk += data
            lines += 1
        self._write_or_drop(chunk, lines)

    def _write_or_drop(self, chunk: bytes, lines: int) -> None:
        if (self._untold and not self._tell()) or not self._put(chunk):
            self.dropped += lines
            self._untold += lines

    def close(self) -> None:
        """End the pipe; later lines are dropped."""
        if self._pipe >= 0:
            if self._untold:
                self._tell()
            os.close(self._pipe)
            self._pipe = -1

    def _tell(self) -> bool:
        told = self._put(b"dropped %d lines: the logger was behind\n" % self._untold)
        if told:
            self._untold = 0
        return told

    def _put(self, data: bytes) -> bool:
        if self._pipe < 0:
            return False
        try:
            os.write(self._pipe, data)
        except BlockingIOError:
            return False
        return True
