"""Files, read so that nobody is held up and no descriptor stays behind.

A name of a regular file that we look at may stand for a directory, a pipe that nobody writes to
or a device: all of them are refused with an error of the system.  What we write is new, whatever
has borne its name before.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

__all__ = ["create_anew", "open_regular", "read_pseudo", "read_regular", "write_whole"]

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


def create_anew(path: str | os.PathLike[str]) -> int:
    """A descriptor to read from and write to: of a new file of mode 0600.  Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Give a file this content, all or nothing (rename(2)); `durable`: it is on the disk then.

    Raises OSError; the file is as it was then.
    """
    new = path.with_suffix(".new")
    fd = create_anew(new)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
