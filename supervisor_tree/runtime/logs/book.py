r"""Log files: where they are, and what a line looks like.

A line, as the logger writes it (UTF-8, every line of a batch with the time of its reading):

    2026-11-23T20:19:08.123Z /chat/bot stdout 4711 #3 | what the child wrote
    time                     path      |      pid  |  mark
                                       stream      generation

`stream` is `stdout`, `stderr`, or `note` for what the logger itself has to say about the child
("dropped 12 lines").  The mark is `|` for a line, or the last piece of one; it is `\` for
a piece that the next line of the same stream continues: the child had written no line end
for a while, or for 64 KiB.  Bytes that are not UTF-8, colours and carriage returns stand in
the file as the child wrote them; reading shows the first as `\xff`, and a
terminal is shown no other control characters than tabs and colours.

The file of /chat/bot is `<log_dir>/chat/bot.log`, the root's own `<log_dir>/host.log`.
A file that is full becomes `bot.<time of its birth, UTC>.log` beside it.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

__all__ = [
    "TIME_LENGTH",
    "LogLine",
    "file_of",
    "files_of",
    "format_batch",
    "format_time",
    "is_rotated",
    "log_of_rotated",
    "lost_text",
    "parse_line",
    "parse_time",
    "paths_under",
    "prefix_of",
    "rotated_files",
]

_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) (stdout|stderr|note) "
    r"(\d+) #(\d+) ([|\\]) (.*)",
    re.DOTALL,
)
TIME_LENGTH = len("2026-11-23T20:19:08.123Z")
# What loguru puts between stem and suffix when it rotates; the counter sets equal times apart.
_ROTATED = re.compile(r"\.(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6})(?:\.(\d+))?\.log")


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


def parse_time(line: bytes) -> float | None:
    """Unix time of a line, or of its beginning; None if it has none."""
    try:
        return datetime.fromisoformat(line[:TIME_LENGTH].decode()).timestamp()
    except ValueError:
        return None


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


def log_of_rotated(file: str) -> str:
    """The live file that a rotated one has been."""
    folder, name = os.path.split(file)
    match = _ROTATED.search(name)
    return os.path.join(folder, f"{name[: match.start()]}.log" if match else name)


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


def _escape(path: str) -> str:
    """Blanks, control characters and the escape sign itself as %XX; all else is readable."""
    return "".join(c if c.isprintable() and c not in " %" else quote(c) for c in path)
