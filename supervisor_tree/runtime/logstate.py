"""What the root remembers of the pipes it keeps, and what it may take of the kernel for them."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["LogStats", "Stream", "StreamLife", "spare_pages"]


@dataclass(frozen=True, slots=True)
class LogStats:
    """Counters since the host began.  `lost_*` by the root, `dropped` by loggers (disk full)."""

    connected: bool
    connections: int
    streams: int
    lines: int
    bytes: int
    dropped: int
    lost_lines: int
    lost_bytes: int
    own_dropped: int


class Stream:
    """One pipe of one life."""

    __slots__ = ("fd", "handed", "key", "lost_lines", "name", "torn")

    def __init__(self, key: int, name: str, fd: int) -> None:
        self.key = key
        self.name = name
        self.fd = fd
        self.handed = False
        self.lost_lines = 0  # not yet told to a logger
        self.torn = False  # what is left begins within a line


@dataclass(slots=True)
class StreamLife:
    """What the streams of one process have in common."""

    path: str
    generation: int
    pid: int
    limits: list[int]
    streams: list[Stream]


def spare_pages() -> int:
    """Pages that our pipes may take beyond the usual.

    Root is not limited.  Other users have `pipe-user-pages-soft` for all their processes:
    beyond it new pipes get two pages (pipe(7)), so at most a half is used up here.
    """
    if os.geteuid() == 0:
        return 1 << 30
    try:
        with open("/proc/sys/fs/pipe-user-pages-soft", encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        return 0
    return limit // 2 if limit else 1 << 30
