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
        """Each line of `text` is written, cut at 4 KiB, or dropped."""
        for line in text.split("\n"):
            if (self._untold and not self._tell()) or not self._put(line):
                self.dropped += 1
                self._untold += 1

    def close(self) -> None:
        """End the pipe; later lines are dropped."""
        if self._pipe >= 0:
            if self._untold:
                self._tell()
            os.close(self._pipe)
            self._pipe = -1

    def _tell(self) -> bool:
        told = self._put(f"dropped {self._untold} lines: the logger was behind")
        if told:
            self._untold = 0
        return told

    def _put(self, line: str) -> bool:
        if self._pipe < 0:
            return False
        try:
            os.write(self._pipe, line.encode("utf-8", "backslashreplace")[:_MAX_LINE] + b"\n")
        except BlockingIOError:
            return False
        return True
