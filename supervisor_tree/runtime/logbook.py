r"""Log files: where they are, what a line looks like, how they are read.

A line, as the logger writes it (UTF-8, every line of a batch with the time of its reading):

    2026-11-23T20:19:08.123Z /chat/bot out 4711 #3 | what the child wrote
    time                     path      |   pid  |  mark
                                   stream    generation

`stream` is `out`, `err`, or `note` for what the logger itself has to say about the child
("dropped 12 lines").  The mark is `|` for a line, or the last piece of one; it is `\` for
a piece that the next line of the same stream continues: the child had written no line end
for a while, or for 64 KiB.  Bytes that are not UTF-8, colours and carriage returns stand in
the file as the child wrote them; reading shows the first as `\xff`.

The file of /chat/bot is `<log_dir>/chat/bot.log`, the root's own `<log_dir>/host.log`.
A file that is full becomes `bot.<time of its birth, UTC>.log` beside it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

__all__ = [
    "Follower",
    "LogLine",
    "file_of",
    "files_of",
    "format_batch",
    "format_time",
    "is_rotated",
    "lost_text",
    "parse_line",
    "paths_under",
    "prefix_of",
    "read_since",
    "rotated_files",
    "tail",
]

_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) (out|err|note) (\d+) #(\d+) ([|\\]) (.*)",
    re.DOTALL,
)
_TIME_LENGTH = len("2026-11-23T20:19:08.123Z")
# What loguru puts between stem and suffix when it rotates; the counter sets equal times apart.
_ROTATED = re.compile(r"\.(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6})(?:\.(\d+))?\.log")
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line.  `ts` is RFC 3339, UTC, milliseconds; such strings sort as their times do.

    `partial`: the next line of this path and stream goes on where `text` ends.
    """

    ts: str
    path: str
    stream: str
    pid: int
    generation: int
    text: str
    partial: bool = False

    def to_json(self) -> dict[str, object]:
        """{ts, path, stream, pid, generation, text}, and `partial` where it is true."""
        data: dict[str, object] = {
            "ts": self.ts,
            "path": self.path,
            "stream": self.stream,
            "pid": self.pid,
            "generation": self.generation,
            "text": self.text,
        }
        if self.partial:
            data["partial"] = True
        return data


def format_time(at: float) -> str:
    """RFC 3339 in UTC with milliseconds, of Unix time `at`."""
    whole = int(at)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{stamp}.{int((at - whole) * 1000):03d}Z"


def format_batch(data: bytes, prefix: bytes) -> bytes:
    """Every line of `data` behind `prefix`; its last line gets a line end if it has none."""
    body = data[:-1] if data.endswith(b"\n") else data
    return prefix + body.replace(b"\n", b"\n" + prefix) + b"\n"


def lost_text(lines: int) -> bytes:
    """What a note says after a time without a logger."""
    return b"lost %d lines while no logger was running" % lines


def prefix_of(  # noqa: PLR0913
    at: float, path: str, stream: str, pid: int, generation: int, *, partial: bool = False
) -> bytes:
    """What stands before the text of a line."""
    mark = "\\" if partial else "|"
    stamp = format_time(at)
    return f"{stamp} {_escape(path)} {stream} {pid} #{generation} {mark} ".encode()


def parse_line(line: bytes | str) -> LogLine | None:
    """The line, without regard to a line end; None if it is none of ours."""
    if isinstance(line, bytes):
        line = line.decode("utf-8", "backslashreplace")
    match = _LINE.fullmatch(line.removesuffix("\n"))
    if match is None:
        return None
    ts, path, stream, pid, generation, mark, text = match.groups()
    return LogLine(ts, unquote(path), stream, int(pid), int(generation), text, mark == "\\")


def file_of(log_dir: str, path: str) -> str:
    """The live log file of a path; "/" is the root's own."""
    segments = [segment for segment in path.split("/") if segment]
    if not segments:
        return os.path.join(log_dir, "host.log")
    names = [_escape(segment) for segment in segments]
    names = [name.replace(".", "%2E") if name in {".", ".."} else name for name in names]
    return os.path.join(log_dir, *names) + ".log"


def rotated_files(file: str) -> list[str]:
    """What `file` has been rotated to, oldest first."""
    folder, name = os.path.split(file)
    stem = name.removesuffix(".log")
    found: list[tuple[str, int, str]] = []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    for other in names:
        match = _ROTATED.fullmatch(other, len(stem)) if other.startswith(stem) else None
        if match is not None:
            found.append((match[1], int(match[2] or 1), other))
    return [os.path.join(folder, other) for _, _, other in sorted(found)]


def is_rotated(name: str) -> bool:
    """Whether a file of this name is full and no longer written."""
    match = _ROTATED.search(name)
    return match is not None and match.end() == len(name)


def files_of(log_dir: str, path: str) -> list[str]:
    """All existing files of a path, oldest first."""
    live = file_of(log_dir, path)
    return [*rotated_files(live), *([live] if os.path.exists(live) else [])]


def paths_under(log_dir: str, path: str) -> list[str]:
    """The path and all below it that have a live log file, sorted."""
    found = [path] if os.path.exists(file_of(log_dir, path)) else []
    top = file_of(log_dir, path).removesuffix(".log") if path.strip("/") else log_dir
    for folder, _, names in os.walk(top):
        for name in names:
            file = os.path.join(folder, name)
            if name.endswith(".log") and not is_rotated(name) and file != file_of(log_dir, "/"):
                found.append("/" + unquote(os.path.relpath(file, log_dir).removesuffix(".log")))
    return sorted(set(found))


def tail(log_dir: str, path: str, n: int) -> list[LogLine]:
    """The last `n` lines, oldest first.  Reads the ends of the files, never more than needed."""
    return _tail(files_of(log_dir, path), [], path, n)


def read_since(log_dir: str, path: str, since: float) -> Iterator[LogLine]:
    """All lines at or after Unix time `since`, oldest first."""
    for file in files_of(log_dir, path):
        yield from _read_since(file, path, since)


class Follower:
    """Reads what is written after it was made; rotation loses it no line.

    The first `poll` also gives the last `n` lines, or those since Unix time `since`.
    A caller waits between polls; `poll` itself never does.
    """

    def __init__(self, log_dir: str, path: str, *, n: int = 0, since: float | None = None) -> None:
        self.path = path
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
            self._first = _tail(older, mine, path, n)
        else:
            self._first = [line for file in older for line in _read_since(file, path, since)]
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
                if line is not None and line.path == self.path and line.ts >= self._stamp
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


def _escape(path: str) -> str:
    """Blanks, control characters and the escape sign itself as %XX; all else is readable."""
    return "".join(c if c.isprintable() and c not in " %" else quote(c) for c in path)


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


def _tail(files: list[str], newest: list[tuple[int, int]], path: str, n: int) -> list[LogLine]:
    """The last `n` lines of `files` and of open files up to an offset, which are newer."""
    found: list[LogLine] = []
    for fd, end in newest:
        _take(_backwards(fd, end), path, n, found)
    for file in reversed(files):
        if len(found) >= n:
            break
        fd = _open_to_read(file)
        if fd >= 0:
            _take(_backwards(fd, os.fstat(fd).st_size), path, n, found)
            os.close(fd)
    return found[::-1]


def _take(raws: Iterator[bytes], path: str, n: int, found: list[LogLine]) -> None:
    """Add lines of `path` to `found` until it has `n`."""
    for raw in raws:
        if len(found) >= n:
            return
        line = parse_line(raw)
        if line is not None and line.path == path:
            found.append(line)


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
        if start == 0 or block[start : start + _TIME_LENGTH] >= stamp:
            high = middle
        else:
            low = middle + start
    return low
