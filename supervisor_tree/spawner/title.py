"""What a process shows of itself in /proc: its title, and the mark of its scope.

A forked child that never execs keeps the spawner's /proc/PID/environ, whatever it puts
into os.environ: the file shows the memory that the kernel filled at exec.  So the spawner
is started with a reserved entry as the last of its environment, and the mark is written
right there, before the fork, so that no child is ever without.
"""

from __future__ import annotations

import ctypes
import os

from setproctitle import setproctitle

from supervisor_tree.spawner.procfs import MARK_KEY

__all__ = ["PADDING_KEY", "MarkSlot", "reserve_slot", "set_title"]

# A title is written over argv and then over the environment that follows it in memory;
# this entry lies between, so that no title reaches the mark.
PADDING_KEY = "SUPERVISOR_TREE_PADDING"
_TITLE_BYTES = 512
_MARK_BYTES = 1024


def reserve_slot(environment: dict[str, str]) -> dict[str, str]:
    """The environment for a new spawner: with room for title and mark at its end."""
    kept = {key: value for key, value in environment.items() if key not in (MARK_KEY, PADDING_KEY)}
    return kept | {
        PADDING_KEY: "-" * _TITLE_BYTES,
        MARK_KEY: "-" * _MARK_BYTES,
    }


class MarkSlot:
    """The place of the mark in this process's own memory; without one, marks are not shown.

    Find it before the first title is set, which blanks all of that memory.
    """

    def __init__(self) -> None:
        self._address = 0
        self._room = 0
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[47]), int(fields[48])  # env_start, env_end: proc_pid_stat(5)
        if not 0 < begin < end:
            return
        memory = ctypes.string_at(begin, end - begin)
        key = b"\0" + MARK_KEY.encode() + b"="
        at = memory.rfind(key)
        if at >= 0:
            self._address = begin + at + 1
            self._room = len(memory) - at - 1

    def write(self, mark: str) -> None:
        """Show this mark from now on; it is what children are forked with."""
        self._show(f"{MARK_KEY}={mark}")

    def clear(self) -> None:
        """Show none."""
        self._show("-")

    def _show(self, entry: str) -> None:
        if self._room > 0:
            raw = os.fsencode(entry)[: self._room - 1] + b"\0"
            ctypes.memmove(self._address, raw, len(raw))


def set_title(text: str) -> None:
    """Set the process title, as ps shows it."""
    setproctitle(f"supervisor-tree: {text}"[: _TITLE_BYTES // 4])
