"""Reading log files: their last lines, those since a time, and what is written from now on.

Files are rotated and deleted while they are read, which loses a reader no line that is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

from supervisor_tree.runtime.logs.book import (
    TIME_LENGTH,
    LogLine,
    file_of,
    files_of,
    format_time,
    parse_line,
    rotated_files,
)

__all__ = ["Follower", "Wanted", "read_since", "tail"]

_BLOCK = 64 * 1024

Wanted: TypeAlias = Callable[[LogLine], bool]


def _any_line(_line: LogLine) -> bool:
    return True


def tail(log_dir: str, path: str, n: int, wanted: Wanted = _any_line) -> list[LogLine]:
    """The last `n` lines that are wanted, oldest first.

    Reads the ends of the files, never more than needed.
    """
    return _tail(files_of(log_dir, path), [], _Search(path, n, wanted))


def read_since(log_dir: str, path: str, since: float) -> Iterator[LogLine]:
    """All lines at or after Unix time `since`, oldest first."""
    for file in files_of(log_dir, path):
        yield from _read_since(file, path, since)


class Follower:
    """Reads what is written after it was made; rotation loses it no line.

    The first `poll` also gives the last `n` lines, or those since Unix time `since`.
    A caller waits between polls; `poll` itself never does.  Only what is wanted is given.
    """

    def __init__(
        self,
        log_dir: str,
        path: str,
        *,
        n: int = 0,
        since: float | None = None,
        wanted: Wanted = _any_line,
    ) -> None:
        self.path = path
        self._wanted = wanted
        self._live = file_of(log_dir, path)
        self._rest = b""
        self._fd = -1
        self._stamp = "" if since is None else format_time(since)
        self._open(self._live)
        # From here on the open file is the dividing line: what it holds now and all older files
        # are the first lines, what it gets and all newer files come later.
        end = os.fstat(self._fd).st_size if self._fd >= 0 else 0
        older = self._older()
        self._passed = set(older)  # read, should the live file be missing now
        if since is None:
            mine = [(self._fd, end)] if self._fd >= 0 else []
            self._first = _tail(older, mine, _Search(path, n, wanted))
        else:
            former = (line for file in older for line in _read_since(file, path, since))
            self._first = list(filter(wanted, former))
            end = _offset_at(self._fd, self._stamp.encode()) if self._fd >= 0 else 0
        if self._fd >= 0:
            os.lseek(self._fd, end, os.SEEK_SET)

    def poll(self) -> list[LogLine]:
        """The lines that have come since the last call."""
        lines, self._first = self._first, []
        if self._fd < 0:
            self._begin()
        while self._fd >= 0:
            following = self._successor()
            lines += self._read()  # after that look: a file that has a successor is complete
            if following < 0:
                break
            self.close()
            self._fd, self._rest = following, b""
        return lines

    def close(self) -> None:
        """Let go of the file."""
        _close(self._fd)
        self._fd = -1

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _older(self) -> list[str]:
        """The rotated files that were full before the open one was begun."""
        files = rotated_files(self._live)
        if self._fd >= 0:
            for position, file in enumerate(files):
                if _is_open_as(file, self._fd):
                    return files[:position]
        return files

    def _begin(self) -> None:
        """Open the first file there is; it may be full already, with others behind it."""
        self._open(self._live)
        fresh = [file for file in self._older() if file not in self._passed]
        if fresh:
            self._open(fresh[0])

    def _open(self, file: str) -> None:
        self.close()
        self._rest = b""
        self._fd = _open_to_read(file)

    def _read(self) -> list[LogLine]:
        state = os.fstat(self._fd)
        if state.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)  # truncated: it begins anew
            self._rest = b""
        lines = []
        while block := os.read(self._fd, 1 << 20):
            *whole, self._rest = (self._rest + block).split(b"\n")
            parsed = (parse_line(raw) for raw in whole)
            lines += [
                line
                for line in parsed
                if line is not None
                and line.path == self.path
                and line.ts >= self._stamp
                and self._wanted(line)
            ]
        return lines

    def _successor(self) -> int:
        """The file written after the one that is open, opened; -1 while there is none.

        The live file is opened before the directory is read: if ours is then the last that
        has been rotated, what we have opened comes right behind it.
        """
        live = _open_to_read(self._live)
        if live < 0 or os.path.samestat(os.fstat(live), os.fstat(self._fd)):
            _close(live)
            return -1
        rotated = rotated_files(self._live)
        here = [number for number, file in enumerate(rotated) if _is_open_as(file, self._fd)]
        if here:
            rotated = rotated[here[0] + 1 :]
        elif os.fstat(self._fd).st_nlink:
            rotated = []  # moved by someone else
        # Else deleted by retention, which begins at the oldest: all that are left are newer.
        for file in rotated:
            following = _open_to_read(file)
            if following >= 0:
                _close(live)
                return following
        return live


def _open_to_read(file: str) -> int:
    """A descriptor, -1 if the file is gone: retention may be faster than a reader."""
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _is_open_as(file: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(fd))
    except FileNotFoundError:
        return False


def _read_since(file: str, path: str, since: float) -> Iterator[LogLine]:
    fd = _open_to_read(file)
    if fd < 0:
        return
    stamp = format_time(since)
    with open(fd, "rb") as handle:
        if os.fstat(handle.fileno()).st_mtime < since - 1:
            return
        handle.seek(_offset_at(handle.fileno(), stamp.encode()))
        for raw in handle:
            line = parse_line(raw)
            if line is not None and line.path == path and line.ts >= stamp:
                yield line


def _tail(files: list[str], newest: list[tuple[int, int]], search: _Search) -> list[LogLine]:
    """The last lines of `files` and of open files up to an offset, which are newer."""
    for fd, end in newest:
        search.take(_backwards(fd, end))
    for file in reversed(files):
        if search.over:
            break
        fd = _open_to_read(file)
        if fd >= 0:
            search.take(_backwards(fd, os.fstat(fd).st_size))
            os.close(fd)
    return search.found[::-1]


class _Search:
    """For the last `n` lines of `path` that are wanted."""

    def __init__(self, path: str, n: int, wanted: Wanted) -> None:
        self.found: list[LogLine] = []  # newest first
        self._path = path
        self._n = n
        self._wanted = wanted

    @property
    def over(self) -> bool:
        return len(self.found) >= self._n

    def take(self, raws: Iterator[bytes]) -> None:
        """Look through lines, newest first."""
        for raw in raws:
            if self.over:
                return
            line = parse_line(raw)
            if line is not None and line.path == self._path and self._wanted(line):
                self.found.append(line)


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    """The complete lines before offset `end`, last first."""
    rest: list[bytes] = []  # pieces of a line whose beginning is still to be read, last first
    complete = False  # what stands behind the last line end is not a line yet
    while end > 0:
        start = max(0, end - _BLOCK)
        first, *others = os.pread(fd, end - start, start).split(b"\n")
        end = start
        while others:
            raw = others.pop() + b"".join(reversed(rest))
            rest = []
            if complete:
                yield raw
            complete = True
        rest.append(first)
    if complete:
        yield b"".join(reversed(rest))


def _offset_at(fd: int, stamp: bytes) -> int:
    """Offset of a line start such that all lines before it are older than `stamp`."""
    low, high = 0, os.fstat(fd).st_size
    while high - low > _BLOCK:
        middle = (low + high) // 2
        block = os.pread(fd, _BLOCK, middle)
        start = block.find(b"\n") + 1
        if start == 0 or block[start : start + TIME_LENGTH] >= stamp:
            high = middle
        else:
            low = middle + start
    return low
