"""Files, read so that nobody is held up and no descriptor stays behind.

A name of a regular file that we look at may stand for a directory, a pipe that nobody writes to
or a device: all of them are refused with an error of the system.
"""

from __future__ import annotations

import os
import stat

__all__ = ["open_regular", "read_pseudo", "read_regular"]

_CHUNK = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class _NotRegular(OSError):
    """It is there, and it is no regular file."""


def open_regular(path: str | os.PathLike[str], flags: int = 0) -> int:
    """A descriptor to read from.  Raises OSError, also for whatever is no regular file."""
    fd = os.open(path, _FLAGS | flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _NotRegular(None, "it is no regular file", os.fspath(path))
    return fd


def read_regular(path: str | os.PathLike[str], limit: int, *, flags: int = 0) -> bytes:
    """Its first `limit` bytes.  Raises OSError."""
    with open(open_regular(path, flags), "rb") as file:
        return file.read(limit)


def read_pseudo(path: str) -> bytes:
    """All of a file of /proc, which has no size and may take several reads.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while chunk := os.read(fd, _CHUNK):
            parts.append(chunk)
        return b"".join(parts)
    finally:
        os.close(fd)
