"""What /proc says of processes: who they are, whose they are, and the mark they bear.

Every function answers with "nothing" for a process that has gone meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from supervisor_tree.files import read_pseudo

__all__ = [
    "MARK_KEY",
    "Stat",
    "children_of",
    "children_of_thread",
    "command_line",
    "environ_mark",
    "everyone",
    "family_of",
    "stat",
]

# The environment key that names the scope: <instance>:<path>:<generation>.
MARK_KEY = "SUPERVISOR_TREE_SCOPE"

_COMMAND_CHARS = 200
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Stat:
    """Part of /proc/PID/stat (proc_pid_stat(5)).

    `dead`: all of its threads have ended, only the entry in the process table is left.
    """

    pid: int
    parent: int
    session: int
    dead: bool
    start_ticks: int


def stat(pid: int) -> Stat | None:
    """Look at one process."""
    raw = _read(f"/proc/{pid}/stat")
    if not raw:
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()
    dead = fields[0] in b"ZXx" and int(fields[17]) <= 1
    return Stat(pid, int(fields[1]), int(fields[3]), dead, int(fields[19]))


def children_of(pid: int) -> list[int]:
    """Pids of its children, zombies included, of all its threads."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except _GONE:
        return []
    found: list[int] = []
    for thread in threads:
        found.extend(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def environ_mark(pid: int) -> str | None:
    """Value of the mark in its environment, None if there is none or it may not be read."""
    raw = _read(f"/proc/{pid}/environ")
    key = MARK_KEY.encode() + b"="
    # At the start of an entry; the last one counts, as a title may have run over the first.
    begin = raw.rfind(b"\0" + key)
    if begin < 0 and not raw.startswith(key):
        return None
    begin += 1 + len(key)
    end = raw.find(b"\0", begin)
    return os.fsdecode(raw[begin : end if end >= 0 else len(raw)]) or None


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it; before others than itself."""
    found = [pid]
    for one in found:
        found.extend(children_of(one))
    return found


def children_of_thread(thread: int) -> list[int]:
    """The same of one thread of this process, which is all of it where there is no other."""
    return [*map(int, _read(f"/proc/self/task/{thread}/children").split())]


def command_line(pid: int) -> str:
    """Its command line, shortened, for people to read."""
    raw = _read(f"/proc/{pid}/cmdline") or _read(f"/proc/{pid}/comm")
    text = raw.rstrip(b"\0\n ").replace(b"\0", b" ").decode(errors="replace")
    return text[:_COMMAND_CHARS]


def everyone() -> Iterator[int]:
    """All pids that this process can see."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _read(path: str) -> bytes:
    try:
        return read_pseudo(path)
    except _GONE:
        return b""
