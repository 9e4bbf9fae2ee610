"""Which processes belong to which child, and what they use: one look at /proc for all.

Done by whoever asks, for the rows that it got (see `facts`): a thousand children cost the
root nothing.  A process belongs to the child whose leader it is, whose session it is in, or
whose descendant it is; one that has left all that is known by the mark in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_tree.control.facts import read_stat, uptime
from supervisor_tree.files import read_pseudo

__all__ = ["Process", "Survey", "command_of", "count_descriptors", "look", "marks", "read_pss"]

MARK = b"SUPERVISOR_TREE_SCOPE="  # <instance>:<path>:<generation>, see `spawner.lives`
_COMMAND_CHARS = 200
_MOST_PARENTS = 10_000  # a ring of parents cannot be; a look that is not one moment may show one


@dataclass(slots=True)
class Process:
    """One process.  `state` is the letter of proc_pid_stat(5)."""

    pid: int
    parent: int
    session: int
    state: str
    cpu_s: float
    age_s: float
    rss_bytes: int


class Survey:
    """All processes that this user can see, at one time."""

    def __init__(self, processes: Mapping[int, Process]) -> None:
        self.processes = processes

    def scopes(self, rows: Iterable[Mapping[str, Any]], host: Mapping[str, Any]) -> _Scopes:
        """Path -> its processes, zombies left out.

        `rows` are those of `status`, also of the host's own children; `host` is the answer
        to `ping`.
        """
        with_pid = [row for row in rows if row["pid"]]
        lives = {(row["path"], row["generation"]): row["path"] for row in with_pid}
        # Of the host's own processes everything descends: they are nobody's way to a scope.
        own = {row["pid"]: row["path"] for row in with_pid if row["kind"] == "host"}
        found: dict[int, str | None] = {
            row["pid"]: row["path"] for row in with_pid if row["kind"] != "host"
        }
        root, instance = host["pid"], host["instance"]
        scopes: dict[str, list[Process]] = {path: [] for path in lives.values()}
        for pid, process in sorted(self.processes.items()):
            way: list[int] = []
            path = own.get(pid) or self._place(pid, root, found, way)
            if path is None and way and self._is_below(way[-1], root):
                path = lives.get(_read_mark(pid, instance) or ("", 0)) or own.get(process.parent)
            if pid not in own:
                found[pid] = path
            if path is not None and process.state != "Z":
                scopes[path].append(process)
        return scopes

    def _place(
        self, pid: int, root: int, found: Mapping[int, str | None], way: list[int]
    ) -> str | None:
        """The scope that a process is in by session or descent; `way` is what it went through."""
        here: Process | None = self.processes.get(pid)
        while here is not None and here.pid != root and len(way) < _MOST_PARENTS:
            path = found.get(here.pid) or found.get(here.session)
            if path is not None:
                return path
            way.append(here.pid)
            here = self.processes.get(here.parent)
        return None

    def _is_below(self, pid: int, root: int) -> bool:
        """Whether the last one of a way is a child of the root."""
        process = self.processes.get(pid)
        return process is not None and process.parent == root


_Scopes = dict[str, list[Process]]


def look() -> Survey:
    """See all processes there are."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    now_s = uptime()
    processes: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        fields = read_stat(int(name))
        if fields is None:
            continue
        processes[int(name)] = Process(
            pid=int(name),
            parent=int(fields[1]),
            session=int(fields[3]),
            state=fields[0].decode(),
            cpu_s=(int(fields[11]) + int(fields[12])) / tick,
            age_s=max(0.0, now_s - int(fields[19]) / tick),
            rss_bytes=int(fields[21]) * page,
        )
    return Survey(processes)


def marks() -> Iterator[tuple[int, str, str, int]]:
    """(pid, instance, path, generation) of every process that this user may look at and has one."""
    for name in os.listdir("/proc"):
        mark = _mark_of(int(name)) if name.isdigit() else None
        if mark is not None:
            yield (int(name), *mark)


def _mark_of(pid: int) -> tuple[str, str, int] | None:
    content = _read(f"/proc/{pid}/environ")
    # At the start of an entry; the last one counts, as a title may have run over the first.
    at = content.rfind(b"\0" + MARK)
    if at < 0 and not content.startswith(MARK):
        return None
    mark = content[at + 1 + len(MARK) :].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    instance, _, rest = mark.partition(":")
    path, _, generation = rest.rpartition(":")
    return (instance, path, int(generation)) if path and generation.isdecimal() else None


def _read_mark(pid: int, instance: str) -> tuple[str, int] | None:
    mark = _mark_of(pid)
    return mark[1:] if mark is not None and mark[0] == instance else None


def command_of(pid: int) -> str:
    """Its command line, shortened; "" once it is gone."""
    content = _read(f"/proc/{pid}/cmdline") or _read(f"/proc/{pid}/comm")
    return content.rstrip(b"\0\n ").replace(b"\0", b" ").decode(errors="replace")[:_COMMAND_CHARS]


def count_descriptors(pid: int) -> int | None:
    """How many it has open; None if that cannot be seen."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def read_pss(pid: int) -> int | None:
    """Its memory in bytes, what it shares with n others counted 1/n; costs about 1 ms."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: str) -> bytes:
    try:
        return read_pseudo(path)
    except OSError:
        return b""
