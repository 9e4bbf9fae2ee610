"""What the root remembers of the pipes it keeps, and what it may take of the kernel for them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from supervisor_tree.core.specs import Logs

__all__ = ["Counters", "LogStats", "PipeRoom", "Stream", "StreamLife", "limits_of"]


@dataclass(frozen=True, slots=True)
class LogStats:
    """Counters since the host began.  `lost_*` by the root, `dropped` by loggers (disk full).

    `problem` is why a logger cannot write now, or "".
    """

    connected: bool
    connections: int
    streams: int
    lines: int
    bytes: int
    dropped: int
    lost_lines: int
    lost_bytes: int
    own_dropped: int
    problem: str


@dataclass(slots=True)
class Counters:
    """The part of LogStats that is counted as it happens."""

    connections: int = 0
    lines: int = 0
    bytes: int = 0
    dropped: int = 0
    lost_lines: int = 0
    lost_bytes: int = 0
    problem: str = ""


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
    logs: dict[str, Any]  # core.specs.Logs
    streams: list[Stream]
    awaited: str = ""  # a regular expression for the line that shows that it is ready


@lru_cache(maxsize=1000)
def limits_of(logs: Logs, redact: tuple[str, ...]) -> dict[str, Any]:
    """As the logger is told of them, `redact` before their own; who has the same shares it."""
    patterns = tuple(dict.fromkeys((*redact, *logs.redact)))
    return asdict(replace(logs, redact=patterns))


class PipeRoom:
    """What our pipes may hold beyond the usual, all together."""

    def __init__(self) -> None:
        self._page_size = os.sysconf("SC_PAGESIZE")
        self._pages_left = _spare_pages()

    def widen(self, pipe: int, size: int) -> None:
        """Make a pipe hold `size` bytes, where this user's share of pipe memory allows."""
        pages = size // self._page_size
        if pages > self._pages_left:
            return
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
            self._pages_left -= pages

    def give_back(self, pipe: int, size: int) -> None:
        """This pipe is about to be closed; if it holds `size` bytes, it was made to."""
        if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == size:
            self._pages_left += size // self._page_size


def _spare_pages() -> int:
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
