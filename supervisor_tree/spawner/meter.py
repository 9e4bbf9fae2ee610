"""`/_/meter`: looks how much memory children with a ceiling hold, and tells the root.

It is a process of its own, because a look can take long: the kernel walks page tables for it,
and waits for a process that is busy with its address space.  It decides nothing, and knows
of lives only what the root has written into a file of its run directory.

What counts is the proportional set size (proc_pid_smaps(5), Pss) of all processes of a scope:
a page that several of them share counts once, and one that is shared with the spawner hardly
at all.  That is dear, so it is done only where the resident sizes, which count such pages each
time, are together above the ceiling.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor_tree.notify import Notifier
from supervisor_tree.runtime.confinement import OVERSIZE_KEY
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.lives import Key, read_mark

if TYPE_CHECKING:
    from supervisor_tree.agents.context import Context

__all__ = ["INTERVAL_S", "Meter", "main"]

INTERVAL_S = 2.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main(ctx: Context) -> None:
    """Look every INTERVAL_S, until told to stop.  `args`: `file`, `instance` and `root`."""
    notifier = Notifier.from_environment()
    meter = Meter(Path(ctx.args["file"]), ctx.args["instance"], ctx.args["root"])
    while not ctx.stopping.wait(INTERVAL_S):
        for (path, generation), held in meter.oversize():
            notifier.send({OVERSIZE_KEY: f"{generation} {held} {path}"}, wait_s=1.0)


class Meter:
    """Of the lives in `file`, whose scopes bear the mark of `instance`, below process `root`."""

    def __init__(self, file: Path, instance: str, root: int) -> None:
        self._file = file
        self._instance = instance
        self._root = root
        self._version: tuple[int, int] | None = None
        self._ceilings: dict[Key, tuple[int, int, int]] = {}  # pid, start_ticks, bytes
        self._others: set[int] = set()  # known to be of no life in the file

    def oversize(self) -> Iterator[tuple[Key, int]]:
        """Lives that hold more than they may, and how much, in bytes."""
        self._read()
        if not self._ceilings:
            return
        for key, pids in self._scopes().items():
            ceiling = self._ceilings[key][2]
            if sum(map(_resident, pids)) > ceiling:
                held = sum(map(_proportional, pids))
                if held > ceiling:
                    yield key, held

    def _read(self) -> None:
        """The file, if it is another one than at the last look."""
        with contextlib.suppress(OSError, ValueError):
            facts = self._file.stat()
            version = (facts.st_ino, facts.st_mtime_ns)
            if version != self._version:
                rows = json.loads(self._file.read_text())
                self._ceilings = {
                    (path, generation): (pid, ticks, ceiling)
                    for path, generation, pid, ticks, ceiling in rows
                }
                self._version = version

    def _scopes(self) -> dict[Key, set[int]]:
        leaders = {}
        for key, (pid, ticks, _) in self._ceilings.items():
            now = procfs.stat(pid)
            if now is not None and now.start_ticks == ticks:
                leaders[pid] = key
        scopes = {key: set(procfs.family_of(pid)) for pid, key in leaders.items()}
        for pid, key in self._orphans(leaders):
            scopes[key].update(procfs.family_of(pid))
        return scopes

    def _orphans(self, leaders: dict[int, Key]) -> Iterator[tuple[int, Key]]:
        """Processes of these scopes that were handed up to a spawner, or to the root."""
        reapers = [self._root, *procfs.children_of(self._root)]
        there = {pid for reaper in reapers for pid in procfs.children_of(reaper)}
        there.difference_update(leaders, reapers)
        self._others &= there
        for pid in there - self._others:
            key = self._owner(pid, leaders)
            if key is None:
                self._others.add(pid)
            else:
                yield pid, key

    def _owner(self, pid: int, leaders: dict[int, Key]) -> Key | None:
        now = procfs.stat(pid)
        if now is not None and now.session in leaders:
            return leaders[now.session]
        key = read_mark(self._instance, procfs.environ_mark(pid))
        return key if key in leaders.values() else None


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    return 0


def _proportional(pid: int) -> int:
    """Of one process, in bytes; the resident size where the kernel does not tell."""
    with contextlib.suppress(OSError, ValueError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        at = text.index(b"\nPss:") + len(b"\nPss:")
        return int(text[at:].split(None, 1)[0]) * 1024
    return _resident(pid)
