"""Keeps the pid files that children ask for (`pid_file: PATH`) true.

A file is there exactly while its child's process is, and holds its number and nothing else, as
tools expect.  It comes under its name by rename(2), so that nobody reads half of it, and neither
a link nor a file that was put in its place is written through.  What has been deleted or
overwritten is put right within a few seconds.

When the host starts no child of it lives: a file that a former host has left names nobody, or, as
numbers are given out again, a stranger, who is known by being older than the file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.files import read_regular
from supervisor_tree.runtime.lock import start_ticks
from supervisor_tree.runtime.membership import specs_by_path

__all__ = ["PidFiles"]

_LOOK_S = 5.0
_LONGEST = 32
_SLACK_S = 1.0  # the time of the boot is known by the second


class _Tree(Protocol):
    """What is needed of `core.tree.Tree`."""

    def spec(self, path: str) -> ChildSpec | SupervisorSpec | None: ...


class _Loop(Protocol):
    """What is needed of the reactor."""

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None: ...


@dataclass(slots=True)
class _PidFile:
    """One that has to be there.  `place` is what was last written: device, inode, change time."""

    file: str
    child: str
    pid: int
    place: tuple[int, int, int] | None = None
    problem: str = ""


class PidFiles:
    """All of one host.  `tell` hears what an operator should know, each thing once."""

    def __init__(self, tree: _Tree, loop: _Loop, tell: Callable[[str], None]) -> None:
        self._tree = tree
        self._loop = loop
        self._tell = tell
        self._files: dict[str, _PidFile] = {}  # by the child's path

    def sweep(self, spec: SupervisorSpec) -> None:
        """Before the first child starts: take away what a former host has left."""
        for path, child in specs_by_path(spec):
            if child.pid_file is not None:
                self._sweep(path, child.pid_file)

    def heard(self, event: LifecycleEvent) -> None:
        """A life has got its process, or has ended."""
        if event.event is EventName.CHILD_STARTED:
            spec = self._tree.spec(event.path)
            file = spec.pid_file if isinstance(spec, ChildSpec) else None
            if file is not None and event.pid is not None:
                self._begin(_PidFile(file, event.path, event.pid))
        elif event.event is EventName.CHILD_EXITED:
            known = self._files.pop(event.path, None)
            if known is not None:
                _remove(known)

    def close(self) -> None:
        """The host ends, and all its children have."""
        for known in self._files.values():
            _remove(known)
        self._files.clear()

    def _begin(self, new: _PidFile) -> None:
        other = next((known for known in self._others(new) if known.file == new.file), None)
        if other is not None:
            self._tell(f"{new.child}: pid_file {new.file} is that of {other.child} already")
            return
        former = self._files.get(new.child)
        if former is not None and former.file != new.file:
            _remove(former)
        if not self._files:
            self._loop.call_in("pid-files", _LOOK_S, self._look)
        self._files[new.child] = new
        self._write(new)

    def _others(self, new: _PidFile) -> Iterable[_PidFile]:
        return (known for known in self._files.values() if known.child != new.child)

    def _look(self) -> None:
        for known in self._files.values():
            if known.place is None or _place(known.file) != known.place:
                if known.place is not None:
                    self._tell(f"{known.child}: pid_file {known.file} was changed; it is put right")
                self._write(known)
        if self._files:
            self._loop.call_in("pid-files", _LOOK_S, self._look)

    def _write(self, known: _PidFile) -> None:
        """A failure is told once; the child runs all the same."""
        problem = ""
        try:
            _write(known.file, known.pid)
            known.place = _place(known.file)
        except OSError as error:
            known.place = None
            problem = error.strerror or str(error)
        if problem and problem != known.problem:
            self._tell(f"{known.child}: cannot write pid_file {known.file}: {problem}")
        known.problem = problem

    def _sweep(self, child: str, file: str) -> None:
        try:
            facts = os.lstat(file)
            pid = _read(file)
        except (OSError, ValueError):
            return  # there is none, or what is there is no pid file: it is replaced, not deleted
        since = _started_at(pid)
        if since is not None and since <= facts.st_mtime + _SLACK_S:
            self._tell(
                f"{child}: pid_file {file} names process {pid}, which lives and is not ours; "
                f"it is overwritten when {child} starts"
            )
            return
        with contextlib.suppress(OSError):
            os.unlink(file)
            self._tell(f"{child}: pid_file {file} of a former host (pid {pid}) is taken away")


def _write(file: str, pid: int) -> None:
    fresh = f"{file}.{os.getpid()}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, f"{pid}\n".encode())
        os.close(fd)
        os.replace(fresh, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _read(file: str) -> int:
    """Raises ValueError for what is no pid file."""
    return int(read_regular(file, _LONGEST, flags=os.O_NOFOLLOW))


def _started_at(pid: int) -> float | None:
    """Seconds since the epoch; None if there is no such process (proc(5), stat)."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    with open("/proc/stat", encoding="ascii") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _remove(known: _PidFile) -> None:
    """If it is ours: what somebody else has put there since is theirs."""
    if known.place is not None and _place(known.file) == known.place:
        with contextlib.suppress(OSError):
            os.unlink(known.file)


def _place(file: str) -> tuple[int, int, int] | None:
    try:
        facts = os.lstat(file)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns
