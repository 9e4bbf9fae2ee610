"""Regular files, read with a bound: whatever else bears the name must not hold anybody up.

A name that we look at may stand for a directory, a pipe that nobody writes to or a device.  All
of them are refused with an error of the system, and no descriptor stays behind.
"""

from __future__ import annotations

import os
import stat

__all__ = ["open_regular", "read_regular"]

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
